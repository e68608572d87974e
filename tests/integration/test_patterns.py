"""Patterns on a real PostgreSQL and a real Redis: any order of events and bars, one state and one count."""

import itertools
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from detector.patterns import ApplyPatterns
from rollotape.events import FIELD, PatternUpdate
from rollotape.postgres.patterns import Patterns
from rollotape.settings import Settings
from rollotape.streams.entries import Entry
from rollotape.verify import verify
from support.applying import ARRIVED_MS, Bench, open_bench

START = datetime(2020, 1, 6, tzinfo=UTC)
STATE = "SELECT * FROM patterns ORDER BY id"


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    async with open_bench(settings) as bench:
        yield bench


async def tell(bench: Bench, *events: bytes | dict[str, Any]) -> None:
    """Apply pattern events as one batch."""
    payloads = [e if isinstance(e, bytes) else orjson.dumps(e) for e in events]
    entries = [
        Entry("patterns.0", f"{ARRIVED_MS}-{bench.sent + i}", {FIELD: p}) for i, p in enumerate(payloads)
    ]
    bench.sent += len(entries)
    await ApplyPatterns(Patterns(bench.pool), bench.outbox).apply(entries)


def event(kind: str = "detected", *, day: int = 40, **more: Any) -> dict[str, Any]:
    told = {"event": kind, "source": "test", "symbol": "AAPL", "timeframe": "1d", "pattern_type": "SPRING"}
    return told | {"confidence": 0.8, "detected_at": START + timedelta(days=day)} | more


def bar(day: int, prices: Sequence[float] = (100, 101, 99, 100), volume: float = 1000, **more: Any) -> bytes:
    o, h, low, c = prices
    told = {"symbol": "AAPL", "timeframe": "1d", "ts": START + timedelta(days=day), "volume": volume}
    return orjson.dumps(told | {"open": o, "high": h, "low": low, "close": c} | more)


def climax(first: int = 0) -> list[bytes]:
    """Twenty quiet bars, a climax and its confirmation on weekdays; one stopping volume of seed-1."""
    days = [d for d in range(first, first + 60) if d % 7 < 5][:22]
    bars = [bar(d) for d in days[:20]]
    return [*bars, bar(days[20], (101, 101.5, 98, 98.5), 2715), bar(days[21], (98.6, 100, 98.4, 99.8), 1200)]


async def test_any_order_of_events_ends_in_the_same_state(bench: Bench) -> None:
    events = [
        event(revision=1),
        event("updated", revision=2, confidence=0.9),
        event("updated", revision=2, confidence=0.7),
        event("updated", revision=5, confidence=0.5),
        event("expired", revision=3, confidence=0.4),
    ]
    states = set()
    for order in itertools.permutations(events):
        await bench.pool.execute("TRUNCATE patterns")
        for told in order[:3]:
            await tell(bench, told)
        await tell(bench, *order[3:], order[0])
        [state] = await bench.rows(STATE)
        states.add(state)
    [state] = states
    assert "expired" in state
    assert 0.4 in state


async def test_an_expired_pattern_stays_expired_whatever_its_revision(bench: Bench) -> None:
    await tell(bench, event("expired", revision=1))
    await tell(bench, event("updated", revision=99))
    assert await bench.rows("SELECT status, revision FROM patterns") == [("expired", 1)]


async def test_counts_follow_from_bars_whether_these_come_before_or_after(bench: Bench) -> None:
    await tell(bench, event())
    assert await bench.rows("SELECT vsa_events, vsa_events_classic FROM patterns") == [(None, None)]
    await bench.apply(climax())
    [[seed, classic]] = await bench.rows("SELECT vsa_events, vsa_events_classic FROM patterns")
    assert orjson.loads(seed) == {"no_demand": 0, "no_supply": 0, "stopping_volume": 1}
    before = await bench.rows(STATE)

    await bench.pool.execute("TRUNCATE patterns")
    await tell(bench, event())
    assert await bench.rows(STATE) == before
    assert classic is not None


async def test_a_restated_bar_changes_the_count_and_says_so(bench: Bench) -> None:
    bars = climax()
    await bench.apply(bars)
    await tell(bench, event())
    await bench.apply([bar(28, (101, 101.5, 98, 98.5), 1000, revision=1)])
    facts = [
        PatternUpdate.model_validate_json(orjson.dumps(u))
        for u in await bench.said("updates")
        if "pattern" in u
    ]
    assert [f.type for f in facts] == ["pattern.detected", "pattern.updated"]
    assert [f.pattern.vsa_events.stopping_volume for f in facts if f.pattern.vsa_events] == [1, 0]
    assert facts[0].fact_version < facts[1].fact_version


async def test_a_pattern_whose_own_bar_cannot_be_judged_has_null_counts_and_not_zero(bench: Bench) -> None:
    await bench.apply(climax())
    await tell(bench, event(day=10, id="11111111-1111-4111-8111-111111111111"), event(day=35))
    counts = await bench.rows("SELECT vsa_events FROM patterns ORDER BY detected_at")
    assert counts[0] == (None,)
    assert counts[1] != (None,)


async def test_events_known_exactly_30_days_before_are_out_and_at_detection_are_in(bench: Bench) -> None:
    await bench.apply(climax())
    [[known]] = await bench.rows("SELECT knowable_at FROM vsa_events WHERE rule_set = 'seed-1'")
    at = datetime.fromtimestamp(known / 1e6, UTC)
    times = [
        at - timedelta(microseconds=1),
        at,
        at + timedelta(days=30, microseconds=-1),
        at + timedelta(days=30),
    ]
    await tell(bench, *(event(pattern_type=f"P{i}", detected_at=t) for i, t in enumerate(times)))
    rows = await bench.rows(
        "SELECT (vsa_events->>'stopping_volume')::int FROM patterns ORDER BY pattern_type"
    )
    assert rows == [(0,), (1,), (1,), (0,)]


