"""What is read from the tape, on real servers: appended, late and restated bars, crashes and rivals."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Any

import orjson
import pytest

from cache_builder.handlers import ApplyUpdates
from detector.patterns import ApplyPatterns
from detector.wyckoff import Read, work
from rollotape import tracing
from rollotape.cache.patterns import PatternModel
from rollotape.cache.reader import PatternReader
from rollotape.domain.bars import Rows
from rollotape.domain.reading import derive
from rollotape.domain.wyckoff.rules import WYCKOFF_1
from rollotape.errors import Unavailable
from rollotape.events import FIELD
from rollotape.postgres import migrate
from rollotape.postgres.active import ActivePatterns
from rollotape.postgres.patterns import Patterns
from rollotape.postgres.wyckoff import Block, Wyckoff
from rollotape.settings import Settings
from rollotape.streams.entries import Entry
from rollotape.verify import verify
from support import scans
from support.applying import Bench, open_bench
from support.calm import exports
from support.waiting import eventually
from support.wyckoff import walk

RULES = WYCKOFF_1
"""Of the rule sets the one that finds the most in a random walk."""
TABLES = ("wyckoff_events", "patterns", "signals")
ALL = """SELECT (SELECT jsonb_agg(to_jsonb(t) ORDER BY to_jsonb(t)::text) FROM {table} t)::text"""
DERIVED = (
    "wyckoff_events", "wyckoff_statuses", "wyckoff_ranges", "wyckoff_states", "patterns", "signals"
)  # fmt: skip


@dataclass(slots=True)
class Desk:
    bench: Bench
    read: Read
    settings: Settings

    async def apply(self, payloads: Sequence[bytes]) -> None:
        """Bars, and then whatever is read in them."""
        await self.bench.apply(payloads)
        await self.read.once()

    async def stored(self) -> dict[str, Any]:
        """Every derived row, also what no export shows."""
        return {t: (await self.bench.rows(ALL.format(table=t)))[0][0] for t in DERIVED}

    async def exported(self) -> dict[str, str]:
        return await exports(self.settings.database_url, TABLES)

    async def check(self) -> None:
        """Nothing is due, and everything is as if read one bar at a time."""
        report = await verify(self.bench.pool, rules=RULES)
        assert report.differences == []
        assert report.keys_unread == 0

    async def facts(self, prefix: str) -> dict[str, dict[str, Any]]:
        """The newest fact of each id."""
        newest: dict[str, dict[str, Any]] = {}
        for said in await self.bench.said("updates"):
            if said["type"].startswith(prefix):
                held = newest.get(said["id"])
                assert held is None or said["fact_version"] >= held["fact_version"]
                newest[said["id"]] = said
        return newest


@pytest.fixture
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    async with open_bench(settings) as bench:
        yield Desk(bench, reader(bench), settings)


def reader(bench: Bench) -> Read:
    return Read(Wyckoff(bench.pool, RULES), bench.outbox, quiet_s=-1.0)


def told(symbol: str, bars: Rows, **more: Any) -> list[bytes]:
    """Daily bars as they travel."""
    return [
        orjson.dumps(
            {
                "symbol": symbol,
                "timeframe": "1d",
                "ts": datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(bar["ts"])),
                **{name: float(bar[name]) for name in ("open", "high", "low", "close", "volume")},
                **more,
            }
        )
        for bar in bars
    ]


async def test_a_history_becomes_events_patterns_and_trades_of_every_kind(desk: Desk) -> None:
    for seed in range(8):
        await desk.bench.apply(told(f"S{seed}", walk(seed)))
    assert await desk.read.once()
    assert not await desk.read.once()
    kinds = {k for [k] in await desk.bench.rows("SELECT DISTINCT kind FROM wyckoff_events")}
    assert kinds >= {"SC", "BC", "AR", "ST", "SPRING", "UTAD", "SOS", "SOW"}
    statuses = {s for [s] in await desk.bench.rows("SELECT DISTINCT status FROM signals")}
    assert statuses >= {"CLOSED", "CANCELLED"}
    assert await desk.bench.rows("SELECT count(*) FROM outbox") == [(0,)]
    await desk.check()
    numbers = dict(await desk.bench.rows("SELECT symbol, nonce FROM symbol_state"))
    for prefix, about in (("wyckoff.", "event"), ("pattern.", "pattern"), ("signal.", "signal")):
        said = await desk.facts(prefix)
        assert said
        assert all(u["trace_id"] == tracing.of(numbers[u[about]["symbol"]]) for u in said.values())


async def test_one_bar_at_a_time_and_all_at_once_are_the_same_bytes(desk: Desk) -> None:
    bars = walk(93, 260)
    await desk.apply(told("A", bars))
    at_once = await desk.stored(), await desk.exported()
    assert at_once[1]["signals"].count("\n") > 3
    await _clear(desk)
    payloads = told("A", bars)
    await desk.apply(payloads[:100])
    for payload in payloads[100:]:
        await desk.apply([payload])
    assert (await desk.stored(), await desk.exported()) == at_once
    await desk.check()


@pytest.mark.parametrize("seed", range(3))
async def test_late_restated_and_repeated_bars_in_any_order_end_in_the_same_rows(
    desk: Desk, seed: int
) -> None:
    random, bars = Random(seed), walk(seed, 300)
    payloads = [*told("A", bars), *told("B", walk(seed + 50, 300))]
    for at in random.sample(range(300), 6):
        restated = bars[at : at + 1].copy()
        restated["volume"] *= random.choice((0.1, 5))
        payloads += told("A", restated, revision=1)
    payloads += told("A", bars[7:9], revision=2, synthetic=True)
    await desk.apply(payloads)
    expected = await desk.stored()
    await desk.check()
    await _clear(desk)
    again = [*payloads, *random.sample(payloads, 60)]
    random.shuffle(again)
    while again:
        size = random.choice((1, 30, 200))
        await desk.bench.apply(again[:size])
        again = again[size:]
        if random.random() < 0.5:
            await desk.read.once()
    await desk.read.once()
    assert await desk.stored() == expected
    await desk.check()


async def _clear(desk: Desk) -> None:
    tables = "bars, vsa_events, symbol_state, dirty_symbols, unread_bars, newest_bars, outbox"
    await desk.bench.pool.execute(f"TRUNCATE {tables}, {', '.join(DERIVED)}")
    desk.bench.memory.forget(["A", "B"])


async def test_a_restated_bar_that_removes_a_spring_retracts_its_pattern_and_its_trade(desk: Desk) -> None:
    bars = walk(93)
    await desk.apply(told("A", bars))
    [[event_ts, spring]] = await desk.bench.rows(
        "SELECT event_ts, id::text FROM patterns WHERE pattern_type IN ('SPRING', 'UTAD') ORDER BY 1 LIMIT 1"
    )
    [[trade]] = await desk.bench.rows(f"SELECT id::text FROM signals WHERE pattern_id = '{spring}'")

    restated = bars[bars["ts"] == event_ts]
    await desk.apply(told("A", restated, revision=1, synthetic=True))

    assert await desk.bench.rows(f"SELECT count(*) FROM patterns WHERE id = '{spring}'") == [(0,)]
    assert await desk.bench.rows(f"SELECT count(*) FROM signals WHERE id = '{trade}'") == [(0,)]
    assert (await desk.facts("pattern."))[spring]["type"] == "pattern.retracted"
    assert (await desk.facts("signal."))[trade]["type"] == "signal.retracted"
    assert "wyckoff.retracted" in {f["type"] for f in (await desk.facts("wyckoff.")).values()}
    await desk.check()


async def test_whoever_heard_everything_knows_what_is_stored(desk: Desk) -> None:
    bars, random = walk(5, 300), Random(5)
    for part in np_split(told("A", bars), 40):
        await desk.apply(part)
    for at in random.sample(range(60, 300), 8):
        restated = bars[at : at + 1].copy()
        restated["volume"] *= random.choice((0.1, 8))
        await desk.apply(told("A", restated, revision=1))

    patterns, trades = await desk.facts("pattern."), await desk.facts("signal.")
    held = {i: f["pattern"] for i, f in patterns.items() if f["type"] != "pattern.retracted"}
    stored = await desk.bench.rows(
        "SELECT id::text, status, test_confirmed, preliminary_events::text FROM patterns"
    )
    assert {i: (p["status"], p["test_confirmed"], p["preliminary_events"]) for i, p in held.items()} == {
        i: (status, tested, orjson.loads(counts)) for i, status, tested, counts in stored
    }
    open_or_not = {i: f["signal"] for i, f in trades.items() if f["type"] != "signal.retracted"}
    trades_stored = await desk.bench.rows("SELECT id::text, status, realized_r FROM signals")
    assert {i: (t["status"], t["realized_r"]) for i, t in open_or_not.items()} == {
        i: (status, r) for i, status, r in trades_stored
    }
    facts = [f for f in (await desk.facts("wyckoff.")).values() if "retracted" not in f["type"]]
    for table, kind in (("events", "detected"), ("statuses", "status")):
        [[count]] = await desk.bench.rows(f"SELECT count(*) FROM wyckoff_{table}")
        assert count == len([f for f in facts if f["type"] == f"wyckoff.{kind}"])
    ranges = await desk.bench.rows(
        "SELECT DISTINCT ON (range_id) range_id::text, status, phase FROM wyckoff_ranges"
        " ORDER BY range_id, confirmed_ts DESC"
    )
    said = [f for f in facts if f["type"] == "wyckoff.range"]
    assert sorted((f["id"], f["event"]["status"], f["event"]["phase"]) for f in said) == ranges


def np_split(payloads: Sequence[bytes], size: int) -> list[Sequence[bytes]]:
    return [payloads[i : i + size] for i in range(0, len(payloads), size)]


@pytest.mark.parametrize("line", ["gather", "write", "say"])
async def test_a_crash_at_any_line_leaves_the_marks_or_the_rows_and_then_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    bars = walk(2)
    await desk.apply(told("A", bars))
    expected = await desk.stored()
    await _clear(desk)
    await desk.bench.apply(told("A", bars[:300]))
    await desk.read.once()
    await desk.bench.apply(told("A", bars[300:]))

    async def crash(*_: Any) -> None:
        raise Unavailable("killed here")

    async def written_and_killed(block: Block, *all_of: Any) -> None:
        await write(block, *all_of)
        raise OSError("killed before the commit")

    write = Block.write
    with monkeypatch.context() as patched:
        if line == "say":
            patched.setattr(desk.bench.outbox, "say", crash)
        elif line == "gather":
            patched.setattr(Block, "gather", lambda *_: written_and_killed)  # not awaitable: a bug
            desk.read = reader(desk.bench)
        else:
            patched.setattr(Block, "write", written_and_killed)
        try:
            await desk.read.once()
        except Unavailable:
            assert line != "gather"
        else:
            assert line == "gather"
    assert await desk.bench.rows("SELECT count(*) > 0 FROM unread_bars") == [(line != "say",)]
    await reader(desk.bench).once()
    await desk.bench.outbox.sweep(older_than_s=0)
    assert await desk.stored() == expected
    assert await desk.bench.rows("SELECT count(*) FROM outbox") == [(0,)]
    await desk.check()


async def test_several_readers_and_bars_at_once_lose_and_double_nothing(desk: Desk) -> None:
    symbols = [f"S{n}" for n in range(12)]
    bars = {symbol: walk(n, 240) for n, symbol in enumerate(symbols)}

    async def bring(some: Sequence[str]) -> None:
        for part in range(0, 240, 40):
            await desk.bench.apply([p for s in some for p in told(s, bars[s][part : part + 40])])

    async def read() -> None:
        rival = reader(desk.bench)
        while not done.is_set():
            await rival.once()
            await asyncio.sleep(0)

    done = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(read()) for _ in range(2)]
        await bring(symbols)
        done.set()
    assert all(r.done() for r in readers)
    await desk.read.once()
    await desk.check()
    [[counted]] = await desk.bench.rows("SELECT count(*) FROM patterns")
    assert counted == len(await desk.facts("pattern."))


async def test_what_another_rule_set_has_read_is_read_again(desk: Desk) -> None:
    await desk.apply(told("A", walk(1)))
    expected = await desk.stored()
    for table in ("wyckoff_states", "wyckoff_events", "wyckoff_statuses", "wyckoff_ranges", "patterns"):
        await desk.bench.pool.execute(f"UPDATE {table} SET rule_set = 'wyckoff-0'")
    await desk.read.prepare()
    assert await desk.read.once()
    assert await desk.stored() == expected
    await desk.check()


NEWER = replace(RULES, name="wyckoff-9", spring_most=Fraction(2))
"""A rule set of a later version, which finds other springs."""


async def test_of_two_versions_at_work_the_older_one_stands_aside(desk: Desk) -> None:
    bars = walk(93)
    older, newer = desk.read, Read(Wyckoff(desk.bench.pool, NEWER), desk.bench.outbox, quiet_s=-1.0)
    await desk.bench.apply(told("A", bars[:300]))
    await older.prepare()
    assert await older.once()
    await newer.prepare()
    assert await newer.once()

    await desk.bench.apply(told("A", bars[300:]))
    await older.prepare()
    assert (await older.unread(), await older.once()) == (False, False)
    assert await newer.once()
    rule_sets = "SELECT DISTINCT rule_set FROM wyckoff_events UNION SELECT rule_set FROM wyckoff_states"
    assert await desk.bench.rows(rule_sets) == [(NEWER.name,)]
    assert (await verify(desk.bench.pool, rules=NEWER)).differences == []

    await desk.bench.pool.execute("UPDATE wyckoff_states SET rule_set = 'wyckoff-0'")  # the way back
    await older.prepare()
    assert await older.once()
    await desk.check()


async def test_what_an_older_version_has_read_meanwhile_is_read_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has begun before it could know of the newer one."""
    monkeypatch.setattr("detector.wyckoff.PREPARE_EVERY_S", 0.1)
    bars = walk(93)
    await desk.bench.apply(told("A", bars))
    newer = Read(Wyckoff(desk.bench.pool, NEWER), desk.bench.outbox, quiet_s=-1.0)
    await newer.once()
    working = asyncio.create_task(work(newer, asyncio.Event()))
    await desk.bench.apply(told("A", bars[:1], revision=1, synthetic=True))
    await desk.read.once()

    async def read_by_the_newer() -> bool:
        report = await verify(desk.bench.pool, rules=NEWER)
        return not report.differences and not report.keys_unread

    try:
        await eventually(read_by_the_newer, what="everything read by the newer rule set")
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_a_bug_with_one_symbol_does_not_keep_the_others_from_being_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_on_b(key: Any, *rest: Any, **more: Any) -> Any:
        if key[0] == "B":
            raise ZeroDivisionError("a bug")
        return derive(key, *rest, **more)

    for symbol in "ABC":
        await desk.bench.apply(told(symbol, walk(1, 100)))
    with monkeypatch.context() as patched:
        patched.setattr("detector.wyckoff.derive", fails_on_b)
        await desk.read.once()
    assert await desk.bench.rows("SELECT DISTINCT symbol FROM unread_bars") == [("B",)]
    assert not await desk.read.unread()  # by whom it cannot be read: nothing to look at again and again
    assert await reader(desk.bench).unread()
    await reader(desk.bench).once()
    await desk.check()


