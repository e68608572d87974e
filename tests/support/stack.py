"""Workers on their servers, seen from outside: what was sent, what waits, what is stored, what was said."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import orjson
import redis.exceptions
from redis.asyncio import Redis

from rollotape.domain.sectors import Listing
from rollotape.embedded import Urls
from rollotape.errors import Unavailable
from rollotape.events import FIELD
from rollotape.postgres import sectors
from rollotape.postgres.pool import OUTAGES, open_pool
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from rollotape.streams.position import order
from rollotape.streams.producer import Producer
from rollotape.verify import verify
from support import databases, scans, signal_feeds
from support.calm import Outcome, exports
from support.feeds import PARTITIONS, Expected, Message
from support.gates import Gate, Trap
from support.waiting import eventually
from support.workers import Starter, Worker

OTHER = b"data"
"""A field that is not ours, and that the stock parser of FastStream trips over."""
KINDS = ("bars", "patterns", "signals")
STREAMS = [f"{kind}.{n}" for kind in KINDS for n in range(PARTITIONS)]
"""What the group of the detectors reads."""
UPDATES = "updates"
TABLES = (
    "bars", "vsa_events", "wyckoff_events", "wyckoff_statuses", "wyckoff_ranges", "wyckoff_states",
    "unread_bars", "newest_bars", "signals", "patterns", "rs_scores", "sector_mapping",
    "rs_dates", "dirty_dates", "symbol_state", "dirty_symbols", "outbox", "dead_letters", "stream_floors",
    "unaudited_bars", "audited_series", "gaps",
)  # fmt: skip
STRENGTH = frozenset({"rs_scores", "sector_mapping"})
_DUE = "SELECT (SELECT count(*) FROM dirty_symbols), (SELECT count(DISTINCT as_of) FROM dirty_dates)"
_UNREAD = "SELECT count(*) FROM unread_bars"
START_S = 120.0
STOP_S = 30.0
RECOVERY_S = 15.0
AWAY: tuple[type[Exception], ...] = (*OUTAGES, redis.exceptions.RedisError, Unavailable)


class Broken(AssertionError):
    """What the tape promises does not hold."""


@dataclass(slots=True)
class Ledger:
    """What was sent: every entry, the last one of each stream, and those that must be refused."""

    entries: int = 0
    last: dict[str, str] = field(default_factory=dict)
    poison: dict[tuple[str, str], bytes] = field(default_factory=dict)


class Crew(NamedTuple):
    """How many workers of each service."""

    detectors: int
    rs_workers: int = 0
    cache_builders: int = 0

    def members(self) -> Iterator[tuple[str, int]]:
        """Each worker's service and number."""
        for service, count in zip(("detector", "rs-worker", "cache-builder"), self, strict=True):
            yield from ((service, n) for n in range(count))

    def __str__(self) -> str:
        return "+".join(map(str, self))


@dataclass(frozen=True, slots=True)
class Standing:
    """Of the groups over all streams: entries given out and not acknowledged, and not given out yet.

    `due` are marks and dates of strength, and marks of bars to be read; `unsaid` what was committed and not
    said.
    """

    pending: int
    unread: int
    due: int = 0
    unsaid: int = 0

    @property
    def waiting(self) -> int:
        return self.pending + self.unread + self.due + self.unsaid