@pytest.mark.parametrize("seed", range(4))
async def test_bars_and_patterns_in_any_order_and_repetition_end_alike(bench: Bench, seed: int) -> None:
    rng = random.Random(seed)
    bars = climax() + climax(first=42)
    events = [event(day=d, pattern_type=f"P{d}", revision=r) for d in (5, 29, 31, 50, 77, 90) for r in (0, 1)]
    await bench.apply(bars)
    await tell(bench, *events)
    expected = await bench.rows(STATE)
    assert len(await bench.rows("SELECT DISTINCT vsa_events FROM patterns")) > 1
    for _ in range(3):
        await bench.pool.execute("TRUNCATE patterns, bars, vsa_events, symbol_state")
        bench.memory.forget(["AAPL"])
        pieces: list[tuple[str, Any]] = [("bar", b) for b in bars * 2] + [("event", e) for e in events * 2]
        rng.shuffle(pieces)
        for kind, group in itertools.groupby(pieces, key=lambda p: p[0]):
            told = [payload for _, payload in group]
            await (bench.apply(told) if kind == "bar" else tell(bench, *told))
        assert await bench.rows(STATE) == expected
        report = await verify(bench.pool)
        assert (report.differences, report.patterns_checked) == ([], 6)


async def test_verify_sees_a_count_that_does_not_follow(bench: Bench) -> None:
    await bench.apply(climax())
    await tell(bench, event())
    assert (await verify(bench.pool)).differences == []
    await bench.pool.execute("UPDATE patterns SET vsa_events = NULL")
    await bench.pool.execute("UPDATE patterns SET vsa_events_classic = '{\"no_demand\": 7}'")
    assert [d.table for d in (await verify(bench.pool)).differences] == ["patterns", "patterns"]


OLDER: list[dict[str, Any]] = [
    {
        "event_type": "pattern_detected",
        "source": "tickstock_pl",
        "timestamp": 1_578_600_000.5,
        "data": {
            "symbol": "aapl",
            "pattern": "Bull Flag",
            "confidence": 0.87,
            "current_price": 150.25,
            "price_change": 1.2,
            "timestamp": 1_578_600_000,
            "expires_at": 1_578_700_000,
            "indicators": {"relative_strength": 1.1, "relative_volume": 1.8, "rsi": 62},
        },
    },
    {
        "source": "tickstock_pl",
        "timestamp": 1_578_600_000,
        "symbol": "AAPL",
        "pattern": "Bull_Flag",
        "confidence": 0.87,
        "current_price": 150.25,
        "price_change": 1.2,
        "expires_at": 1_578_700_000,
        "indicators": {"relative_strength": 1.1, "relative_volume": 1.8, "rsi": 62},
    },
    {
        "source": "tickstock_pl",
        "data": {
            "data": {
                "symbol": "AAPL",
                "pattern": "bull-flag",
                "confidence": 0.87,
                "current_price": 150.25,
                "price_change": 1.2,
                "timestamp": 1_578_600_000,
                "expires_at": "2020-01-10T23:46:40",
                "indicators": {"relative_strength": 1.1, "relative_volume": 1.8, "rsi": 62},
            }
        },
    },
]


@pytest.mark.parametrize("older", OLDER, ids=["nested", "flat", "doubly nested"])
async def test_an_older_shape_becomes_the_same_pattern(bench: Bench, older: dict[str, Any]) -> None:
    await tell(bench, older)
    found = await bench.rows(
        "SELECT symbol, pattern_type, timeframe, confidence, price, change_pct, rs_ratio, vol_ratio, rsi,"
        " status, extract(epoch FROM detected_at)::int, extract(epoch FROM expires_at)::int, id::text"
        " FROM patterns"
    )
    [row] = found
    assert row[:-1] == (
        "AAPL", "BULL_FLAG", "1d", 0.87, 150.25, 1.2, 1.1, 1.8, 62.0, "active", 1_578_600_000, 1_578_700_000
    )  # fmt: skip
    await tell(bench, OLDER[1])
    assert await bench.rows("SELECT count(*) FROM patterns") == [(1,)]  # one id, whatever the shape


POISON: list[tuple[bytes, str]] = [
    (b"nope", "json"),
    (b"[]", "json"),
    (b"{}", "symbol"),
    (orjson.dumps(event(confidence=1.2)), "confidence"),
    (orjson.dumps(event(symbol="A" * 30)), "symbol"),
    (orjson.dumps(event(timeframe="1M")), "timeframe"),
    (orjson.dumps(event(rsi=101)), "rsi"),
    (orjson.dumps(event(phase="F")), "phase"),
    (orjson.dumps(event(day=99_999)), "detected_at"),
    (orjson.dumps(event(expires_at=START)), "expires_at"),
    (orjson.dumps(event(version=2)), "version"),
    (orjson.dumps(event(surprise=1)), "surprise"),
    (orjson.dumps(event(source="a\0b")), "source"),
    (b'{"data":{"symbol":"AAPL","pattern":"X","confidence":"high","timestamp":1578600000}}', "confidence"),
]


async def test_poison_becomes_dead_letters_that_name_the_field_and_neighbours_are_applied(
    bench: Bench,
) -> None:
    await tell(bench, event(), *(payload for payload, _ in POISON), event(pattern_type="SOS"))
    assert await bench.rows("SELECT count(*) FROM patterns") == [(2,)]
    letters = await bench.rows("SELECT payload, fields FROM dead_letters ORDER BY id")
    assert [payload for payload, _ in letters] == [payload for payload, _ in POISON]
    for (_, fields), (payload, field) in zip(letters, POISON, strict=True):
        assert field in fields, payload
