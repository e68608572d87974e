"""Input = applied + superseded + running + dead letters, checked with what the streams and PostgreSQL hold.

Counters of processes end with the processes. Here entries that were acknowledged are read from their stream
again, and each of their rows is looked for where it must be: stored as it was sent, or a greater version
instead; never to be stored, because its bar was still running; or refused. A crash changes none of that: what
it interrupted is not acknowledged. A row that is nowhere was lost after all, as by a database that was
restored from an older backup.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rollotape import intake, metrics, patterns, signals
from rollotape.domain.patterns import PatternFact
from rollotape.domain.sessions import Sessions
from rollotape.errors import Unprocessable
from rollotape.events import FIELD, STREAMS
from rollotape.intake import Message
from rollotape.postgres import survey
from rollotape.postgres.patterns import Patterns
from rollotape.postgres.pool import unavailable
from rollotape.postgres.signals import Signals
from rollotape.postgres.states import States
from rollotape.streams.partitions import stream_name
from rollotape.streams.position import order

if TYPE_CHECKING:
    import asyncpg

KINDS = ("bars", "patterns", "signals")
FOUND = ("applied", "superseded", "running", "dead", "missing")
ENTRIES = 20
"""Of one stream looked at in one turn, of the newest and of older ones each."""
BYTES = 150_000
"""Of them at most, but for one entry: frames hold up to a thousand bars, and others wait for this process."""
ROWS = 4_000
"""After so many a turn is over; the next one begins with another stream."""

Found = Counter[str]

log = structlog.get_logger()


class Sent(NamedTuple):
    """An entry as its stream has it."""

    id: str
    payload: bytes | None

    @property
    def arrived_ms(self) -> int:
        return order(self.id)[0]


class Accounts:
    """Looks at acknowledged entries of every stream: what is new since the last turn, and some older ones.

    Of much it takes a sample; when little comes, it is all of it.
    """

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        redis: Redis,
        partitions: int,
        sessions: Callable[[], Sessions],
        *,
        chance: random.Random | None = None,
    ) -> None:
        self._pool, self._redis, self._sessions = pool, redis, sessions
        self._streams = [(kind, stream_name(kind, n)) for kind in KINDS for n in range(partitions)]
        self._states: dict[str, tuple[States, Callable[[bytes | None, int], PatternFact]]] = {
            "patterns": (Patterns(pool), patterns.read),
            "signals": (Signals(pool), signals.read),
        }
        self._chance = chance or random.Random()
        for kind in KINDS:
            for where in FOUND:
                metrics.ACCOUNTED.labels(kind, where)
        self._next = 0
        self._seen: dict[str, str] = {}
        """The newest entry of each stream that was acknowledged when it was looked at last."""

    async def turn(self) -> Found:
        """Count the rows that were looked at, by where they were found.

        Raises:
            Unavailable: Redis or PostgreSQL is away.
        """
        total: Found = Counter()
        with unavailable("accounting"):
            for _ in self._streams:
                kind, stream = self._streams[self._next]
                self._next = (self._next + 1) % len(self._streams)
                found = await self._look(kind, stream)
                for where in FOUND:
                    metrics.ACCOUNTED.labels(kind, where).inc(found[where])
                if found["missing"]:
                    log.error("rows_missing", stream=stream, rows=found["missing"])
                total += found
                if total.total() >= ROWS:
                    break
        return total

    async def _look(self, kind: str, stream: str) -> Found:
        acknowledged = await self._acknowledged(kind, stream)
        if acknowledged is None:
            return Counter()
        seen = self._seen.get(stream, "0-0")
        entries = await self._between(stream, f"({seen}", acknowledged)
        self._seen[stream] = max(seen, acknowledged, key=order)
        entries += await self._by_chance(stream, acknowledged)
        sent = list({entry.id: entry for entry in entries}.values())
        found = await self._judge(kind, sent)
        return await self._but_for_buried(kind, stream, sent) if found["missing"] else found

    async def _but_for_buried(self, kind: str, stream: str, sent: Sequence[Sent]) -> Found:
        """What is not stored may be a dead letter because of a bug of ours."""
        ids = await survey.buried(self._pool, stream, [entry.id for entry in sent])
        found = await self._judge(kind, [entry for i, entry in enumerate(sent) if i not in ids])
        letters = await self._judge(kind, [entry for i, entry in enumerate(sent) if i in ids])
        letters["dead"] += letters.pop("missing", 0)
        return found + letters

    async def _judge(self, kind: str, sent: Sequence[Sent]) -> Found:
        return await (self._of_bars(sent) if kind == "bars" else self._of_states(kind, sent))

    async def _acknowledged(self, kind: str, stream: str) -> str | None:
        """Up to this id every group of the stream has acknowledged everything; None where nothing is."""
        try:
            groups = await self._redis.xinfo_groups(stream)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return None
        known = {group["name"].decode(): group for group in groups}
        bounds = []
        for name in STREAMS[kind].groups:
            if name not in known:
                return None
            bounds.append(known[name]["last-delivered-id"].decode())
            if known[name]["pending"]:
                pending = await self._redis.xpending(stream, name)
                if pending["min"]:
                    bounds.append(before(pending["min"].decode()))
        return min(bounds, key=order, default=None)

    async def _by_chance(self, stream: str, acknowledged: str) -> list[Sent]:
        """Some that follow on a moment between the first that is kept and the last that may be looked at."""
        first = await self._between(stream, "-", acknowledged, count=1)
        if not first:
            return []
        moment = self._chance.randint(first[0].arrived_ms, order(acknowledged)[0])
        return await self._between(stream, f"{moment}-0", acknowledged)

    async def _between(self, stream: str, first: str, last: str, count: int = ENTRIES) -> list[Sent]:
        found: Any = await self._redis.xrange(stream, first, last, count=count)
        return list(_few(Sent(name.decode(), fields.get(FIELD)) for name, fields in found))

    async def _of_bars(self, sent: Sequence[Sent]) -> Found:
        read = intake.read([Message(entry.payload, entry.arrived_ms) for entry in sent], self._sessions)
        found: Found = Counter(running=read.running, dead=len(read.refused))
        keys = [read.keys[i] for i in read.key.tolist()]
        symbols, timeframes = [key[0] for key in keys], [key[1] for key in keys]
        stored = await survey.bars(self._pool, symbols, timeframes, read.rows["ts"].tolist())
        columns = (read.rows[name].tolist() for name in ("revision", "synthetic", "hash"))
        for i, said in enumerate(zip(*columns, strict=True)):
            held = stored.get(i)
            found[_where(_rank(*said), held and _rank(*held))] += 1
        return found

    async def _of_states(self, kind: str, sent: Sequence[Sent]) -> Found:
        store, read = self._states[kind]
        found: Found = Counter()
        facts: list[PatternFact] = []
        for entry in sent:
            try:
                facts.append(read(entry.payload, entry.arrived_ms))
            except Unprocessable:
                found["dead"] += 1
        stored = await store.stored({fact.id for fact in facts})
        for fact in facts:
            held = stored.get(fact.id)
            found[_where(fact.rank, held and held.rank)] += 1
        return found


def _few(entries: Iterable[Sent]) -> Iterator[Sent]:
    size = 0
    for entry in entries:
        size += len(entry.payload or b"")
        yield entry
        if size > BYTES:
            return


def before(entry_id: str) -> str:
    """The largest id below.

    >>> before("6-0"), before("6-3")
    ('5-18446744073709551615', '6-2')
    """
    ms, sequence = order(entry_id)
    return f"{ms}-{sequence - 1}" if sequence else f"{ms - 1}-{2**64 - 1}"


def _rank(revision: int, synthetic: bool, content: int) -> tuple[int, bool, int]:
    """As `rollotape.domain.bars.precedence` has it: a real bar is greater than a synthetic one."""
    return revision, not synthetic, content


def _where(sent: tuple[int, ...], held: tuple[int, ...] | None) -> str:
    if held is None or held < sent:
        return "missing"
    return "applied" if held == sent else "superseded"
