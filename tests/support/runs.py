"""One run of chaos: feed, faults and conditions drawn from a seed, and every promise asserted at its end."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

import redis

from rollotape.embedded import Servers
from support import databases, faults, feeds
from support.faults import CLAIM_MS, LEASE_S, Fault, Hit, Storm
from support.feeds import Bar, Message
from support.folders import open_folder
from support.stack import Broken, Stack
from support.workers import Starter

BEFOREHAND = 100
"""Messages sent before the first worker starts: nobody may take the end of a stream for its beginning."""
DRAIN_S = 120.0
POISON = (
    b"{",
    b"null",
    b'{"version":1,"symbol":"PLANTED","timeframe":"1d"}',
    b'{"version":1,"symbol":"PLANTED","timeframe":"1d","ts":"2020-01-06T00:00:00Z","open":1,"high":1,'
    b'"low":2,"close":1,"volume":1}',
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run decides by chance. `trimmed`: the janitor works close behind the workers."""

    seed: int
    workers: int
    batch_entries: int
    faults: tuple[Fault, ...]
    everyone_owns: bool = False
    trimmed: bool = False
    symbols: int = 16

    @classmethod
    def draw(cls, seed: int, *, count: int) -> "Plan":
        rng = Random(f"plan {seed}")
        return cls(
            seed,
            workers=rng.choice((1, 2, 2, 3)),
            batch_entries=rng.choice((10, 25, 60)),
            faults=tuple(faults.draw(rng, count)),
            everyone_owns=rng.random() < 0.2,
            trimmed=rng.random() < 0.3,
        )

    def __str__(self) -> str:
        more = (" everyone-owns" if self.everyone_owns else "") + (" trimmed" if self.trimmed else "")
        met = " ".join(map(str, self.faults))
        return f"seed {self.seed}: {self.workers} workers, batches of {self.batch_entries}{more}; {met}"

    def settings(self) -> dict[str, object]:
        """Claims and leases are short, so that a run takes seconds; all other limits are the product's."""
        trimming = {"stream_retention_s": 5, "janitor_every_s": 0.5} if self.trimmed else {}
        return {"claim_ms": CLAIM_MS, "lease_s": LEASE_S, "batch_entries": self.batch_entries, **trimming}


@dataclass(frozen=True, slots=True)
class Place:
    """Servers that may be hurt, a migrated database on them, and history to make feeds of."""

    servers: Servers
    template: str
    history: Sequence[Bar]


Hits = Callable[[str], object]
"""Is told what a run did, in one line."""


async def run(plan: Plan, place: Place, start: Starter, tell: Hits, *, drain_s: float = DRAIN_S) -> None:
    """
    Raises:
        Broken: a promise does not hold; the message has the plan.
    """
    began = time.monotonic()
    try:
        with database(place) as name, open_folder() as folder:
            stack = Stack(lambda: place.servers.urls, name, folder)
            hits = await _run(plan, place, stack, start, drain_s)
    except Broken as error:
        tell(f"{plan}: BROKEN")
        raise Broken(f"{plan}\n{error}") from error
    met = f"{sum(h.pending for h in hits)} pending, {sum(h.unread for h in hits)} unread"
    tell(f"{plan}: {len(hits)} faults met {met}; {time.monotonic() - began:.0f} s")


async def _run(plan: Plan, place: Place, stack: Stack, start: Starter, drain_s: float) -> list[Hit]:
    rng = Random(f"run {plan.seed}")
    sent = feeds.storm(feeds.some(place.history, rng, symbols=plan.symbols), rng)
    messages = _with_poison(feeds.mixed(sent, rng, framed=0.02), rng)
    storm = Storm(stack, place.servers, rng, iter(messages), frozenset(POISON), leased=not plan.everyone_owns)
    await storm.send(BEFOREHAND)
    stack.listener.start()
    async with stack.running(start, plan.workers, gated=True, **plan.settings()):
        await storm.rage(plan.faults)
        await stack.drain(drain_s)
        await stack.stop()
        redis_died = any("redis" in fault.acts for fault in plan.faults)
        await stack.judge(feeds.expected(sent), resent=redis_died)
        commits = await stack.commits()
    if stuck := [hit for hit in storm.hits if hit.commits >= commits]:
        raise Broken(f"nothing was committed after {stuck}")
    return storm.hits


@contextmanager
def database(place: Place) -> Iterator[str]:
    """Name of an empty database on servers that run, with an empty Redis."""
    place.servers.revive()
    with redis.Redis.from_url(place.servers.urls.redis_url) as client:
        client.flushall()
    with databases.copy_of(place.template, place.servers.urls.database_url) as url:
        try:
            yield url.rpartition("/")[2]
        finally:
            place.servers.revive()


def _with_poison(messages: list[Message], rng: Random) -> list[Message]:
    poisoned = list(messages)
    for payload in POISON:
        stream, _ = rng.choice(messages)
        poisoned.insert(rng.randrange(len(messages)), (stream, payload))
    return poisoned