class Stack:
    """Some workers on a database of their own. Servers may die and come back at other addresses."""

    def __init__(self, urls: Callable[[], Urls], database: str, folder: Path) -> None:
        self._urls = urls
        self._database = database
        self._folder = folder
        self._crew = Crew(0)
        self.workers: list[Worker] = []
        self.ledger = Ledger()
        self.listener = Listener(lambda: self.redis_url)

    @property
    def redis_url(self) -> str:
        return self._urls().redis_url

    @property
    def database_url(self) -> str:
        return databases.url_of(self._urls().database_url, self._database)

    @asynccontextmanager
    async def running(
        self, start: Starter, crew: Crew, *, gated: bool = False, **settings: object
    ) -> AsyncIterator[None]:
        """Have a crew at work; `settings` are those of the product, by their names."""
        self._crew = crew
        given = {f"ROLLO_{name.upper()}": str(value) for name, value in settings.items()}
        environment = {"ROLLO_REDIS_URL": self.redis_url, "ROLLO_DATABASE_URL": self.database_url, **given}
        gates: list[Gate] = []
        try:
            for service, n in crew.members():
                own = await self._open_gates(service, n) if gated else []
                gates += own
                self.workers.append(Worker(service, n, start, environment, self._folder, own))
            for worker in self.workers:
                worker.start()
            await _until(self._all_started, START_S, self._whats_left)
            yield
        finally:
            for worker in self.workers:
                worker.kill()
            for gate in gates:
                await gate.close()
            await self.listener.stop()

    async def _open_gates(self, service: str, number: int) -> list[Gate]:
        gates = [
            Gate(service, f"{service}-{number}", "redis", lambda: self.redis_url),
            Gate(service, f"{service}-{number}", "postgres", lambda: self.database_url),
        ]
        for gate in gates:
            await gate.open()
        return gates

    def set_trap(self, trap: Trap | None, service: str = "detector") -> None:
        """At every gate of every worker of a service; None takes away whatever was set."""
        for worker in self.workers:
            for gate in worker.gates:
                gate.trap = trap if worker.service == service else None

    # ---- sending and waiting

    async def send(self, messages: Sequence[Message], *, poison: frozenset[bytes] = frozenset()) -> None:
        """Send all of it, however often it takes."""
        async with open_client(self.redis_url) as client:
            ids = await Producer(client).send_many(messages)
        for (stream, payload), entry_id in zip(messages, ids, strict=True):
            self.ledger.last[stream] = entry_id
            if payload in poison:
                self.ledger.poison[stream, entry_id] = payload
        self.ledger.entries += len(ids)

    async def plant(self, stream: str, payload: bytes | None) -> str:
        """Send one entry that must become a dead letter, without our field if None; its id."""
        async with open_client(self.redis_url) as client:
            answer: Any = await client.xadd(stream, {OTHER: b""} if payload is None else {FIELD: payload})
        entry_id: str = answer.decode()
        self.ledger.poison[stream, entry_id] = payload or b""
        self.ledger.last[stream] = entry_id
        self.ledger.entries += 1
        return entry_id

    async def standing(self, streams: Sequence[str] | None = None) -> Standing:
        """What waits in these streams; if None, in all that the crew reads, and in the database.

        Looked for in the order in which everything moves on: nothing slips by between two looks.
        """
        if streams is not None:
            return Standing(*await self._in_streams(streams))
        pending, unread = await self._in_streams(STREAMS)
        due = int(await self._fetchval(_UNREAD)) if self._crew.detectors else 0
        if self._crew.rs_workers:
            [[marks, dates]] = await self._fetch(_DUE)
            due += marks + dates
        unsaid = int(await self._fetchval("SELECT count(*) FROM outbox"))
        if self._crew.cache_builders:
            more_pending, more_unread = await self._in_streams([UPDATES])
            pending, unread = pending + more_pending, unread + more_unread
        return Standing(pending, unread, due, unsaid)

    async def _in_streams(self, streams: Sequence[str]) -> tuple[int, int]:
        """Asked of Redis. A stream whose group is missing has been read by nobody."""
        async with open_client(self.redis_url) as client:
            pipeline = client.pipeline(transaction=False)
            for name in streams:
                pipeline.xlen(name)
                pipeline.xinfo_groups(name)
            answers = await pipeline.execute(raise_on_error=False)
        pending = unread = 0
        for name, length, groups in zip(streams, answers[::2], answers[1::2], strict=True):
            if isinstance(length, Exception):
                raise length
            group = b"cache-builder" if name == UPDATES else b"detector"
            mine = [g for g in groups if g["name"] == group] if isinstance(groups, list) else []
            pending += sum(int(g["pending"]) for g in mine)
            unread += sum(int(length if g["lag"] is None else g["lag"]) for g in mine) if mine else length
        return pending, unread

    async def commits(self) -> int:
        """How often a symbol was changed; every commit of bars makes it greater."""
        return int(await self._fetchval("SELECT coalesce(sum(version), 0)::bigint FROM symbol_state"))

    async def held_by(self, worker: Worker) -> list[str]:
        """Streams whose leases the worker has."""
        query = "SELECT partition FROM leases WHERE owner LIKE $1 || '-%' ORDER BY partition"
        held = [row[0] for row in await self._fetch(query, worker.name)]
        if worker.service == "cache-builder":
            return [UPDATES] if 0 in held else []
        return [f"{kind}.{n}" for kind in KINDS for n in held]

    async def dates_due(self) -> int:
        """Of strength, as long as nobody has taken them and committed that."""
        return int(await self._fetchval("SELECT count(*) FROM dirty_dates"))

    async def store_sectors(self, listings: Sequence[Listing]) -> None:
        """As `rollo import-sectors` does."""
        async with await open_pool(self._settings, service="import", raw_times=True, size=1) as pool:
            await sectors.store(pool, listings)

    def check_alive(self) -> None:
        """Nobody but us may end a worker."""
        if ended := {w.name: code for w in self.workers if (code := w.ended()) is not None and w.running}:
            raise Broken(f"workers ended by themselves: {ended}; {self.last_words()}")

    async def drained(self) -> bool:
        """Whether everything sent is acknowledged, everything that follows is done, and all of it is said."""
        self.check_alive()
        try:
            return not (await self.standing()).waiting
        except AWAY:
            return False

    async def drain(self, within_s: float) -> None:
        """Wait until it has."""
        await _until(self.drained, within_s, self._whats_left)

    async def stop(self) -> None:
        """Ask every worker to stop, as an operator does, and wait until it and its sessions have gone.

        One that was started a moment ago does not know yet what a signal means to it.
        """
        await _until(self._all_started, START_S, self._whats_left)
        for worker in self.workers:
            worker.ask_to_stop()
        await _until(self._all_ended, STOP_S, self._whats_left)
        codes = {worker.name: worker.ended() for worker in self.workers}
        for worker in self.workers:
            worker.forget()
        if any(codes.values()):
            raise Broken(f"workers ended with {codes}: {self.last_words()}")
        await _until(self._no_sessions, STOP_S, self._whats_left)

    async def _all_started(self) -> bool:
        return all(worker.started for worker in self.workers)

    async def _all_ended(self) -> bool:
        return all(worker.ended() is not None for worker in self.workers)

    async def _no_sessions(self) -> bool:
        """What a killed worker left in its sockets, PostgreSQL may still be working on."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'rollo-%'"
        return not await self._fetchval(query, self._database)

    async def _whats_left(self) -> str:
        ended = {w.name: w.ended() for w in self.workers}
        try:
            left = str(await self.standing())
        except AWAY as error:
            left = repr(error)
        return f"{left}; exit codes {ended}; {self.last_words()}"

    def last_words(self) -> str:
        return "\n".join(f"--- {w.name}\n{w.last_words()}" for w in self.workers)

    # ---- what came of it

    async def exports(self, *tables: str) -> dict[str, str]:
        """Tables as `rollo export` writes them."""
        return await exports(self.database_url, tables)

    async def judge(
        self,
        expected: Expected,
        undisturbed: Outcome | None = None,
        *,
        traded: Sequence[Message] = (),
        resent: bool = False,
        recomputed: bool = True,
        heard: bool = True,
    ) -> None:
        """Assert every promise at the end of a run.

        `undisturbed`: what became of strength, patterns, trades and scans without disturbance. `traded`: what
        was told of trades of outside systems. `resent`: a send may have been repeated, so an entry may be
        there twice. `recomputed`: have `rollo verify` look at all of it, too. `heard`: nothing that was said
        was lost before our listener could hear it.

        Raises:
            Broken: naming every promise that does not hold.
        """
        stored = await self.exports("bars", "vsa_events", "signals")
        trades = signal_feeds.expected(traded), signal_feeds.exported(stored["signals"])
        found = [
            *_difference("bars", expected.bars, stored["bars"]),
            *_difference("vsa_events", expected.vsa_events, stored["vsa_events"]),
            *_difference("trades of outside systems", *map(_lines, trades)),
            *(await self._unheard(stored["vsa_events"]) if heard else []),
            *(await self._disturbed(undisturbed) if undisturbed else []),
            *(await self._unverified() if recomputed else []),
            *await self._unaccounted(),
            *await self._letters(expected.refused, resent=resent),
            *(f"{w.name}: {line[:300]} ... {line[-900:]}" for w in self.workers for line in w.errors()),
        ]
        if found:
            raise Broken("\n".join(found))

    async def _disturbed(self, undisturbed: Outcome) -> list[str]:
        """What of strength, patterns, trades and scans is not as if nothing had happened."""
        tables = [t for t in undisturbed.exports if t not in STRENGTH or self._crew.rs_workers]
        found = []
        for table, stored in (await self.exports(*tables)).items():
            found += _difference(table, undisturbed.exports[table], stored)
        if self._crew.cache_builders:
            stored_now, shown_now = await scans.stored(self.database_url), await scans.shown(self.redis_url)
            whole, true, shown = scans.lasting(undisturbed.scan, stored_now, shown_now)
            if self._crew.rs_workers:
                found += _difference("scan of the tables", _lines(whole), _lines(true))
            found += _difference("scan", _lines(true), _lines(shown))
        return found

    async def _unheard(self, events: str) -> list[str]:
        """What is not true for somebody who heard everything that was said."""
        await self.listener.hear_all()
        patterns = await self._fetch(
            "SELECT id::text, status, revision, confidence, vsa_events, vsa_events_classic FROM patterns"
        )
        trades = await self._fetch(
            "SELECT id::text, symbol, status, stop::float8, target::float8, exit_price::float8, realized_r"
            " FROM signals"
        )
        dates = await self._fetch("SELECT as_of::text, version FROM rs_dates WHERE version > 0")
        traded = {row[0]: row[1:] for row in map(tuple, trades)}
        stored = {row[0]: (*row[1:-2], *map(_json, row[-2:])) for row in map(tuple, patterns)}
        versions = dict(map(tuple, dates))
        return [
            *_difference("what was said", events, self.listener.rows(events.partition("\n")[0])),
            *_difference("patterns said", _lines(stored.items()), _lines(self.listener.patterns.items())),
            *_difference("trades said", _lines(traded.items()), _lines(self.listener.trades.items())),
            *_difference("dates said", _lines(versions.items()), _lines(self.listener.dates.items())),
        ]

    async def _unverified(self) -> list[str]:
        async with await open_pool(self._settings, service="verify", raw_times=True) as pool:
            report = await verify(pool)
        found = [f"verify: {d}" for d in report.differences[:3]]
        if self._crew.rs_workers and report.dates_pending:
            found.append(f"verify: {report.dates_pending} dates are due")
        if report.keys_unread:
            found.append(f"verify: {report.keys_unread} keys are not read")
        return found + ([f"verify: {report.pending} commits unsaid"] if report.pending else [])

    @property
    def _settings(self) -> Settings:
        return Settings(redis_url=self.redis_url, database_url=self.database_url)

    async def _unaccounted(self) -> list[str]:
        """Entries that were sent and that the group has not acknowledged, or never saw."""
        async with open_client(self.redis_url) as client:
            sent = list(self.ledger.last.items())
            abouts = [await client.xinfo_stream(name) for name, _ in sent]
            groups = [await client.xinfo_groups(name) for name, _ in sent]
        found = []
        for (name, last), about, [group] in zip(sent, abouts, groups, strict=True):
            if order(group["last-delivered-id"].decode()) < order(last) or group["pending"] or group["lag"]:
                found.append(f"{name}: sent up to {last}, but the group stands at {group}")
            if group["entries-read"] != about["entries-added"]:
                found.append(f"{name}: {about['entries-added']} entries added, {group['entries-read']} read")
        added = sum(about["entries-added"] for about in abouts)
        if added < self.ledger.entries:
            found.append(f"{self.ledger.entries} entries were sent, {added} are known to Redis")
        return found

    async def _letters(self, refused: int, *, resent: bool) -> list[str]:
        """A send that was retried brings an entry twice, and poison then has two dead letters."""
        query = "SELECT stream, entry_id, row, fields, reasons, payload FROM dead_letters"
        letters = await self._fetch(query)
        planted = {(r["stream"], r["entry_id"]): r["payload"] for r in letters}
        found = [
            f"poison {place} has the dead letter {planted.get(place)!r}"
            for place, payload in self.ledger.poison.items()
            if planted.get(place) != payload
        ]
        known = set(self.ledger.poison.values())
        others = [r for r in letters if bytes(r["payload"]) not in known]
        if len(others) != refused:
            found.append(f"{refused} bars to be refused, {len(others)} dead letters: {others[:2]}")
        if not resent and len(letters) - len(others) != len(self.ledger.poison):
            found.append(f"{len(self.ledger.poison)} poisons, {len(letters) - len(others)} dead letters")
        return found

    async def clear(self) -> None:
        """Everything sent and stored is forgotten, under the workers' feet, which have to find their way."""
        await self.listener.stop()
        async with open_client(self.redis_url) as client:
            await client.flushall()
        await self._fetch(f"TRUNCATE {', '.join(TABLES)}")
        self.ledger = Ledger()
        self.listener = Listener(lambda: self.redis_url)

    async def _fetchval(self, query: str, *arguments: object) -> Any:
        [row] = await self._fetch(query, *arguments)
        return row[0]

    async def some_backend(self, service: str) -> int:
        """Process number of a session of a service, of one that is in a transaction if there is one."""
        query = """SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = 'rollo-' || $2
                   ORDER BY xact_start NULLS LAST LIMIT 1"""
        [backend] = await eventually(lambda: self._fetch(query, self._database, service), what="a session")
        return int(backend["pid"])

    async def _fetch(self, query: str, *arguments: object) -> "list[asyncpg.Record]":
        """PostgreSQL may be recovering."""
        deadline = time.monotonic() + RECOVERY_S
        while True:
            try:
                return await self._fetch_once(query, *arguments)
            except AWAY:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)

    async def _fetch_once(self, query: str, *arguments: object) -> "list[asyncpg.Record]":
        connection = await asyncpg.connect(self.database_url, timeout=5)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close(timeout=5)


