"""The detector's handler on a real PostgreSQL and a real Redis: gather, decide, apply, say."""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import pytest

from rollotape import tracing
from rollotape.errors import Unavailable
from rollotape.postgres.tape import Committed
from rollotape.postgres.versions import Moved
from rollotape.settings import Settings
from rollotape.streams.entries import Entry
from rollotape.verify import verify
from support.applying import Bench, open_bench

EVENTS = "SELECT * FROM vsa_events ORDER BY symbol, timeframe, rule_set, kind, event_ts"
BARS = """SELECT symbol, timeframe, ts, open, high, low, close, volume, revision, synthetic, evaluable
          FROM bars ORDER BY symbol, timeframe, ts"""


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    async with open_bench(settings) as bench:
        yield bench


def payload(symbol: str, day: int, prices: Sequence[float], volume: float, **more: Any) -> bytes:
    ts = datetime(2020, 1, 6, tzinfo=UTC) + timedelta(days=day + 2 * (day // 5))
    o, h, low, c = prices
    bar = {"symbol": symbol, "timeframe": "1d", "ts": ts, "open": o, "high": h, "low": low, "close": c}
    return orjson.dumps(bar | {"volume": volume} | more)


QUIET = (100.0, 101.0, 99.0, 100.0)


def climax(symbol: str = "AAPL", **more: Any) -> list[bytes]:
    """Twenty quiet bars, a climax and the bar that confirms it: golden vector V6b."""
    base = [payload(symbol, day, QUIET, 1000) for day in range(20)]
    return [
        *base,
        payload(symbol, 20, (101, 101.5, 98, 98.5), 2715, **more),
        payload(symbol, 21, (98.6, 100, 98.4, 99.8), 1200),
    ]


def market(symbols: int, days: int, seed: int) -> list[bytes]:
    """Lively enough that events of both rule sets come and go with single bars."""
    rng = random.Random(seed)
    payloads = []
    for s in range(symbols):
        close = 100.0
        for day in range(days):
            o, swing = close, rng.choice([0.003, 0.01, 0.03])
            close = round(max(1.0, o * rng.uniform(1 - swing, 1 + swing)), 2)
            high = round(max(o, close) * rng.uniform(1, 1 + swing / 3), 2)
            low = round(min(o, close) * rng.uniform(1 - swing / 3, 1), 2)
            volume = rng.choice([500, 900, 1000, 1100, 1600, 2600, 4000])
            payloads.append(payload(f"S{s}", day, (o, high, low, close), volume))
    return payloads


async def test_a_climax_becomes_an_event_and_is_said(bench: Bench) -> None:
    await bench.apply(climax())
    events = await bench.rows("SELECT kind, direction FROM vsa_events WHERE rule_set = 'seed-1'")
    assert events == [("stopping_volume", "bullish")]
    [update] = [u for u in await bench.said("updates") if u["event"]["rule_set"] == "seed-1"]
    assert update["type"] == "vsa.detected"
    assert update["fact_version"] == 1
    assert await bench.rows("SELECT count(*) FROM outbox") == [(0,)]
    [wake_up] = await bench.said("sessions")
    assert wake_up["first_session"] == date(2020, 1, 6).isoformat()


async def test_the_same_batch_again_changes_and_says_nothing(bench: Bench) -> None:
    await bench.apply(climax())
    before = await bench.rows("SELECT * FROM symbol_state"), len(await bench.said("updates"))
    await bench.apply(climax())
    assert (await bench.rows("SELECT * FROM symbol_state"), len(await bench.said("updates"))) == before


async def test_facts_say_the_trace_of_the_commit_that_they_follow_from(bench: Bench) -> None:
    await bench.apply([*climax(), *climax("MSFT")])
    first = await bench.rows("SELECT DISTINCT nonce FROM symbol_state")
    [[nonce]] = first
    said = await bench.said("updates")
    assert {u["event"]["symbol"] for u in said} == {"AAPL", "MSFT"}
    assert {u["trace_id"] for u in said} == {tracing.of(nonce)}
    await bench.apply([payload("AAPL", 20, (101, 101.5, 98, 98.5), 1000, revision=1)])
    [[nonce]] = await bench.rows("SELECT nonce FROM symbol_state WHERE symbol = 'AAPL'")
    retracted = (await bench.said("updates"))[len(said) :]
    assert {(u["type"], u["trace_id"]) for u in retracted} == {("vsa.retracted", tracing.of(nonce))}
    assert [(nonce,)] != first


async def test_a_restated_bar_retracts_what_no_longer_follows(bench: Bench) -> None:
    await bench.apply(climax())
    await bench.apply([payload("AAPL", 20, (101, 101.5, 98, 98.5), 1000, revision=1)])
    assert await bench.rows("SELECT count(*) FROM vsa_events") == [(0,)]
    facts = {u["id"]: u for u in await bench.said("updates")}  # the last one said of each
    assert {u["type"] for u in facts.values()} == {"vsa.retracted"}
    assert {u["fact_version"] for u in facts.values()} == {2}


async def test_a_late_bar_between_a_climax_and_its_confirmation_moves_the_confirmation(bench: Bench) -> None:
    *base, first, second = climax()
    later = payload("AAPL", 22, (98.6, 100, 98.4, 99.8), 1200)
    await bench.apply([*base, first, later])
    await bench.apply([second])
    [[event_ts, confirmed_ts]] = await bench.rows(
        "SELECT event_ts, confirmed_ts FROM vsa_events WHERE rule_set = 'seed-1'"
    )
    assert confirmed_ts - event_ts == 86_400_000_000
    assert (await verify(bench.pool)).differences == []


async def test_a_lower_revision_that_comes_later_is_not_applied(bench: Bench) -> None:
    await bench.apply([payload("AAPL", 0, QUIET, 1000, revision=2)])
    await bench.apply([payload("AAPL", 0, QUIET, 2000, revision=1), payload("AAPL", 0, QUIET, 3000)])
    assert await bench.rows("SELECT volume, revision FROM bars") == [(1000.0, 2)]


async def test_a_bar_restated_as_synthetic_takes_its_events_with_it_and_back_again(bench: Bench) -> None:
    bar = (101, 101.5, 98, 98.5)
    await bench.apply(climax())
    told = await bench.rows("SELECT kind, event_ts FROM vsa_events")
    await bench.apply([payload("AAPL", 20, bar, 2715, synthetic=True, revision=1)])
    assert await bench.rows("SELECT count(*) FROM vsa_events") == [(0,)]
    assert (await bench.rows("SELECT evaluable FROM bars ORDER BY ts"))[20] == (None,)
    await bench.apply([payload("AAPL", 20, bar, 2715, revision=2)])
    assert await bench.rows("SELECT kind, event_ts FROM vsa_events") == told
    assert (await verify(bench.pool)).differences == []


async def test_running_bars_are_never_stored(bench: Bench) -> None:
    await bench.apply([payload("AAPL", 0, QUIET, 1000, final=False)])
    assert await bench.rows("SELECT count(*) FROM bars") == [(0,)]


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_and_repetition_with_any_memory_gives_the_same_database(
    bench: Bench, seed: int
) -> None:
    payloads = market(symbols=3, days=150, seed=seed)
    await bench.apply(payloads)
    expected = await bench.rows(EVENTS), await bench.rows(BARS)
    assert len(expected[0]) > 8
    await bench.pool.execute("TRUNCATE bars, vsa_events, symbol_state, dirty_symbols")
    bench.memory.forget(["S0", "S1", "S2"])

    rng = random.Random(seed)
    again = payloads + rng.sample(payloads, 100)
    rng.shuffle(again)
    while again:
        count = rng.choice([1, 7, 40])
        await bench.apply(again[:count])
        again = again[count:]
        if rng.random() < 0.3:
            bench.memory.forget([f"S{rng.randrange(3)}"])
    assert (await bench.rows(EVENTS), await bench.rows(BARS)) == expected
    report = await verify(bench.pool)
    assert (report.differences, report.bars_checked) == ([], 450)


async def test_a_symbol_that_moved_between_gather_and_apply_is_gathered_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    *earlier, last = climax()
    await bench.apply(earlier[:-1])
    gathered = bench.tape.versions
    rivals = [earlier[-1]]

    async def versions(symbols: Any) -> Any:
        found = await gathered(symbols)
        while rivals:  # another detector commits after we looked
            await bench.apply([rivals.pop()])
        return found

    monkeypatch.setattr(bench.tape, "versions", versions)
    await bench.apply([last])
    assert await bench.rows("SELECT version FROM symbol_state") == [(3,)]
    assert await bench.rows("SELECT count(*) FROM vsa_events WHERE rule_set = 'seed-1'") == [(1,)]
    assert (await verify(bench.pool)).differences == []


async def test_a_commit_under_an_old_version_writes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.apply(climax()[:21])
    stale = await bench.tape.versions(["AAPL"])
    await bench.apply(climax()[21:])
    commit = bench.tape.commit
    tries: list[bool] = []

    async def only_once(changes: Any) -> Committed:
        tries.append(True)
        if len(tries) > 1:
            raise Unavailable("enough for this test")
        return await commit(type(changes)(changes.analysis, stale, changes.refused, changes.messages))

    monkeypatch.setattr(bench.tape, "commit", only_once)
    with pytest.raises(Unavailable):
        await bench.apply([payload("AAPL", 22, QUIET, 1000), b"not json"])
    assert len(tries) == 2
    assert await bench.rows("SELECT count(*) FROM bars") == [(22,)]
    assert await bench.rows("SELECT count(*) FROM dead_letters") == [(0,)]
    assert Moved.__doc__


async def test_what_a_crash_left_unsaid_is_said_by_the_sweep(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: Any) -> None:
        raise Unavailable("killed between commit and publication")

    with monkeypatch.context() as patched:
        patched.setattr(bench.outbox, "say", crash)
        with pytest.raises(Unavailable):
            await bench.apply(climax())
    await bench.apply(climax())  # delivered again: nothing changes any more, so nothing is said
    assert await bench.said("updates") == []
    assert (await verify(bench.pool)).pending == 1
    assert await bench.outbox.sweep(older_than_s=0) == 1
    assert {u["type"] for u in await bench.said("updates")} == {"vsa.detected"}
    assert await bench.outbox.sweep(older_than_s=0) == 0


async def test_marks_are_compacted_without_losing_the_earliest(bench: Bench) -> None:
    for day in (5, 3, 4):
        await bench.apply([payload("AAPL", day, QUIET, 1000), payload("MSFT", day, QUIET, 1000)])
    earliest = await bench.rows("SELECT symbol, min(first_ts) FROM dirty_symbols GROUP BY 1 ORDER BY 1")
    await bench.tape.compact_marks()
    assert await bench.rows("SELECT symbol, first_ts FROM dirty_symbols ORDER BY 1") == earliest


async def test_a_defect_is_buried_with_its_bytes(bench: Bench) -> None:
    await bench.handler.bury(Entry("bars.0", "5-0", {b"json": b"{}"}), ZeroDivisionError("a bug"))
    assert await bench.rows("SELECT fields, reasons, payload FROM dead_letters") == [
        (["defect"], ["ZeroDivisionError: a bug"], b"{}")
    ]


@pytest.mark.parametrize(
    ("damage", "table"),
    [
        ("DELETE FROM vsa_events WHERE rule_set = 'seed-1'", "vsa_events"),
        ("UPDATE vsa_events SET direction = 'bearish'", "vsa_events"),
        ("UPDATE vsa_events SET confirmed_ts = event_ts", "vsa_events"),
        ("INSERT INTO vsa_events SELECT symbol, '1d', 'seed-1', 'test', ts, ts, ts, 'bearish' FROM bars",
         "vsa_events"),
        ("UPDATE bars SET evaluable = NOT evaluable WHERE ts = (SELECT max(ts) FROM bars)", "bars"),
        ("UPDATE bars SET volume = volume + 1 WHERE ts = (SELECT min(ts) FROM bars)", "bars"),
        ("UPDATE bars SET end_ts = ts WHERE ts = (SELECT min(ts) FROM bars)", "bars"),
        ("DELETE FROM bars", "vsa_events"),
    ],
)  # fmt: skip
async def test_verify_sees_every_kind_of_damage(bench: Bench, damage: str, table: str) -> None:
    await bench.apply(climax())
    assert (await verify(bench.pool)).differences == []
    await bench.pool.execute(damage)
    differences = (await verify(bench.pool)).differences
    assert table in {d.table for d in differences}


async def test_a_very_late_bar_reads_a_window_and_not_the_history(bench: Bench) -> None:
    payloads = market(symbols=1, days=400, seed=9)
    late = payloads.pop(100)
    await bench.apply(payloads)
    bench.memory.forget(["S0"])
    ts = int(datetime.fromisoformat(orjson.loads(late)["ts"]).timestamp()) * 1_000_000
    window = (await bench.tape.windows([(("S0", "1d"), ts, ts)]))["S0", "1d"]
    assert len(window.bars) == 84
    await bench.apply([late])
    assert (await verify(bench.pool)).differences == []
