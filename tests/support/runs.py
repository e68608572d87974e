"""One run of chaos: feed, faults and conditions drawn from a seed, and every promise asserted at its end."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

import redis

from rollotape.domain.sectors import Listing
from rollotape.embedded import Servers
from support import calm, databases, faults, feeds, pattern_feeds, signal_feeds
from support.faults import CLAIM_MS, LEASE_S, Fault, Hit, Storm
from support.feeds import Bar, Message
from support.folders import open_folder
from support.stack import Broken, Crew, Stack
from support.workers import Starter

BEFOREHAND = 100
"""Messages sent before the first worker starts: nobody may take the end of a stream for its beginning."""
LAST = 60
"""Messages that are left for faults at the end."""
DRAIN_S = 300.0
"""On a machine that does much else, catching up takes minutes; what never ends is still told from it."""
LIVES = 150
"""Patterns that a run is told of."""
TRADES = 80
"""Trades of outside systems that a run is told of."""
POISON = (
    b"{",
    b"null",
    b'{"version":1,"symbol":"PLANTED","timeframe":"1d"}',
    b'{"version":1,"symbol":"PLANTED","timeframe":"1d","ts":"2020-01-06T00:00:00Z","open":1,"high":1,'
    b'"low":2,"close":1,"volume":1}',
)
ALL_POISON = frozenset((*POISON, *pattern_feeds.POISON, *signal_feeds.POISON))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run decides by chance.

    `trimmed`: the janitor works close behind the workers. `at_the_end`: the faults hit when nothing comes
    any more that would put right what they have spoiled.
    """

    seed: int
    crew: Crew
    batch_entries: int
    faults: tuple[Fault, ...]
    everyone_owns: bool = False
    trimmed: bool = False
    symbols: int = 12
    at_the_end: bool = False

    @classmethod
    def draw(cls, seed: int, *, count: int) -> "Plan":
        rng = Random(f"plan {seed}")
        crew = Crew(rng.choice((1, 2, 2, 3)), rng.choice((1, 1, 2)), rng.choice((1, 1, 2)))
        return cls(
            seed,
            crew,
            batch_entries=rng.choice((10, 25, 60)),
            faults=tuple(faults.draw(rng, count, crew)),
            everyone_owns=rng.random() < 0.2,
            trimmed=rng.random() < 0.3,
        )

    def __str__(self) -> str:
        more = (" everyone-owns" if self.everyone_owns else "") + (" trimmed" if self.trimmed else "")
        met = " ".join(map(str, self.faults))
        return f"seed {self.seed}: {self.crew} workers, batches of {self.batch_entries}{more}; {met}"

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
    met = ", ".join(
        f"{sum(getattr(hit.standing, name) for hit in hits)} {name}" for name in ("pending", "unread", "due")
    )
    tell(f"{plan}: {len(hits)} faults met {met}; {time.monotonic() - began:.0f} s")


async def _run(plan: Plan, place: Place, stack: Stack, start: Starter, drain_s: float) -> list[Hit]:
    rng = Random(f"run {plan.seed}")
    sent = feeds.storm(feeds.some(place.history, rng, symbols=plan.symbols, always=feeds.BENCHMARKS), rng)
    told = pattern_feeds.storm(pattern_feeds.told(sent, rng, lives=LIVES), rng)
    traded = pattern_feeds.storm(signal_feeds.told(sent, rng, lives=TRADES), rng)
    messages = pattern_feeds.woven(feeds.mixed(sent, rng, framed=0.02), told, rng)
    messages = pattern_feeds.woven(messages, traded, rng)
    listings = _moved(sent, rng)
    undisturbed = await _undisturbed(place, messages, listings)
    feed = iter(_with_poison(messages, rng))
    storm = Storm(stack, place.servers, rng, feed, ALL_POISON, leased=not plan.everyone_owns)
    await storm.send(BEFOREHAND)
    stack.listener.start()
    async with stack.running(start, plan.crew, gated=True, **plan.settings()):
        early = () if plan.at_the_end else plan.faults[:1]
        await storm.rage(early)
        await stack.store_sectors(listings)
        if plan.at_the_end:
            await storm.send(len(messages) - BEFOREHAND - LAST)
            await stack.drain(drain_s)
        await storm.rage(plan.faults[len(early) :])
        await storm.send(None)
        await stack.drain(drain_s)
        await stack.stop()
        redis_died = any("redis" in fault.acts for fault in plan.faults)
        await stack.judge(feeds.expected(sent), undisturbed, traded=traded, resent=redis_died)
        commits = await stack.commits()
    if not plan.at_the_end and (stuck := [hit for hit in storm.hits if hit.commits >= commits]):
        raise Broken(f"nothing was committed after {stuck}")
    return storm.hits


async def _undisturbed(
    place: Place, messages: Sequence[Message], listings: Sequence[Listing]
) -> calm.Outcome:
    with databases.copy_of(place.template, place.servers.urls.database_url) as url:
        return await calm.outcome(url, messages, listings)


def _moved(bars: Sequence[Bar], rng: Random) -> list[Listing]:
    """Two stocks turn out to belong to another sector."""
    stocks = sorted({b.symbol for b in bars if b.timeframe == "1d"}.difference(feeds.BENCHMARKS))
    moving = rng.sample(stocks, min(2, len(stocks)))
    return [Listing(symbol, None, rng.choice(feeds.SECTORS), None) for symbol in moving]


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


def _with_poison(messages: Sequence[Message], rng: Random) -> list[Message]:
    poisoned = list(messages)
    planted = {"bars.": POISON, "patterns.": pattern_feeds.POISON, "signals.": signal_feeds.POISON}
    for kind, payloads in planted.items():
        streams = sorted({stream for stream, _ in messages if stream.startswith(kind)})
        for payload in payloads:
            poisoned.insert(rng.randrange(len(messages)), (rng.choice(streams), payload))
    return poisoned
