"""The read model of active patterns on real servers: a scan shows what PostgreSQL holds, or nothing."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import redis.asyncio

from cache_builder.handlers import ApplyUpdates
from detector.patterns import ApplyPatterns
from rollotape.cache import scripts
from rollotape.cache.patterns import PatternModel, Superseded
from rollotape.cache.reader import PatternReader, Snapshot
from rollotape.domain.scan import SORTS, Filters
from rollotape.errors import Unavailable
from rollotape.events import FIELD
from rollotape.postgres.active import ActivePatterns, Turn
from rollotape.postgres.patterns import Patterns
from rollotape.redis.clients import servers
from rollotape.settings import Settings
from rollotape.streams.entries import Entry
from support import scans
from support.applying import ARRIVED_MS, Bench, open_bench
from support.waiting import eventually

SYMBOLS = ("AAPL", "BRK.B", "MSFT", "XOM", "^VIX")
FOREVER = datetime(2100, 1, 1, tzinfo=UTC)
AS_STORED = (
    "symbol pattern_type timeframe side phase confidence price change_pct vol_ratio rsi planned_r"
    " test_confirmed source rule_set is_sector_leader"
)
FIELDS = (
    "id symbol pattern_type timeframe side phase confidence price change_pct rs_ratio rs_excess"
    " rs_ratio_at_detection rs_excess_at_detection vol_ratio rsi sector is_sector_leader entry stop"
    " targets planned_r test_confirmed vsa_events vsa_events_classic"
    " preliminary_events detected_at confirmed_at expires_at source rule_set"
)
NOW_US = 0
"""Before anything expires: what the model has is shown, whether or not it should have it."""


@dataclass(slots=True)
class Desk:
    """Everything from a pattern event to what a reader sees, one step at a time."""

    bench: Bench
    model: PatternModel
    updates: ApplyUpdates
    reader: PatternReader
    heard: int = 0
    """Updates that were handed to the builder."""

    async def tell(self, *events: dict[str, Any]) -> None:
        """Have the detector apply events."""
        at = self.bench.sent
        self.bench.sent += len(events)
        entries = [
            Entry("patterns.0", f"{ARRIVED_MS}-{at + i}", {FIELD: orjson.dumps(e)})
            for i, e in enumerate(events)
        ]
        await ApplyPatterns(Patterns(self.bench.pool), self.bench.outbox).apply(entries)

    async def entries(self) -> list[Entry]:
        said: Any = await self.bench.redis.xrange("updates")
        return [Entry("updates", name.decode(), fields) for name, fields in said]

    async def hear(self) -> None:
        """Hand everything that was said since to the builder."""
        said = await self.entries()
        new, self.heard = said[self.heard :], len(said)
        if new:
            await self.updates.apply(new)

    async def scored(self, *dates: str) -> None:
        """Tell the builder that scores of these dates have changed."""
        fact = {"type": "rs.scored", "id": "5b0e8d6e-4c5f-5b8c-9d2f-0d4f3c2b1a00", "version": 1}
        told = [orjson.dumps(fact | {"as_of": day}) for day in dates]
        await self.updates.apply([Entry("updates", f"9-{n}", {FIELD: said}) for n, said in enumerate(told)])

    async def shown(self) -> list[dict[str, Any]]:
        """What a reader would show now, by id."""
        return shown(await self.reader.snapshot())

    async def stored(self) -> list[dict[str, Any]]:
        """What it should show: plain SQL and Python, nothing shared with the builder."""
        rows = await self.bench.pool.fetch(
            "SELECT p.*, p.id::text AS id_text, coalesce(m.sector, s.sector) AS its_sector,"
            " m.is_sector_leader, m.rs_score, (SELECT r.rs_ratio FROM rs_scores r"
            "              WHERE r.symbol = p.symbol AND r.as_of = m.as_of) AS own_ratio,"
            f" {scans.AT_DETECTION},"
            " to_json(p.detected_at) #>> '{}' AS d, to_json(p.expires_at) #>> '{}' AS e"
            " FROM patterns p LEFT JOIN sector_mapping m USING (symbol) LEFT JOIN sectors s USING (symbol)"
            " WHERE status = 'active' AND expires_at > now() ORDER BY p.id"
        )
        return [expected(dict(r)) for r in rows]

    async def agree(self) -> list[dict[str, Any]]:
        """Assert that a reader sees what is stored; what that is."""
        seen = await self.shown()
        assert seen == await self.stored()
        for name in scripts.INDEXES:
            assert await self.bench.redis.zcard(f"{scripts.PREFIX}by:{name}") == len(seen)
        return seen


def expected(r: dict[str, Any]) -> dict[str, Any]:
    told = {name: r[name] for name in AS_STORED.split()}
    scored = r["rs_score"] is not None
    return told | {
        "id": r["id_text"],
        "rs_ratio": r["own_ratio"] if scored else r["rs_ratio"],
        "rs_excess": r["rs_score"] if scored else r["rs_excess"],
        "rs_ratio_at_detection": r["ratio_then"],
        "rs_excess_at_detection": r["excess_then"],
        "sector": r["its_sector"],
        "entry": r["entry"] and float(r["entry"]),
        "stop": r["stop"] and float(r["stop"]),
        "targets": [float(t) for t in (r["target_1"], r["target_2"]) if t is not None] or None,
        "vsa_events": r["vsa_events"] and orjson.loads(r["vsa_events"]),
        "vsa_events_classic": r["vsa_events_classic"] and orjson.loads(r["vsa_events_classic"]),
        "preliminary_events": None,
        "detected_at": r["d"].replace("+00:00", "Z"),
        "confirmed_at": None,
        "expires_at": r["e"].replace("+00:00", "Z"),
    }


def shown(snapshot: Snapshot) -> list[dict[str, Any]]:
    everything = snapshot.select(Filters(), now_us=NOW_US)
    return sorted((orjson.loads(i) for i in snapshot.items(everything)), key=lambda i: i["id"])


def event(number: int, kind: str = "detected", **more: Any) -> dict[str, Any]:
    told = {
        "event": kind,
        "source": "test",
        "symbol": SYMBOLS[number % len(SYMBOLS)],
        "timeframe": "1d",
        "pattern_type": f"P{number}",
        "confidence": 0.5,
        "detected_at": datetime(2020, 2, 1, tzinfo=UTC) + timedelta(hours=number),
        "expires_at": FOREVER,
    }
    return told | more


def desk_of(bench: Bench) -> Desk:
    model = PatternModel(ActivePatterns(bench.pool), bench.redis)
    reader = PatternReader(bench.redis, fresh_s=0.0)
    return Desk(bench, model, ApplyUpdates(model, bench.pool), reader)


@pytest.fixture
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    async with open_bench(settings) as bench:
        desk = desk_of(bench)
        await desk.model.tend()
        yield desk


async def test_a_pattern_is_shown_from_detection_to_expiry(desk: Desk) -> None:
    assert await desk.agree() == []
    full: dict[str, Any] = {"entry": 10.25, "stop": 9.5, "target_1": 12, "target_2": 12.5, "planned_r": 2.3}
    full |= {"rsi": 61.5, "side": "accumulation", "phase": "C", "test_confirmed": False, "rs_ratio": 1.1}
    full["rs_excess"] = 3.0
    await desk.tell(event(0, **full), event(1))
    await desk.hear()
    first, second = sorted(await desk.agree(), key=lambda i: i["pattern_type"])
    assert (first["entry"], first["targets"], first["test_confirmed"]) == (10.25, [12.0, 12.5], False)
    assert (first["rs_ratio"], first["rs_excess"]) == (1.1, 3.0)
    assert second["targets"] is second["rs_ratio"] is second["test_confirmed"] is second["vsa_events"] is None

    await desk.tell(event(0, "updated", revision=1, confidence=0.9, symbol="AAPL"))
    await desk.hear()
    assert {i["confidence"] for i in await desk.agree()} == {0.9, 0.5}
    await desk.tell(event(1, "expired", revision=1))
    await desk.hear()
    assert [i["pattern_type"] for i in await desk.agree()] == ["P0"]


async def test_an_item_has_every_field_of_a_scan(desk: Desk) -> None:
    await desk.tell(event(0))
    await desk.hear()
    [item] = await desk.shown()
    assert list(item) == FIELDS.split()


async def test_our_own_strength_takes_the_place_of_what_the_sender_said_and_is_never_mixed_with_it(
    desk: Desk,
) -> None:
    sent: dict[str, Any] = {"rs_ratio": 9.0, "rs_excess": 99.0}
    await desk.tell(*(event(n, **sent) for n in range(4)), event(5))
    await desk.hear()
    await desk.agree()
    await desk.bench.pool.execute(
        "INSERT INTO rs_scores"
        " (as_of, symbol, rs_score, rs_ratio, is_sector_leader, market_status, sector_status)"
        " VALUES ('2020-01-03', 'AAPL', 1.5, 1.02, false, 'ooooo', 'ooooo'),"
        "        ('2020-01-06', 'AAPL', 2.5, 1.03, true, 'ooooo', 'ooooo')"
    )
    await desk.bench.pool.execute(
        "INSERT INTO sector_mapping (symbol, sector, as_of, rs_score, is_sector_leader)"
        " VALUES ('AAPL', 'Energy', '2020-01-06', 2.5, true), ('MSFT', NULL, '2020-01-06', NULL, false)"
    )
    fact = {"type": "rs.mapped", "id": "5b0e8d6e-4c5f-5b8c-9d2f-0d4f3c2b1a00", "version": 1}
    await desk.updates.apply([Entry("updates", "9-0", {FIELD: orjson.dumps(fact)})])
    found = {i["pattern_type"]: (i["rs_excess"], i["rs_ratio"]) for i in await desk.agree()}
    assert found == {
        "P0": (2.5, 1.03), "P5": (2.5, 1.03), "P1": (99.0, 9.0), "P2": (99.0, 9.0), "P3": (99.0, 9.0)
    }  # fmt: skip
    version = (await desk.reader.snapshot()).version
    await desk.updates.apply([Entry("updates", "9-1", {FIELD: orjson.dumps(fact)})])
    assert (await desk.reader.snapshot()).version == version, "strength that did not move was written again"


@pytest.mark.parametrize(
    ("detected", "then"),
    [
        ("2020-01-06T21:00:00Z", 2.5),  # at the close: that day is over
        ("2020-01-06T20:59:00Z", 1.5),
        ("2020-01-11T23:00:00Z", 2.5),
        ("2020-01-12T23:00:00Z", None),  # older than five days is stale
        ("2020-01-03T20:59:00Z", None),
    ],
)
async def test_strength_at_the_detection_is_that_of_the_last_session_that_was_over(
    desk: Desk, detected: str, then: float | None
) -> None:
    """It stays what it was while strength moves on, unless the bars of that time are restated."""
    bar = {"symbol": "AAPL", "timeframe": "1d", "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}
    days = "2020-01-03", "2020-01-06"
    await desk.bench.apply([orjson.dumps(bar | {"ts": f"{day}T00:00:00Z"}) for day in days])
    await desk.tell(event(0, detected_at=detected))
    await desk.hear()
    await score(desk, 9.0)
    scores = "('2020-01-03', 'AAPL', 1.5, 1.25, false, 'ooooo', 'ooooo'),"
    scores += "('2020-01-06', 'AAPL', 2.5, 1.5, false, 'ooooo', 'ooooo')"
    columns = "as_of, symbol, rs_score, rs_ratio, is_sector_leader, market_status, sector_status"
    await desk.bench.pool.execute(f"INSERT INTO rs_scores ({columns}) VALUES {scores}")
    await desk.scored(*days)
    [item] = await desk.agree()
    assert item["rs_excess"] == 9.0
    assert (item["rs_excess_at_detection"], item["rs_ratio_at_detection"]) == (
        then, {None: None, 1.5: 1.25, 2.5: 1.5}[then]
    )  # fmt: skip

    await desk.bench.pool.execute("UPDATE rs_scores SET rs_score = -1, rs_ratio = 0.99")
    await desk.scored("2020-01-06")
    await desk.scored("2020-01-03")
    [item] = await desk.agree()
    assert item["rs_excess_at_detection"] == (None if then is None else -1)


async def score(desk: Desk, value: float) -> None:
    """What an rs-worker writes of AAPL."""
    await desk.bench.pool.execute(
        "INSERT INTO sector_mapping (symbol, as_of, rs_score, is_sector_leader)"
        " VALUES ('AAPL', '2020-01-06', $1, false) ON CONFLICT (symbol) DO UPDATE SET rs_score = $1",
        value,
    )


async def test_strength_that_went_back_while_another_builder_was_at_work_is_shown(desk: Desk) -> None:
    """A builder knows what it has written; what others have written since, it must not take for its own."""
    other = PatternModel(ActivePatterns(desk.bench.pool), desk.bench.redis)
    await desk.tell(event(0))
    await desk.hear()
    for value, builder in ((1.0, desk.model), (2.0, other), (1.0, desk.model), (2.0, desk.model)):
        await score(desk, value)
        await builder.refresh_strength()
        [item] = await desk.agree()
        assert item["rs_excess"] == value


@pytest.mark.parametrize("when", ["beside the strength", "while the strength is read"])
async def test_strength_that_went_back_after_a_pattern_was_read_with_another_is_shown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    await desk.tell(event(0))
    await desk.hear()
    await score(desk, 1.0)
    if when == "beside the strength":
        await desk.model.refresh_strength()
        await score(desk, 2.0)
        await desk.tell(event(0, "updated", revision=1))
        await desk.hear()  # brings the new strength with the pattern
    else:
        ids_of = ActivePatterns.ids_of

        async def late(active: ActivePatterns, symbols: Any) -> list[str]:
            await score(desk, 2.0)
            return await ids_of(active, symbols)

        with monkeypatch.context() as patch:
            patch.setattr(ActivePatterns, "ids_of", late)
            await desk.model.refresh_strength()
    await score(desk, 1.0)
    await desk.model.refresh_strength()
    [item] = await desk.agree()
    assert item["rs_excess"] == 1.0


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
async def test_hints_repeated_and_out_of_order_change_nothing(desk: Desk, order: tuple[int, ...]) -> None:
    await desk.tell(event(0))
    await desk.tell(event(0, "updated", revision=1, confidence=0.7))
    await desk.tell(event(0, "expired", revision=2), event(1))
    said = await desk.entries()
    for i in order:
        await desk.updates.apply([said[i]])
        stored = await desk.stored()
        assert all(item in stored for item in await desk.shown())
    await desk.updates.apply(said[::-1])
    version = (await desk.reader.snapshot()).version
    await desk.updates.apply(said * 3)
    assert [i["pattern_type"] for i in await desk.agree()] == ["P1"]
    assert (await desk.reader.snapshot()).version == version, "a repetition made a new version"


async def test_what_is_no_fact_becomes_a_dead_letter_and_its_neighbours_are_applied(desk: Desk) -> None:
    await desk.tell(event(0))
    junk = [b"nope", b"[]", b'{"type":"pattern.detected","id":"7"}', b'{"id":7}', b"\xff"]
    unknown = b'{"type":"moon.full","id":"5b0e8d6e-4c5f-5b8c-9d2f-0d4f3c2b1a00"}'
    said = [Entry("updates", f"1-{i}", {FIELD: payload}) for i, payload in enumerate([*junk, unknown])]
    await desk.updates.apply([*said, *await desk.entries()])
    assert len(await desk.agree()) == 1
    letters = await desk.bench.rows("SELECT payload, service FROM dead_letters ORDER BY id")
    assert letters == [(payload, "cache-builder") for payload in junk]


async def test_after_a_flush_a_reader_is_told_so_until_the_model_is_whole_again(desk: Desk) -> None:
    await desk.tell(*(event(n) for n in range(30)))
    await desk.hear()
    before = await desk.agree()
    await desk.bench.redis.flushall()
    for _ in range(3):
        with pytest.raises(Unavailable, match="being built"):
            await desk.reader.snapshot()
    assert await desk.bench.redis.get(scripts.REBUILD) == b"missing"
    desk.heard = 0  # the stream was flushed, too
    await desk.tell(event(30))  # while there is no model; its hint comes to one that is missing
    await desk.hear()
    assert len(await desk.agree()) == len(before) + 1
    assert await desk.bench.redis.get(scripts.REBUILD) is None
    assert await desk.model.tend() is None, "a sound model was built again"


async def test_a_reader_never_sees_a_short_list_while_redis_is_flushed_again_and_again(desk: Desk) -> None:
    await desk.tell(*(event(n) for n in range(40)))
    await desk.model.rebuild()
    lengths, refusals, going = set(), 0, True

    async def read() -> None:
        nonlocal refusals
        reader = PatternReader(desk.bench.redis, fresh_s=0.0)
        while going:
            try:
                lengths.add(len(await reader.snapshot()))
            except Unavailable:
                refusals += 1
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read()) for _ in range(3)]
    for _ in range(15):
        await desk.bench.redis.flushall()
        await asyncio.gather(desk.model.tend(), desk.model.refresh([]), return_exceptions=True)
    going = False
    await asyncio.gather(*readers)
    assert lengths == {40}
    assert refusals


BREAKS: list[Callable[["redis.asyncio.Redis"], Awaitable[Any]]] = [
    lambda r: _lose_an_item(r),
    lambda r: r.hset(scripts.ITEMS, "stray", b"{}"),
    lambda r: r.hset(scripts.MANIFEST, "count", 4),
    lambda r: r.hdel(scripts.MANIFEST, "version"),
    lambda r: r.delete(scripts.MANIFEST),
    lambda r: r.delete(scripts.ITEMS),
    lambda r: r.set(scripts.ITEMS, "text"),
    lambda r: r.zremrangebyrank(f"{scripts.PREFIX}by:symbol", 0, 0),
]


async def _lose_an_item(client: "redis.asyncio.Redis") -> None:
    [first, *_] = await client.hkeys(scripts.ITEMS)
    await client.hdel(scripts.ITEMS, first)


@pytest.mark.parametrize("damage", BREAKS, ids=[str(i) for i in range(len(BREAKS))])
async def test_a_broken_model_is_no_answer_and_is_built_anew(
    desk: Desk, damage: Callable[["redis.asyncio.Redis"], Awaitable[Any]]
) -> None:
    await desk.tell(*(event(n) for n in range(5)))
    await desk.hear()
    await desk.agree()
    await damage(desk.bench.redis)
    with pytest.raises(Unavailable):
        await desk.reader.snapshot()
    with pytest.raises(Unavailable):
        await PatternReader(desk.bench.redis).snapshot()
    built = await desk.model.tend()
    assert built
    assert built.entries == len(await desk.agree()) == 5


async def test_an_item_that_is_no_json_is_no_answer(desk: Desk) -> None:
    await desk.tell(event(0))
    await desk.hear()
    [name] = await desk.bench.redis.hkeys(scripts.ITEMS)
    await desk.bench.redis.hset(scripts.ITEMS, name, b"{]")
    with pytest.raises(Unavailable):
        await PatternReader(desk.bench.redis).snapshot()
    await desk.model.tend()
    assert len(await desk.agree()) == 1


async def test_a_wrong_item_is_put_right_by_the_comparison(desk: Desk) -> None:
    await desk.tell(*(event(n) for n in range(5)))
    await desk.hear()
    [first, second, *_] = await desk.bench.redis.hkeys(scripts.ITEMS)
    other = await desk.bench.redis.hget(scripts.ITEMS, second)
    await desk.bench.redis.hset(scripts.ITEMS, first, other)
    await desk.bench.pool.execute("UPDATE patterns SET confidence = 0.75 WHERE pattern_type = 'P4'")
    assert await desk.model.reconcile() == 2
    desk.reader = PatternReader(desk.bench.redis)
    await desk.agree()
    assert await desk.model.reconcile() == 0


async def test_a_pattern_whose_time_has_come_goes_by_itself(desk: Desk) -> None:
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    await desk.tell(event(0), event(1, expires_at=soon))
    await desk.hear()
    assert len(await desk.agree()) == 2
    snapshot = await desk.reader.snapshot()
    at = int(soon.timestamp() * 1e6)
    assert [len(snapshot.select(Filters(), now_us=at + d)) for d in (-10, 10)] == [2, 1]
    # The clock of the database cannot be moved, so the pattern is.
    await desk.bench.pool.execute("UPDATE patterns SET expires_at = now() WHERE pattern_type = 'P1'")
    ids: Any = await desk.bench.redis.zrange(scripts.BY_EXPIRY, 0, 0)
    assert await desk.model.expire() == 0, "not yet, as far as the model knows"
    await desk.bench.redis.zadd(scripts.BY_EXPIRY, {ids[0]: 1})
    assert await desk.model.expire() == 1
    assert [i["pattern_type"] for i in await desk.agree()] == ["P0"]


async def test_a_model_of_another_database_is_built_anew(desk: Desk) -> None:
    await desk.tell(event(0))
    await desk.hear()
    old = await desk.reader.snapshot()
    await desk.bench.pool.execute("UPDATE installation SET epoch = gen_random_uuid()")
    await desk.bench.pool.execute("DELETE FROM patterns")
    await desk.model.expire()
    new = await desk.reader.snapshot()
    assert new.epoch != old.epoch
    assert len(new) == 0


async def test_a_database_restored_under_its_old_epoch_goes_on_above_the_versions_it_forgot(
    desk: Desk,
) -> None:
    await desk.tell(event(0))
    await desk.hear()
    before = await desk.reader.snapshot()
    await desk.bench.pool.execute("SELECT setval('read_model_versions', 1)")
    await desk.tell(event(1))
    await desk.hear()
    assert len(await desk.agree()) == 2
    assert (await desk.reader.snapshot()).version > before.version


async def test_a_builder_that_slept_between_reading_and_writing_changes_nothing_when_it_wakes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.tell(event(0))
    other = PatternModel(ActivePatterns(desk.bench.pool), desk.bench.redis)
    change = PatternModel._change
    refused: list[bool] = []

    async def slow(model: PatternModel, turn: Turn, *told: Any) -> int:
        if model is other or refused:
            return await change(model, turn, *told)
        # Its connection dies while it sleeps; others go on, here back and forth to what it was.
        [pid] = await turn._connection.fetchrow("SELECT pg_backend_pid()")
        await desk.bench.pool.execute("SELECT pg_terminate_backend($1)", pid)
        await desk.bench.pool.execute("UPDATE patterns SET confidence = 0.25")
        await other.refresh(await ActivePatterns(desk.bench.pool).ids())
        refused.append(True)
        with pytest.raises(Superseded):
            await change(model, turn, *told)
        raise Unavailable("as its dead connection will say")

    monkeypatch.setattr(PatternModel, "_change", slow)
    with pytest.raises(Unavailable):
        await desk.hear()
    assert refused
    [item] = await desk.agree()
    assert item["confidence"] == 0.25


async def test_a_builder_killed_between_reading_and_writing_left_nothing_half_done(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.tell(*(event(n) for n in range(5)))
    reached = asyncio.Event()

    async def never(*_: Any) -> int:
        reached.set()
        return await asyncio.Future()

    with monkeypatch.context() as patched:
        patched.setattr(PatternModel, "_change", never)
        killed = asyncio.create_task(desk.hear())
        await reached.wait()
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
    assert await desk.shown() == []
    desk.heard = 0  # what was not acknowledged comes again
    await desk.hear()
    assert len(await desk.agree()) == 5

    reached.clear()
    with monkeypatch.context() as patched:
        patched.setattr(PatternModel, "_replace", never)
        killed = asyncio.create_task(_rebuild(desk))
        await reached.wait()
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
    assert len(await desk.agree()) == 5


async def _rebuild(desk: Desk) -> None:
    await desk.model.rebuild()


async def test_builders_at_the_same_time_end_in_what_is_stored(desk: Desk) -> None:
    rng = random.Random(3)
    others = [desk_of(desk.bench) for _ in range(2)]
    for turn in range(6):
        await desk.tell(*(event(n, "updated", revision=turn, confidence=rng.random()) for n in range(20)))
        said = await desk.entries()
        parts = [rng.sample(said, len(said) // 2) for _ in others]
        await asyncio.gather(
            *(other.updates.apply(part) for other, part in zip(others, parts, strict=True)),
            others[0].model.rebuild(),
            desk.updates.apply(said[-20:]),
            others[1].model.reconcile(),
        )
        await desk.agree()


@pytest.mark.parametrize("seed", range(3))
async def test_after_any_series_the_model_is_what_is_stored(desk: Desk, seed: int) -> None:
    rng = random.Random(seed)
    followers = [PatternReader(desk.bench.redis, fresh_s=0.0) for _ in range(2)]
    for turn in range(25):
        kinds = rng.choices(("detected", "updated", "expired"), (4, 4, 1), k=rng.randrange(1, 9))
        await desk.tell(*(_any_event(rng, kind) for kind in kinds))
        match rng.randrange(8):
            case 0:
                await desk.bench.redis.flushall()
                desk.heard = 0
            case 1:
                await desk.model.rebuild()
            case 2:
                await desk.model.reconcile()
            case 3:
                await desk.bench.redis.delete(scripts.CHANGES)
            case 4:
                continue
        await desk.hear()
        await desk.model.tend()
        wanted = await desk.agree()
        assert shown(await PatternReader(desk.bench.redis).snapshot()) == wanted
        for follower in followers:
            if rng.random() < 0.5:
                assert shown(await follower.snapshot()) == wanted, turn


def _any_event(rng: random.Random, kind: str) -> dict[str, Any]:
    return event(
        rng.randrange(30),
        kind,
        revision=rng.randrange(5),
        confidence=rng.choice((0.0, 0.5, 1.0)),
        rs_ratio=rng.choice((None, 0.9)),
        side=rng.choice((None, "accumulation")),
        expires_at=rng.choice((FOREVER, datetime.now(UTC) - timedelta(days=1))),
    )


async def test_a_reader_far_behind_reads_everything_and_one_close_behind_what_changed(desk: Desk) -> None:
    await desk.tell(*(event(n) for n in range(10)))
    await desk.hear()
    close, far = (PatternReader(desk.bench.redis, fresh_s=0.0) for _ in range(2))
    await close.snapshot()
    await far.snapshot()
    for n in range(10, 14):
        await desk.tell(event(n))
        await desk.hear()
    changes: Any = await desk.bench.redis.xrange(scripts.CHANGES)
    await desk.bench.redis.xdel(scripts.CHANGES, changes[-2][0])  # as if it were beyond what is kept
    assert shown(await far.snapshot()) == await desk.stored()
    calls: list[str] = []
    load = PatternReader._load

    async def counted(self: PatternReader, **told: Any) -> Snapshot:
        calls.append("load")
        return await load(self, **told)

    PatternReader._load = counted  # type: ignore[method-assign]
    try:
        await far.snapshot()
        await desk.tell(event(14))
        await desk.hear()
        assert shown(await far.snapshot()) == await desk.stored()
        assert calls == []
        assert shown(await close.snapshot()) == await desk.stored()
        assert calls == ["load"]
    finally:
        PatternReader._load = load  # type: ignore[method-assign]


async def _scripts_run(desk: Desk) -> int:
    about = [await server.info("commandstats") for server in await servers(desk.bench.redis)]
    return sum(stats.get("cmdstat_evalsha", {"calls": 0})["calls"] for stats in about)


async def test_many_readers_at_once_cost_one_question(desk: Desk) -> None:
    await desk.tell(event(0))
    await desk.hear()
    now = 100.0
    reader = PatternReader(desk.bench.redis, clock=lambda: now)
    await reader.snapshot()
    before = await _scripts_run(desk)
    now += 1
    seen = await asyncio.gather(*(reader.snapshot() for _ in range(50)))
    after = await _scripts_run(desk)
    assert len({id(s) for s in seen}) == 1
    assert after - before == 1


async def test_changes_are_asked_for_before_the_model_is_old_and_nobody_waits(desk: Desk) -> None:
    await desk.tell(event(0))
    await desk.hear()
    now = 100.0
    reader = PatternReader(desk.bench.redis, fresh_s=0.1, clock=lambda: now)
    first = await reader.snapshot()
    await desk.tell(event(1))
    await desk.hear()
    before = await _scripts_run(desk)
    now += 0.02
    assert reader.at_hand() is first
    await asyncio.sleep(0.05)
    assert await _scripts_run(desk) == before
    now += 0.02
    assert all(reader.at_hand() is first for _ in range(50))

    async def followed() -> bool:
        return len(reader.at_hand() or ()) == 2

    await eventually(followed)
    assert await _scripts_run(desk) == before + 1
    now += 0.11
    assert reader.at_hand() is None
    await reader.close()


async def test_who_is_woken_late_has_the_answer_and_does_not_ask_again(desk: Desk) -> None:
    await desk.tell(event(0))
    await desk.hear()
    reader = PatternReader(desk.bench.redis, fresh_s=0.0)  # as if time passed at every look at the clock
    await reader.snapshot()
    before = await _scripts_run(desk)
    first, *others = [asyncio.ensure_future(reader.snapshot()) for _ in range(50)]
    await asyncio.sleep(0)
    first.cancel()  # the one who asked goes away
    assert {len(s) for s in await asyncio.gather(*others)} == {1}
    after = await _scripts_run(desk)
    assert after - before == 1


async def test_a_reader_without_redis_says_so_and_goes_on_when_it_is_back(
    desk: Desk, redis_url: str
) -> None:
    await desk.tell(event(0))
    await desk.hear()
    client = redis.asyncio.Redis.from_url("redis://127.0.0.1:1", socket_timeout=1)
    with pytest.raises(Unavailable):
        await PatternReader(client).snapshot()
    await client.aclose()
    await desk.bench.redis.client_kill_filter(_type="normal", skipme=False)
    seen = [s for s in await _attempts(desk.reader, 3) if isinstance(s, Snapshot)]
    assert len(seen[-1]) == 1


async def _attempts(reader: PatternReader, times: int) -> Sequence[Snapshot | Unavailable]:
    answers: list[Snapshot | Unavailable] = []
    for _ in range(times):
        try:
            answers.append(await reader.snapshot())
        except Unavailable as error:
            answers.append(error)
    return answers


async def test_stale_says_that_no_builder_is_at_work(desk: Desk) -> None:
    assert (await desk.reader.snapshot()).stale
    await desk.model.expire()
    assert not (await desk.reader.snapshot()).stale


async def test_statistics_are_honest_without_traffic(desk: Desk) -> None:
    empty = await desk.reader.statistics()
    assert (empty.entries, empty.hits, empty.misses, empty.ratio) == (0, 0, 0, None)
    assert (empty.events, empty.last_event_ms) == (0, None)
    await desk.tell(event(0), event(1))
    await desk.hear()
    for hit in (True, True, True, False):
        desk.reader.count(hit=hit)
    found = await desk.reader.statistics()
    assert (found.entries, found.hits, found.misses, found.ratio, found.events) == (2, 3, 1, 0.75, 2)
    assert found.index_sizes == dict.fromkeys(scripts.INDEXES, 2)
    assert found.eviction_policy == "noeviction"
    assert found.memory_bytes > 0
    assert found.last_event_ms


async def test_a_cache_under_memory_pressure_changes_no_scan(desk: Desk, cache_url: str) -> None:
    await desk.tell(*(event(n, confidence=n / 200) for n in range(200)))
    await desk.hear()
    before = await desk.agree()
    async with redis.asyncio.Redis.from_url(cache_url) as cache:
        was = str((await cache.config_get("maxmemory"))["maxmemory"])
        await cache.config_set("maxmemory", "8mb")
        try:
            for start in range(0, 20_000, 1_000):
                pipeline = cache.pipeline(transaction=False)
                for n in range(start, start + 1_000):
                    pipeline.set(f"other:{n}", b"x" * 1_000)
                await pipeline.execute()
            assert (await cache.info("stats"))["evicted_keys"] > 0
            assert await desk.agree() == before
            assert shown(await PatternReader(desk.bench.redis).snapshot()) == before
        finally:
            await cache.config_set("maxmemory", was)
            await cache.flushall()


async def test_scans_are_sorted_and_filtered_from_what_is_stored(desk: Desk) -> None:
    rng = random.Random(1)
    some: list[tuple[float, float | None]] = [(c, v) for c in (0.2, 0.6, 0.9) for v in (None, 1.5)]
    chances = enumerate(rng.choices(some, k=60))
    await desk.tell(*(event(n, confidence=c, vol_ratio=v) for n, (c, v) in chances))
    await desk.hear()
    snapshot, stored = await desk.reader.snapshot(), await desk.stored()
    for sort_by in SORTS:
        chosen = snapshot.select(Filters(confidence_min=0.5, symbols=["AAPL", "XOM"]), sort_by, now_us=NOW_US)
        found = [orjson.loads(i) for i in snapshot.items(chosen)]
        assert sorted(i["id"] for i in found) == [
            i["id"] for i in stored if i["confidence"] >= 0.5 and i["symbol"] in ("AAPL", "XOM")
        ]
    assert [orjson.loads(snapshot.item(i["id"]) or b"") for i in stored] == stored
    assert snapshot.item("5b0e8d6e-4c5f-5b8c-9d2f-0d4f3c2b1a00") is None


async def test_a_model_of_an_earlier_version_is_let_expire_and_another_one_is_built(desk: Desk) -> None:
    """It may still be read and tended, by those who have not been upgraded yet."""
    client = desk.bench.redis
    await client.hset("rm:patterns:items", "5b0e8d6e-4c5f-5b8c-9d2f-0d4f3c2b1a00", "{}")
    await client.hset("rm:patterns:stats", "events", 7)
    await desk.tell(event(0))
    await client.delete(scripts.MANIFEST)
    await desk.hear()
    await desk.model.tend()
    assert len(await desk.agree()) == 1
    for key in ("rm:patterns:items", "rm:patterns:stats"):
        assert 0 < await client.ttl(key) <= scripts.BEFORE_S
    assert await client.hlen("rm:patterns:items") == 1
