"""The example of a producer of patterns: its events are valid, make sense against the bars, and repeat."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollotape import calendars, patterns
from rollotape.producers.companies import STOCKS
from rollotape.producers.finder import Finder
from rollotape.producers.frames import Bars
from rollotape.producers.simulator import Market
from rollotape.streams.partitions import partition_of

FIRST = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=365)
NOW = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)

Numbers = tuple[float, float, float, float, float]
FLAT: Numbers = (100, 101, 99, 100, 1_000)


class Tape:
    """Quarter hours of one symbol, shown one after the other."""

    def __init__(self) -> None:
        self._finder = Finder(calendars.sessions(), partitions=16, symbols=["ALDR"])
        self._next = FIRST

    def show(self, *bars: Numbers, symbol: str = "ALDR", timeframe: str = "15m") -> list[dict[str, Any]]:
        said = []
        for o, h, low, c, v in bars:
            ts = [f"{self._next:%Y-%m-%dT%H:%M:%SZ}"]
            said += self._finder.look(Bars(timeframe, [symbol], ts, [o], [h], [low], [c], [v], [0]), LONG_AGO)
            self._next += timedelta(minutes=15)
        assert all(stream == f"patterns.{partition_of(symbol, 16)}" for stream, _ in said)
        return [json.loads(payload) for _, payload in said]


@pytest.fixture
def tape() -> Tape:
    found = Tape()
    assert found.show(*[FLAT] * 51) == []
    return found


BREAKOUT: Numbers = (100, 103, 100, 102.5, 2_000)


def test_a_close_above_the_range_on_volume_is_a_breakout(tape: Tape) -> None:
    [event] = tape.show(BREAKOUT)
    assert (event["event"], event["pattern_type"], event["side"]) == ("detected", "BREAKOUT", "accumulation")
    assert (event["entry"], event["stop"], event["target_1"]) == (102.5, 99.0, 104.5)
    assert (event["target_2"], event["vol_ratio"], event["change_pct"]) == (113.0, 2.0, 2.5)
    assert event["planned_r"] == round(2 / 3.5, 4)
    assert event["detected_at"] == (FIRST + timedelta(minutes=15 * 52)).isoformat()
    assert event["test_confirmed"] is False


def test_a_close_below_it_is_a_breakdown_and_mirrors_every_price(tape: Tape) -> None:
    [event] = tape.show((100, 100, 97, 97.5, 2_000))
    assert (event["pattern_type"], event["side"]) == ("BREAKDOWN", "distribution")
    assert (event["entry"], event["stop"], event["target_1"]) == (97.5, 101.0, 95.5)
    assert event["confidence"] == tape_confidence()


def tape_confidence() -> float:
    other = Tape()
    other.show(*[FLAT] * 51)
    return float(other.show(BREAKOUT)[0]["confidence"])


@pytest.mark.parametrize("bar", [(100, 103, 100, 102.5, 1_400), (100, 103, 100, 101, 2_000)])
def test_without_volume_or_at_the_level_itself_it_is_none(tape: Tape, bar: Numbers) -> None:
    assert tape.show(bar) == []


def test_later_bars_update_it_and_coming_back_confirms_it(tape: Tape) -> None:
    tape.show(BREAKOUT)
    [up] = tape.show((102.5, 104, 102, 103.5, 900))
    [back] = tape.show((103.5, 103.5, 100.5, 101.5, 700))
    assert [(e["event"], e["revision"], e["price"]) for e in (up, back)] == [
        ("updated", 1, 103.5), ("updated", 2, 101.5)
    ]  # fmt: skip
    assert (up["test_confirmed"], back["test_confirmed"]) == (False, True)
    assert up["confidence"] > back["confidence"]
    assert up["entry"] == back["entry"] == 102.5


@pytest.mark.parametrize(
    "bar", [(102, 104.5, 102, 104, 900), (102, 102, 99, 99.5, 900)], ids=["target", "stop"]
)
def test_touching_the_target_or_the_stop_ends_it(tape: Tape, bar: Numbers) -> None:
    tape.show(BREAKOUT)
    assert tape.show(bar)[0]["event"] == "expired"
    assert not [e for e in tape.show(FLAT) if e["pattern_type"] == "BREAKOUT"]


def test_twenty_bars_end_it(tape: Tape) -> None:
    tape.show(BREAKOUT)
    said = tape.show(*[(102, 102.5, 101.8, 102.2, 500)] * 30)
    assert [e["event"] for e in said if e["pattern_type"] == "BREAKOUT"] == ["updated"] * 19 + ["expired"]


def test_other_symbols_and_timeframes_are_passed_by(tape: Tape) -> None:
    assert tape.show(*[FLAT] * 51, BREAKOUT, symbol="SPY") == []
    assert tape.show(*[FLAT] * 51, BREAKOUT, timeframe="1m") == []


def events() -> Iterator[bytes]:
    calendar = calendars.sessions()
    market = Market(calendar)
    finder = Finder(calendar, partitions=16, symbols=[s.symbol for s in STOCKS])
    closed = market.closed_before(NOW)
    for _, payload in finder.look(market.days(closed - 756, closed), NOW - Finder.LIFETIME):
        yield payload


def test_every_event_about_a_simulated_market_is_valid_and_repeats() -> None:
    said = list(events())
    facts = [patterns.read(payload, int(NOW.timestamp() * 1_000)) for payload in said]
    told = [json.loads(payload) for payload in said]

    assert said == list(events())
    assert {e["event"] for e in told} == {"detected", "updated", "expired"}
    assert {e["pattern_type"] for e in told} == {"BREAKOUT", "BREAKDOWN", "PULLBACK", "RALLY"}
    assert len({(fact.id, fact.rank) for fact in facts}) == len(facts), "no revision is told twice"
    assert {e["detected_at"][11:19] for e in told} == {"21:00:00"}, "a day is known when its session closes"
    for event in told:
        up = event["side"] == "accumulation"
        below, above = (event["stop"], event["target_1"]) if up else (event["target_1"], event["stop"])
        assert (below or 0) < event["entry"] < above
        assert 0 <= event["confidence"] <= 1