@pytest.mark.parametrize(
    ("damage", "table"),
    [
        ("DELETE FROM wyckoff_events WHERE kind = 'AR'", "wyckoff_events"),
        ("UPDATE wyckoff_events SET confidence = 0.5", "wyckoff_events"),
        ("DELETE FROM wyckoff_statuses", "wyckoff_statuses"),
        ("UPDATE wyckoff_ranges SET support = support * 2", "wyckoff_ranges"),
        ("DELETE FROM wyckoff_states WHERE ts = (SELECT max(ts) FROM wyckoff_states)", "wyckoff_states"),
        ("UPDATE patterns SET test_confirmed = NOT test_confirmed", "patterns"),
        ("UPDATE patterns SET preliminary_events = '{}'", "patterns"),
        ("UPDATE patterns SET vsa_events = '{}'", "patterns"),
        ("UPDATE signals SET realized_r = 7 WHERE status = 'CLOSED'", "signals"),
        ("DELETE FROM signals", "signals"),
    ],
)
async def test_verify_sees_every_kind_of_damage(desk: Desk, damage: str, table: str) -> None:
    await desk.apply(told("A", walk(93)))
    await desk.check()
    await desk.bench.pool.execute(damage)
    assert table in {d.table for d in (await verify(desk.bench.pool, rules=RULES)).differences}


