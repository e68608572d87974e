"""Trades of outside systems on a real PostgreSQL and a real Redis: any order of events, one state."""

import itertools
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest

from detector.patterns import ApplyPatterns
from detector.signals import ApplySignals
from rollotape.domain.ids import own_id
from rollotape.events import FIELD, SignalUpdate
from rollotape.postgres import export
from rollotape.postgres.patterns import Patterns
from rollotape.postgres.signals import Signals
from rollotape.settings import Settings
from rollotape.streams.entries import Entry
from rollotape.streams.outbox import Outbox
from rollotape.streams.producer import Producer
from rollotape.verify import verify
from support.applying import ARRIVED_MS, Bench, open_bench

START = datetime(2020, 1, 6, tzinfo=UTC)
STATE = "SELECT * FROM signals ORDER BY id"
ID = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    async with open_bench(settings) as bench:
        yield bench


class Killed(BaseException):
    """The process ends here."""


class DyingSignals(Signals):
    """Dies after its commit."""

    async def commit(self, *arguments: Any) -> Any:
        await super().commit(*arguments)
        raise Killed


class DumbOutbox(Outbox):
    """Dies before it says anything."""

    async def say(self, unsaid: Any) -> None:
        raise Killed


def entries(bench: Bench, events: Sequence[bytes | dict[str, Any]]) -> list[Entry]:
    payloads = [e if isinstance(e, bytes) else orjson.dumps(e) for e in events]
    found = [Entry("signals.0", f"{ARRIVED_MS}-{bench.sent + i}", {FIELD: p}) for i, p in enumerate(payloads)]
    bench.sent += len(found)
    return found


async def tell(bench: Bench, *events: bytes | dict[str, Any]) -> None:
    """Apply events about trades as one batch."""
    await ApplySignals(Signals(bench.pool), bench.outbox).apply(entries(bench, events))


def event(kind: str = "opened", **more: Any) -> dict[str, Any]:
    told = {"event": kind, "source": "desk", "symbol": "AAPL", "timeframe": "1d", "pattern_type": "SPRING"}
    return told | {"direction": "long", "generated_at": START, "stop": 95.0, "target": 110.0} | more


def entered(kind: str = "updated", **more: Any) -> dict[str, Any]:
    told = {"entry_date": START + timedelta(days=1), "entry_price": 100.0, "revision": 1}
    return event(kind, **(told | more))


def closed(**more: Any) -> dict[str, Any]:
    told = {"exit_date": START + timedelta(days=5), "exit_price": 110.0, "exit_reason": "target"}
    return entered("closed", **(told | {"revision": 2} | more))


async def test_a_trade_is_followed_from_pending_to_closed_and_its_r_is_ours(bench: Bench) -> None:
    seen = []
    for told in (event(), entered(), closed()):
        await tell(bench, told)
        seen += await bench.rows("SELECT origin, status, realized_r, exit_date IS NULL FROM signals")
    assert seen == [
        ("external", "PENDING", None, True), ("external", "OPEN", None, True),
        ("external", "CLOSED", 2.0, False),
    ]  # fmt: skip
    facts = [SignalUpdate.model_validate_json(orjson.dumps(u)) for u in await bench.said("updates")]
    assert [f.type for f in facts] == ["signal.opened", "signal.updated", "signal.closed"]
    assert len({f.id for f in facts}) == 1
    versions = [f.fact_version for f in facts]
    assert versions == sorted(set(versions))
    last = facts[-1].signal
    assert (last.origin, last.source, last.exit_price, last.realized_r) == ("external", "desk", 110.0, 2.0)
    assert (last.changed_at, last.exit_reason) == (START + timedelta(days=5), "target")


@pytest.mark.parametrize(
    ("direction", "entry", "stop", "exit_price", "r"),
    [("long", 100, 95, 90, -2), ("short", 100, 105, 90, 2), ("short", 100, 105, 110, -2),
     ("long", 100.00000001, 100, 100, -1)],
)  # fmt: skip
async def test_r_is_the_exit_in_units_of_the_risk_for_long_and_short(
    bench: Bench, direction: str, entry: float, stop: float, exit_price: float, r: float
) -> None:
    told = {"direction": direction, "entry_price": entry, "stop": stop, "exit_price": exit_price}
    await tell(bench, closed(**told))
    assert await bench.rows("SELECT realized_r FROM signals") == [(r,)]


