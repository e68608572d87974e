"""Redis over TLS, of every kind: by the scheme of its URL, with certificates that are looked at."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import redis.exceptions

from rollotape.embedded import Children
from rollotape.embedded.server import free_port
from rollotape.redis.clients import open_client, servers
from rollotape.streams.producer import Producer
from support.folders import open_folder
from support.redises import PASSWORD, SERVICE, Server
from support.tls import certificate, in_front_of
from support.waiting import eventually_sync

LOGIN = f":{PASSWORD}@127.0.0.1"


class Secured(NamedTuple):
    """Where each kind is, by TLS alone, and the certificate that all of them show."""

    urls: dict[str, str]
    pem: Path


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    """A server with a Sentinel that names it by its secured port, and a cluster of two such nodes."""
    with open_folder() as folder, Children(folder / "children.json") as children:
        lone, sentinel, *nodes = ports = [free_port() for _ in range(4)]
        options = {"requirepass": PASSWORD, "masterauth": PASSWORD, "appendonly": "yes"}
        server = Server(children, folder, options)
        announced = [Server(children, folder, options | _of_cluster(port)) for port in nodes]
        watch = {
            f"sentinel monitor {SERVICE}": f"127.0.0.1 {lone} 1",
            f"sentinel auth-pass {SERVICE}": PASSWORD,
            f"sentinel down-after-milliseconds {SERVICE}": "600000",  # it speaks no TLS itself
        }
        watching = Server(children, folder, watch, sentinel=True)
        behind = [server, watching, *announced]
        pem = certificate(folder)
        with in_front_of(*((p, lambda s=s: s.port) for p, s in zip(ports, behind, strict=True)), pem=pem):
            for one in behind:
                one.start()
            _join(announced)
            urls = {
                "server": f"rediss://{LOGIN}:{lone}/0",
                "sentinel": f"rediss+sentinel://{LOGIN}:{sentinel}/{SERVICE}",
                "cluster": f"rediss+cluster://{LOGIN}:{nodes[0]}",
            }
            yield Secured(urls, pem)


def _of_cluster(announced: int) -> dict[str, str]:
    ports = {"cluster-port": str(free_port()), "cluster-announce-port": str(announced)}
    return {"cluster-enabled": "yes", **ports}


def _join(nodes: list[Server]) -> None:
    first, second = nodes
    for n, node in enumerate(nodes):
        node.ask("CLUSTER", "ADDSLOTSRANGE", 8_192 * n, 8_192 * (n + 1) - 1)
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
    bus = second.ask("CONFIG", "GET", "cluster-port")[1]
    first.ask("CLUSTER", "MEET", "127.0.0.1", second.port, bus)
    eventually_sync(
        lambda: all(b"cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in nodes), what="a cluster"
    )


@pytest.mark.parametrize("kind", ["server", "sentinel", "cluster"])
async def test_streams_are_sent_and_read_over_tls(kind: str, secured: Secured) -> None:
    url = f"{secured.urls[kind]}?ssl_ca_certs={secured.pem}"
    async with open_client(url, tries_once=True, answer_s=5, connect_s=5) as client:
        assert len(await servers(client)) == (2 if kind == "cluster" else 1)
        await Producer(client).send_many([(f"{kind}.{n}", b"x") for n in range(64)])
        assert [await client.xlen(f"{kind}.{n}") for n in range(64)] == [1] * 64


@pytest.mark.parametrize("kind", ["server", "sentinel", "cluster"])
async def test_a_certificate_that_nobody_vouches_for_is_refused(kind: str, secured: Secured) -> None:
    async with open_client(secured.urls[kind], tries_once=True, answer_s=5, connect_s=5) as client:
        with pytest.raises(redis.exceptions.ConnectionError):
            await client.get("a")


@pytest.mark.parametrize("kind", ["server", "sentinel", "cluster"])
async def test_what_speaks_tls_is_not_spoken_to_without_it(kind: str, secured: Secured) -> None:
    url = secured.urls[kind].replace("rediss", "redis", 1)
    async with open_client(url, tries_once=True, answer_s=2, connect_s=2) as client:
        with pytest.raises((redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)):
            await client.get("a")