@dataclass(slots=True)
class Board:
    """What a reader of scans sees of a desk."""

    desk: Desk
    model: PatternModel
    updates: ApplyUpdates
    heard: int = 0

    async def seen(self) -> list[dict[str, Any]]:
        """Active patterns after the builder has heard what was said, by our clock of today."""
        said: Any = await self.desk.bench.redis.xrange("updates")
        entries = [Entry("updates", name.decode(), fields) for name, fields in said]
        new, self.heard = entries[self.heard :], len(entries)
        if new:
            await self.updates.apply(new)
        await self.model.expire()
        return scans.items(await PatternReader(self.desk.bench.redis, fresh_s=0.0).snapshot())


@pytest.fixture
async def board(desk: Desk) -> Board:
    model = PatternModel(ActivePatterns(desk.bench.pool), desk.bench.redis)
    await model.tend()
    return Board(desk, model, ApplyUpdates(model, desk.bench.pool))


async def first_pattern(desk: Desk, bars: Rows) -> tuple[str, int]:
    """Its id, and how many bars there are when it is detected."""
    await desk.apply(told("A", bars))
    query = "SELECT id::text, confirmed_ts FROM patterns ORDER BY confirmed_ts LIMIT 1"
    [[pattern, confirmed_ts]] = await desk.bench.rows(query)
    await _clear(desk)
    return pattern, int((bars["ts"] <= confirmed_ts).sum())


