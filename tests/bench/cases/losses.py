"""What Redis loses of what it has taken, by how it keeps it, and what keeping costs.

A server is killed while a producer sends, and started again; a primary is killed, and what its replica has is
counted. What a machine takes with it that loses its power cannot be shown by killing processes: what was
handed to the system is kept by the system. How often is ROLLO_TEST_LOSSES_KILLS.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import redis.exceptions
from redis.asyncio import Redis

from bench.figures import Figure
from bench.stage import Stage
from rollotape.embedded import Children
from rollotape.events import FIELD
from rollotape.streams.backoff import is_outage
from rollotape.streams.producer import PIPELINE
from support.folders import open_folder
from support.redises import PASSWORD, Server
from support.waiting import eventually

TITLE = "Losses: what Redis has taken and does not have any more, and what it costs to keep it"

STREAM = "bars.0"
PAYLOAD = (
    b'{"version":1,"symbol":"S00001","timeframe":"1d","ts":"2022-01-03T00:00:00Z",'
    b'"open":51.02,"high":51.71,"low":50.6,"close":51.3,"volume":1200431.0}'
)
KEPT = {
    "always": {"appendonly": "yes", "appendfsync": "always"},
    "everysec": {"appendonly": "yes", "appendfsync": "everysec"},
    "no": {"appendonly": "yes", "appendfsync": "no"},
    "off": {"appendonly": "no"},
}
"""By name what is set; `off` is without an append-only file."""
KILLS = 5
BEFORE_S = 1.0
"""So long is sent before a kill: longer than a second, after which `everysec` has asked for the disk once."""
RATE_S = 3.0
TRIES = 3
CUT_S = 2.0


async def run(stage: Stage) -> AsyncIterator[Figure]:
    kills = int(os.environ.get("ROLLO_TEST_LOSSES_KILLS") or KILLS)
    rates: dict[str, list[float]] = {name: [] for name in KEPT}
    with stage.show.task("rates", TRIES * len(KEPT)) as done:
        for turn in range(TRIES):
            for name, options in KEPT.items():
                rates[name].append(await _rate(options))
            done((turn + 1) * len(KEPT))
    for name, found in rates.items():
        meaning = f"entries a second of one producer, {_said(name)}"
        yield Figure.middle(f"losses.{name}_per_second", found, meaning)
    for name, options in KEPT.items():
        with stage.show.task(f"kill -9, {_said(name)}", kills):
            lost = [await _killed(options) for _ in range(kills)]
        stage.show.say(f"    taken and lost: {', '.join(f'{gone:,} of {sent:,}' for gone, sent in lost)}")
        meaning = f"entries lost by kill -9, {_said(name)}, worst of {kills}"
        yield Figure(f"losses.killed_{name}", max(gone for gone, _ in lost), meaning)
    for cut, meaning in (
        (0.0, "entries that its replica had not, when a primary was killed"),
        (CUT_S, f"the same, {CUT_S:g} s after its replica was cut off"),
    ):
        with stage.show.task("a primary is killed" + (", cut off" if cut else ""), kills):
            lost = [await _replaced(cut) for _ in range(kills)]
        stage.show.say(f"    taken and lost: {', '.join(f'{gone:,} of {sent:,}' for gone, sent in lost)}")
        name = "losses.cut_off" if cut else "losses.replica"
        yield Figure.middle(name, [gone for gone, _ in lost], meaning)


def _said(name: str) -> str:
    return "no append-only file" if name == "off" else f"appendfsync {name}"


class Sender:
    """Sends without a pause until it is stopped or its server is away; knows what was taken."""

    def __init__(self, port: int) -> None:
        self._redis = Redis(port=port, password=PASSWORD)
        self.taken = 0
        self.began = time.perf_counter()

    async def run(self, until: Callable[[], bool]) -> None:
        try:
            while not until():
                pipeline = self._redis.pipeline(transaction=False)
                for _ in range(PIPELINE):
                    pipeline.execute_command("XADD", STREAM, "*", FIELD, PAYLOAD)
                self.taken += len(await pipeline.execute())
        except redis.exceptions.RedisError as error:
            if not is_outage(error):
                raise
        finally:
            with suppress(redis.exceptions.RedisError):
                await self._redis.aclose()


async def _rate(options: dict[str, str]) -> float:
    """Entries a second."""
    with open_folder() as folder, Children(folder / "children.json") as children:
        server = _server(children, folder, options)
        sender = Sender(server.port)
        await sender.run(lambda: time.perf_counter() - sender.began >= RATE_S)
        return sender.taken / (time.perf_counter() - sender.began)


async def _killed(options: dict[str, str]) -> tuple[int, int]:
    """Entries lost, of those that were taken."""
    with open_folder() as folder, Children(folder / "children.json") as children:
        server = _server(children, folder, options)
        sender = Sender(server.port)
        sending = asyncio.create_task(sender.run(lambda: False))
        await _sent_for(sender, BEFORE_S)
        server.kill()
        await sending
        await asyncio.to_thread(server.start)
        return max(0, sender.taken - int(server.ask("XLEN", STREAM))), sender.taken


async def _replaced(cut_s: float) -> tuple[int, int]:
    """Entries that a replica does not have, of those that its primary had taken when it was killed."""
    with open_folder() as folder, Children(folder / "children.json") as children:
        primary = _server(children, folder, KEPT["everysec"])
        options = {**KEPT["everysec"], "masterauth": PASSWORD, "replicaof": f"127.0.0.1 {primary.port}"}
        replica = _server(children, folder, options)
        await eventually(lambda: _follows(replica, "up"), within_s=30, what="a replica in step")
        sender = Sender(primary.port)
        sending = asyncio.create_task(sender.run(lambda: False))
        await _sent_for(sender, BEFORE_S)
        if cut_s:
            replica.ask("CONFIG", "SET", "masterauth", "wrong")
            primary.ask("CLIENT", "KILL", "TYPE", "replica")
            await _sent_for(sender, cut_s, since=time.perf_counter())
        primary.kill()
        await sending
        # What was on its way is read to its end before the link is known to be down.
        await eventually(lambda: _follows(replica, "down"), within_s=30, what="a replica that is alone")
        return max(0, sender.taken - int(replica.ask("XLEN", STREAM))), sender.taken


async def _follows(replica: Server, link: str) -> bool:
    said: bytes = await asyncio.to_thread(replica.ask, "INFO", "replication")
    return f"master_link_status:{link}".encode() in said


async def _sent_for(sender: Sender, seconds: float, since: float | None = None) -> None:
    """Return when so much time has passed, and something was sent meanwhile."""
    began, before = sender.began if since is None else since, sender.taken

    async def enough() -> bool:
        return time.perf_counter() - began >= seconds and sender.taken > before

    await eventually(enough, within_s=seconds + 30, what="a producer that sends")


def _server(children: Children, folder: Path, options: dict[str, str]) -> Server:
    server = Server(children, folder, {"requirepass": PASSWORD, "maxmemory-policy": "noeviction", **options})
    server.start()
    return server