async def test_a_trade_may_be_cancelled_and_has_no_r_then(bench: Bench) -> None:
    await tell(bench, event(), event("cancelled", revision=1, changed_at=START + timedelta(days=2)))
    assert await bench.rows("SELECT status, realized_r FROM signals") == [("CANCELLED", None)]
    assert [u["type"] for u in await bench.said("updates")] == ["signal.closed"]


STORY = [
    event(),
    entered(),
    entered(stop=96.0),
    entered(revision=2, target=120.0),
    closed(revision=2),
    closed(revision=2, exit_price=94.5),
]


async def test_any_order_of_events_ends_in_the_same_state(bench: Bench) -> None:
    states = set()
    for order in itertools.permutations(STORY[1:]):
        await bench.pool.execute("TRUNCATE signals")
        for told in order[:2]:
            await tell(bench, told)
        await tell(bench, *order[2:], STORY[0], order[0])
        states |= set(await bench.rows(STATE))
    assert len(states) == 1


@pytest.mark.parametrize("seed", range(4))
async def test_many_trades_in_any_order_repetition_and_batches_end_alike(bench: Bench, seed: int) -> None:
    rng = random.Random(seed)
    trades = [
        [told | {"symbol": s, "generated_at": START + timedelta(minutes=n)} for told in STORY]
        for n, s in enumerate(["AAPL", "MSFT", "A", "AAPL"] * 3)
    ]
    events = [told for trade in trades for told in trade]
    await tell(bench, *events)
    expected = await bench.rows(STATE)
    assert len(expected) == 12
    for _ in range(3):
        await bench.pool.execute("TRUNCATE signals, symbol_state")
        pieces = events + rng.sample(events, 30)
        rng.shuffle(pieces)
        while pieces:
            size = rng.randint(1, 9)
            await tell(bench, *pieces[:size])
            pieces = pieces[size:]
        assert await bench.rows(STATE) == expected
        assert (await verify(bench.pool)).differences == []


async def test_a_crash_between_any_two_lines_ends_in_the_same_rows_and_all_is_said(bench: Bench) -> None:
    batch = entries(bench, STORY)
    await ApplySignals(Signals(bench.pool), bench.outbox).apply(batch)
    expected, said = await bench.rows(STATE), await bench.said("updates")
    for handler in (
        ApplySignals(DyingSignals(bench.pool), bench.outbox),
        ApplySignals(Signals(bench.pool), DumbOutbox(bench.pool, Producer(bench.redis))),
    ):
        await bench.pool.execute("TRUNCATE signals, symbol_state, outbox")
        await bench.redis.delete("updates")
        with pytest.raises(Killed):
            await handler.apply(batch)
        await ApplySignals(Signals(bench.pool), bench.outbox).apply(batch)
        assert await bench.rows(STATE) == expected
        assert await bench.said("updates") == []
        await bench.outbox.sweep(older_than_s=0)
        again = await bench.said("updates")
        assert [fact | {"trace_id": None} for fact in again] == [fact | {"trace_id": None} for fact in said]
        commits = {fact["trace_id"] for fact in said}
        assert commits.isdisjoint(fact["trace_id"] for fact in again), "new commits"


async def test_a_trade_and_its_pattern_may_come_in_either_order(bench: Bench) -> None:
    pattern: dict[str, Any] = {"event": "detected", "source": "desk", "symbol": "AAPL", "timeframe": "1d"}
    pattern |= {"id": ID} | {"pattern_type": "SPRING", "confidence": 0.8, "detected_at": START}
    entry = Entry("patterns.0", f"{ARRIVED_MS}-9999", {FIELD: orjson.dumps(pattern)})
    await tell(bench, entered(pattern_id=ID))
    await ApplyPatterns(Patterns(bench.pool), bench.outbox).apply([entry])
    expected = await bench.rows(STATE)
    await bench.pool.execute("TRUNCATE signals, patterns")
    await ApplyPatterns(Patterns(bench.pool), bench.outbox).apply([entry])
    await tell(bench, entered(pattern_id=ID))
    assert await bench.rows(STATE) == expected