async def test_an_own_pattern_is_active_for_20_bars_however_long_ago_they_were(
    desk: Desk, board: Board
) -> None:
    bars = walk(93)
    pattern, count = await first_pattern(desk, bars)
    await desk.apply(told("A", bars[:count]))
    [shown] = await board.seen()
    assert (shown["id"], shown["source"]) == (pattern, "rollo")
    assert {k.endswith("_count") for k in shown["preliminary_events"]} == {True}
    await desk.apply(told("A", bars[count : count + 19]))
    assert pattern in {i["id"] for i in await board.seen()}
    await desk.apply(told("A", bars[count + 19 : count + 20]))
    assert pattern not in {i["id"] for i in await board.seen()}
    assert (await desk.facts("pattern."))[pattern]["type"] == "pattern.expired"
    assert await board.model.reconcile() == 0


async def test_an_own_pattern_of_a_symbol_without_bars_ends_with_those_of_its_timeframe(
    desk: Desk, board: Board
) -> None:
    bars = walk(93)
    pattern, count = await first_pattern(desk, bars)
    await desk.apply(told("A", bars[:count]))
    assert [i["id"] for i in await board.seen()] == [pattern]
    later = bars[:1].copy()
    for days, active in ((27, True), (29, False)):
        later["ts"] = bars["ts"][count - 1] + days * 86_400_000_000
        await desk.apply(told("B", later))
        assert ([i["id"] for i in await board.seen()] == [pattern]) is active
    assert await board.model.reconcile() == 0