class Listener:
    """Follows `updates` from its beginning, and keeps of every fact the greatest version."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._facts: dict[str, tuple[int, str, Mapping[str, Any]]] = {}
        self._last = "0-0"
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._following:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            self._following = None

    async def hear_all(self) -> None:
        """Hear what is left to hear, and stop."""
        await self.stop()
        async with open_client(self._url()) as client:
            while await self._hear(client, block_ms=None):
                pass

    @property
    def patterns(self) -> dict[str, tuple[Any, ...]]:
        """By id the state of every pattern that was told of and not taken back."""
        return self._told("pattern", "status", "revision", "confidence", "vsa_events", "vsa_events_classic")

    @property
    def trades(self) -> dict[str, tuple[Any, ...]]:
        """The same of trades, ours and those of outside systems."""
        return self._told("signal", "symbol", "status", "stop", "target", "exit_price", "realized_r")

    def _told(self, kind: str, *names: str) -> dict[str, tuple[Any, ...]]:
        return {
            fact_id: tuple(fact[kind][name] for name in names)
            for fact_id, (_, said, fact) in self._facts.items()
            if said.startswith(f"{kind}.") and said != f"{kind}.retracted"
        }

    @property
    def dates(self) -> dict[str, int]:
        """By date how often its scores have changed; the mapping is said to be of infinity."""
        return {
            "infinity" if kind == "rs.mapped" else fact["as_of"]: version
            for version, kind, fact in self._facts.values()
            if kind.startswith("rs.")
        }

    def rows(self, header: str) -> str:
        """The events that are true by now for who heard everything that was said, as an export."""
        columns = header.split(",")
        rows = [
            [fact["event"][name].replace("+00:00", "Z") for name in columns]
            for _, kind, fact in self._facts.values()
            if kind == "vsa.detected"
        ]
        natural = [columns.index(n) for n in ("symbol", "timeframe", "rule_set", "kind", "event_ts")]
        rows.sort(key=lambda row: [row[i] for i in natural])
        return "".join(f"{','.join(row)}\n" for row in [columns, *rows])

    async def _follow(self) -> None:
        while True:
            try:
                async with open_client(self._url()) as client:
                    while True:
                        await self._hear(client, block_ms=200)
            except (OSError, redis.exceptions.RedisError):
                await asyncio.sleep(0.05)

    async def _hear(self, client: "Redis", *, block_ms: int | None) -> int:
        answer: Any = await client.xread({"updates": self._last}, count=1_000, block=block_ms)
        entries = answer[0][1] if answer else []
        for entry_id, fields in entries:
            self._apply(orjson.loads(fields[b"json"]))
            self._last = entry_id.decode()
        return len(entries)

    def _apply(self, fact: Mapping[str, Any]) -> None:
        heard = fact["fact_version"], fact["type"], fact
        known = self._facts.get(fact["id"])
        if known and known[0] == heard[0] and known != heard:
            raise Broken(f"one fact and version, two contents: {known} and {heard}")
        if not known or heard[0] > known[0]:
            self._facts[fact["id"]] = heard


def _json(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


def _lines(things: Iterable[Any]) -> str:
    """One line each, sorted."""
    return "\n".join(sorted(orjson.dumps(thing, option=orjson.OPT_SORT_KEYS).decode() for thing in things))


def _difference(what: str, expected: str, found: str) -> list[str]:
    if expected == found:
        return []
    wanted, there = expected.splitlines(), found.splitlines()
    missing, surplus = sorted(set(wanted) - set(there)), sorted(set(there) - set(wanted))
    first = "; ".join([*(f"missing {x}" for x in missing[:3]), *(f"surplus {x}" for x in surplus[:3])])
    return [f"{what}: {len(missing)} of {len(wanted)} lines missing, {len(surplus)} surplus: {first}"]


async def _until(
    condition: Callable[[], Awaitable[bool]], within_s: float, whats_left: Callable[[], Awaitable[str]]
) -> None:
    deadline = time.monotonic() + within_s
    while not await condition():
        if time.monotonic() > deadline:
            raise Broken(f"{condition.__name__}: not within {within_s} s: {await whats_left()}")
        await asyncio.sleep(0.05)