def ours() -> str:
    return str(own_id(UUID(ID), "a trade of ours"))


POISON: list[tuple[Any, str]] = [
    (b"nope", "json"),
    (b"[]", "json"),
    (b"{}", "symbol"),
    (event("vanished"), "event"),
    (event(symbol="A" * 30), "symbol"),
    (event(timeframe="1M"), "timeframe"),
    (event(source="rollo"), "source"),
    (event(id=ours()), "id"),
    (event(direction="up"), "direction"),
    (event(stop=None), "stop"),
    (event(stop=1e-9), "stop"),
    (event(realized_r=3.0), "realized_r"),
    (event(generated_at=START + timedelta(days=99_999)), "generated_at"),
    (entered(entry_price=None), "entry_price"),
    (entered(entry_date=None), "entry_date"),
    (entered(stop=100.0), "stop"),
    (entered(stop=100.1), "stop"),
    (entered(stop=99.9, direction="short"), "stop"),
    (entered("closed"), "exit_date"),
    (closed(exit_price=None), "exit_price"),
    (closed(exit_date=None), "exit_date"),
    (closed(event="updated"), "exit_date"),
    (closed(event="cancelled"), "exit_date"),
    (closed(entry_date=None, entry_price=None), "entry_date"),
    (closed(exit_date=START), "exit_date"),
    (closed(entry_date=START - timedelta(days=60 * 365 - 4)), "entry_date"),
    (closed(exit_date=START + timedelta(days=99_999)), "exit_date"),
    (closed(exit_reason="a\0b"), "exit_reason"),
]


async def test_poison_becomes_dead_letters_that_name_the_field_and_neighbours_are_applied(
    bench: Bench,
) -> None:
    payloads = [p if isinstance(p, bytes) else orjson.dumps(p) for p, _ in POISON]
    await tell(bench, event(), *payloads, event(pattern_type="SOS"))
    assert await bench.rows("SELECT count(*) FROM signals") == [(2,)]
    letters = await bench.rows("SELECT payload, fields FROM dead_letters ORDER BY id")
    assert [payload for payload, _ in letters] == payloads
    for (_, fields), (payload, field) in zip(letters, POISON, strict=True):
        assert field in fields, payload
    [[reason]] = await bench.rows("SELECT reasons[1] FROM dead_letters WHERE reasons[1] LIKE '%100.1'")
    assert reason == "must be below the entry of a long, got 100.1"


async def test_the_export_of_trades_covers_those_of_outside_systems(bench: Bench, settings: Settings) -> None:
    await tell(bench, closed())
    out = BytesIO()
    async with export.connection(settings.database_url) as connection:
        assert await export.export(connection, "signals", out.write, lambda _: None) == 1
    row = out.getvalue().decode().splitlines()[1].split(",")
    assert row[1:5] == ["external", "desk", "AAPL", "1d"]
    assert row[-3:] == ["110", "target", "2"]


@pytest.mark.parametrize(
    "wrong",
    ["realized_r = 3", "realized_r = NULL", "stop = 94", "source = 'else'", "revision = 3, hash = 4",
     "status = 'CANCELLED', exit_date = NULL, exit_price = NULL, realized_r = NULL"],
)  # fmt: skip
async def test_verify_sees_a_trade_that_does_not_follow_from_its_event(bench: Bench, wrong: str) -> None:
    await tell(bench, closed(), event(symbol="MSFT"))
    assert (await verify(bench.pool)).differences == []
    await bench.pool.execute(f"UPDATE signals SET {wrong} WHERE symbol = 'AAPL'")
    assert {d.table for d in (await verify(bench.pool)).differences} == {"signals"}


async def test_a_trade_without_its_exit_price_cannot_be_stored_by_anybody(bench: Bench) -> None:
    await tell(bench, closed())
    with pytest.raises(asyncpg.CheckViolationError, match="chk_exit_fields_together"):
        await bench.pool.execute("UPDATE signals SET exit_price = NULL")