async def test_an_outside_event_may_not_speak_for_us(desk: Desk) -> None:
    said: dict[str, Any] = {"event": "detected", "source": "rollo", "symbol": "A", "timeframe": "1d"}
    said |= {"pattern_type": "SPRING", "confidence": 1, "detected_at": "2020-01-01T00:00:00Z"}
    payload = orjson.dumps(said)
    entry = Entry("patterns.0", "1790000000000-0", {FIELD: payload})
    await ApplyPatterns(Patterns(desk.bench.pool), desk.bench.outbox).apply([entry])
    assert await desk.bench.rows("SELECT fields FROM dead_letters") == [(["source"],)]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_an_outside_event_may_not_claim_the_id_of_one_of_our_patterns_or_trades(
    desk: Desk, before: bool
) -> None:
    bars = walk(93)
    await desk.apply(told("A", bars))
    expected = await desk.stored()
    [[pattern, trade], *_] = await desk.bench.rows("SELECT pattern_id, id FROM signals ORDER BY id")
    if before:
        await desk.bench.pool.execute(
            "TRUNCATE bars, patterns, signals, wyckoff_events, wyckoff_statuses, wyckoff_ranges,"
            " wyckoff_states, vsa_events, symbol_state, newest_bars, unread_bars"
        )
        desk.bench.memory.forget(["A"])
    said = {"event": "expired", "source": "x", "revision": 9, "symbol": "A", "timeframe": "1d"}
    said |= {"pattern_type": "SPRING", "confidence": 1, "detected_at": "2020-01-01T00:00:00Z"}
    for n, claimed in enumerate((pattern, trade)):
        entry = Entry("patterns.0", f"1790000000000-{n}", {FIELD: orjson.dumps(said | {"id": str(claimed)})})
        await ApplyPatterns(Patterns(desk.bench.pool), desk.bench.outbox).apply([entry])
    if before:
        await desk.apply(told("A", bars))
    assert await desk.bench.rows("SELECT fields FROM dead_letters") == [(["id"],), (["id"],)]
    assert await desk.stored() == expected
    await desk.check()


