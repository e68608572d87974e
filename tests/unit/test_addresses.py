"""What a URL of a Redis says, and which ones say nothing that can be used."""

import pytest
import redis.exceptions
from redis.asyncio.connection import SSLConnection

from rollotape import settings
from rollotape.cache import scripts
from rollotape.errors import Refused
from rollotape.redis.addresses import Kind, address
from rollotape.redis.clients import open_client
from rollotape.redis.cluster import Cluster, slot_of


def test_one_server_is_read_as_ever() -> None:
    found = address("redis://user:p%40ss@host:6380/2?socket_timeout=3")
    assert (found.kind, found.place, found.where) == (Kind.SERVER, "redis://host:6380/2", "host:6380")
    assert found.options == {
        "username": "user", "password": "p@ss", "host": "host", "port": 6380, "db": 2, "socket_timeout": 3.0,
    }  # fmt: skip
    assert address("unix:///run/redis.sock").where == "/run/redis.sock"


def test_a_cluster_has_nodes_a_login_and_nothing_else() -> None:
    found = address("redis+cluster://user:p%40ss@one:7000,two,[::1]:7002/0?ssl_ca_certs=/ca.pem")
    assert found.kind is Kind.CLUSTER
    assert found.nodes == (("one", 7000), ("two", 6379), ("::1", 7002))
    assert found.options == {"username": "user", "password": "p@ss", "ssl_ca_certs": "/ca.pem"}
    assert found.place == "redis+cluster://one:7000,two,[::1]:7002/0"


def test_sentinels_have_a_name_for_the_primary_and_perhaps_a_login_of_their_own() -> None:
    found = address(
        "rediss+sentinel://:pass@one,two:26380/market%20tape/3?sentinel_username=watch&sentinel_password=w%26w"
        "&ssl_ca_certs=/ca.pem"
    )
    assert (found.kind, found.service) == (Kind.SENTINEL, "market tape")
    assert found.nodes == (("one", 26379), ("two", 26380))
    tls = {"connection_class": SSLConnection, "ssl_ca_certs": "/ca.pem"}
    assert found.options == {"password": "pass", "db": 3, **tls}
    assert found.sentinel_options == {"username": "watch", "password": "w&w", **tls}


@pytest.mark.parametrize("said", ["redis://{}/0", "redis+cluster://{}", "redis+sentinel://{}/tape"])
def test_what_is_shown_has_no_login(said: str) -> None:
    found = address(said.format("user:secret@host:1") + "?password=secret&sentinel_password=secret")
    assert "host:1" in found.place and found.where == "host:1"
    assert "secret" not in found.place


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+cluster://host:1/2", "one database"),
        ("redis+cluster://host:1?db=3", "one database"),
        ("redis+cluster://host:port", "a port is no number: port"),
        ("redis+cluster://host:99999", "a port is no number: 99999"),
        ("redis+cluster://:pass@", "a host is missing"),
        ("redis+cluster://one,,two", "a host is missing"),
        ("redis+sentinel://host:26379", "the name of the primary is missing"),
        ("redis+sentinel://host:26379/tape/x", "the database is no number: x"),
        ("redis+ring://host", "redis+ring:// is none of"),
        ("valkey+cluster://host", "is none of"),
    ],
)
def test_a_url_that_is_none_is_refused_with_what_is_wrong(
    url: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"^[^@]*$") as wrong:
        address(url)
    assert says in str(wrong.value)
    monkeypatch.setenv("ROLLO_REDIS_URL", url)
    monkeypatch.setenv("ROLLO_DATABASE_URL", "postgresql://rollo@postgres/rollo")
    with pytest.raises(Refused, match=r"^ROLLO_REDIS_URL is no URL") as refused:
        settings.load()
    assert says in str(refused.value)


def test_a_password_that_is_set_apart_is_put_into_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLO_DATABASE_URL", "postgresql://rollo@postgres/rollo")
    monkeypatch.setenv("ROLLO_REDIS_PASSWORD", "p@s,s/")
    monkeypatch.setenv("ROLLO_REDIS_URL", "redis+cluster://worker@one:1,two:2")
    found = address(settings.load().redis_url)
    assert (found.options, found.nodes) == (
        {"username": "worker", "password": "p@s,s/"},
        (("one", 1), ("two", 2)),
    )


async def test_tls_is_a_matter_of_the_scheme_for_every_kind() -> None:
    for url in ("rediss://host", "rediss+cluster://host", "rediss+sentinel://host/tape"):
        client = open_client(url)
        assert issubclass(client.connection_pool.connection_class, SSLConnection), url
        await client.aclose()
    for url in ("redis://host", "redis+cluster://host", "redis+sentinel://host/tape"):
        client = open_client(url)
        assert not issubclass(client.connection_pool.connection_class, SSLConnection), url
        await client.aclose()


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("XADD", "bars.3", "*", "json", b"{}"), "bars.3"),
        (("XREADGROUP", "GROUP", "g", "c", "COUNT", 5, "STREAMS", "bars.3", ">"), "bars.3"),
        (("XREAD", b"COUNT", 1, b"STREAMS", "{s}a", "{s}b", "0", "0"), "s"),
        (("XINFO STREAM", "bars.3"), "bars.3"),
        (("XGROUP CREATE", "bars.3", "g", "0"), "bars.3"),
        (("EVALSHA", "sha", 2, "rm:{patterns}:items", "rm:{patterns}:manifest", "argument"), "patterns"),
        (("UNLINK", "{s}a", "{s}b"), "s"),
        (("SET", b"{s}a", "{t}"), "s"),
    ],
)
def test_a_command_goes_where_its_keys_are(command: tuple[object, ...], key: str) -> None:
    assert slot_of(command) == slot_of(("GET", key))


def test_every_key_of_the_read_model_is_in_one_slot() -> None:
    keys = [*scripts.ALL, scripts.STATS, scripts.BY_EXPIRY, *scripts.staged(7)]
    assert len({slot_of(("GET", key)) for key in keys}) == 1
    assert not set(keys) & set(scripts.BEFORE)


async def test_a_cluster_of_which_no_node_answers_is_away() -> None:
    client = open_client("redis+cluster://127.0.0.1:1,127.0.0.1:2", tries_once=True)
    assert isinstance(client, Cluster)
    with pytest.raises(redis.exceptions.ConnectionError, match="no node of the cluster answers"):
        await client.get("a")
    await client.aclose()