async def test_an_id_of_an_older_installation_is_derived_anew_and_the_old_one_retracted(
    desk: Desk, settings: Settings
) -> None:
    await desk.apply(told("A", walk(93)))
    expected = await desk.stored()
    migrate.downgrade(settings.database_url, to="0006_wyckoff")
    async with open_bench(settings) as bench:
        for table, column in (("signals", "id"), ("signals", "pattern_id"), ("patterns", "id")):
            await bench.pool.execute(
                f"UPDATE {table} SET {column} = overlay({column}::text placing '5' from 15 for 1)::uuid"
            )
    migrate.upgrade(settings.database_url, 16)
    async with open_bench(settings) as bench:
        migrated = Desk(bench, reader(bench), settings)
        assert await migrated.read.once()
        assert await migrated.stored() == expected
        await migrated.check()


async def test_an_older_installation_is_read_once_it_is_migrated_and_forgets_it_on_the_way_back(
    desk: Desk, settings: Settings
) -> None:
    await desk.apply(told("A", walk(93)))
    expected = await desk.stored()
    undone = migrate.downgrade(settings.database_url, to="0005_keys").applied
    assert undone[-2:] == ("0007_own_ids", "0006_wyckoff")
    async with open_bench(settings) as older:
        assert await older.rows("SELECT count(*) FROM patterns") == [(0,)]
    migrate.upgrade(settings.database_url, 16)
    async with open_bench(settings) as bench:
        migrated = Desk(bench, reader(bench), settings)
        assert await migrated.read.once()
        assert await migrated.stored() == expected
        await migrated.check()
