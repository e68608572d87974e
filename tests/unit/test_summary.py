"""The summary of active patterns equals a count by hand; what took how long is told without flattering."""

import asyncio
import math
import random
from collections import Counter

import pytest
from pydantic import TypeAdapter, ValidationError

from api_gateway.kept import Kept
from api_gateway.routes.summary import Window, length
from api_gateway.timings import MOST_ROUTES, SLOT_S, WINDOW_S, Name, Timings
from rollotape.domain.scan import Row, Table
from rollotape.domain.summary import GROUPS, HIGH_CONFIDENCE, summarise

NOW = 1_000_000


def _rows(count: int, seed: int) -> list[Row]:
    rng = random.Random(seed)
    return [
        Row(
            id=f"{n:036}",
            symbol=rng.choice("ABCDEFG"),
            pattern_type=rng.choice(("SPRING", "SOS", "LPS", "UTAD")),
            timeframe=rng.choice(("1d", "1h")),
            side=rng.choice(("accumulation", "distribution", None)),
            phase=rng.choice(("C", "D", None)),
            sector=rng.choice(("Energy", "Financials", None)),
            confidence=rng.choice((0.1, 0.79999, 0.8, 0.9)),
            rs_ratio=None,
            rs_excess=None,
            vol_ratio=None,
            rsi=None,
            test_confirmed=None,
            detected_at=rng.choice((NOW - 10, NOW - 5, NOW, NOW + 1)),
            expires_at=rng.choice((NOW - 1, NOW, NOW + 1, NOW + 9)),
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 7, 500])
def test_a_summary_counts_what_is_active_and_nothing_else(count: int) -> None:
    rows = _rows(count, seed=count)
    alive = [row for row in rows if row.expires_at > NOW]

    found = summarise(Table.of(rows, [b"{}"] * count), now_us=NOW, since_us=NOW - 10, most=3)

    assert found.total == len(alive)
    for group in GROUPS:
        assert found.by[group] == Counter(getattr(row, group) for row in alive), group
        assert sum(found.by[group].values()) == found.total
    assert found.high_confidence == len([row for row in alive if row.confidence >= HIGH_CONFIDENCE])
    assert found.new == len([row for row in alive if NOW - 10 < row.detected_at <= NOW])
    assert found.symbols == len({row.symbol for row in alive})
    by_symbol = Counter(row.symbol for row in alive)
    assert found.top_symbols == sorted(by_symbol.items(), key=lambda one: (-one[1], one[0]))[:3]


def test_a_summary_lists_most_first_and_the_unknown_last() -> None:
    rows = [row._replace(expires_at=NOW + 1) for row in _rows(500, seed=1)]
    found = summarise(Table.of(rows, [b"{}"] * 500), now_us=NOW, since_us=0, most=99)
    for group in GROUPS:
        named = [(-count, name) for name, count in found.by[group].items() if name is not None]
        assert named == sorted(named)
        assert None not in list(found.by[group])[:-1]
    assert found.top_types == list(found.by["pattern_type"].items())


@pytest.mark.parametrize("text", ["1m", "90m", "24h", "7d", "3650d", "87600h"])
def test_windows_are_minutes_hours_or_days(text: str) -> None:
    assert TypeAdapter(Window).validate_python(text) == text
    assert length(text).total_seconds() > 0


@pytest.mark.parametrize("text", ["", "0h", "-1d", "1", "1w", "1.5h", "3651d", "9999999d", " 1d", "1D", "١d"])
def test_other_windows_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="minutes, hours or days"):
        TypeAdapter(Window).validate_python(text)


# ---- durations of the last minutes


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("seed", range(5))
def test_a_percentile_is_what_it_says_or_a_little_more_and_never_less(seed: int) -> None:
    rng = random.Random(seed)
    took = [10 ** rng.uniform(-5, 1) for _ in range(rng.randint(1, 3_000))]
    timings = Timings(Clock())
    for seconds in took:
        timings.note(Name("/x"), seconds, failed=False)

    [found] = timings.window()[1].values()

    assert found.count == len(took)
    assert found.mean_ms == pytest.approx(math.fsum(took) / len(took) * 1e3)
    for share in (0.5, 0.95, 0.99, 1.0):
        true = sorted(took)[math.ceil(share * len(took)) - 1] * 1e3
        said = found.percentile_ms(share)
        assert said is not None
        assert true <= said * (1 + 1e-9), share
        assert said <= true * 1.045, share


def test_without_requests_nothing_is_known() -> None:
    assert Timings(Clock()).window()[1] == {}


def test_the_window_forgets_what_is_older_and_says_how_far_it_goes_back() -> None:
    clock = Clock()
    timings = Timings(clock)
    timings.note(Name("/x"), 1.0, failed=True)
    clock.now += WINDOW_S - SLOT_S
    timings.note(Name("/x"), 2.0, failed=False)
    seconds, found = timings.window()
    assert (seconds, found[Name("/x")].count, found[Name("/x")].failed) == (WINDOW_S - SLOT_S, 2, 1)

    clock.now += 2 * SLOT_S
    seconds, found = timings.window()
    assert WINDOW_S <= seconds < WINDOW_S + SLOT_S
    assert (found[Name("/x")].count, found[Name("/x")].mean_ms) == (1, 2_000.0)

    clock.now += 10 * WINDOW_S
    assert timings.window()[1] == {}


def test_memory_of_durations_has_a_bound() -> None:
    clock = Clock()
    timings = Timings(clock)
    for n in range(MOST_ROUTES + 10):
        timings.note(Name(f"/{n}"), 0.1, failed=False)
    assert len(timings.window()[1]) == MOST_ROUTES
    for _ in range(100):
        clock.now += SLOT_S
        timings.note(Name("/x"), 0.1, failed=False)
    assert len(timings._slots) <= WINDOW_S // SLOT_S + 1


# ---- what is looked for once


async def test_many_who_ask_at_once_cost_one_look() -> None:
    clock, looks = Clock(), 0
    go = asyncio.Event()

    async def look() -> int:
        nonlocal looks
        looks += 1
        await go.wait()
        return looks

    kept = Kept(look, 2.0, clock=clock)
    asking = [asyncio.create_task(kept.get()) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()
    go.set()
    answers = await asyncio.gather(*asking[1:])
    assert {answer.value for answer in answers} == {1}

    clock.now += 1.9
    same = await kept.get()
    assert same.value == 1
    assert same.age_s == pytest.approx(1.9)
    clock.now += 0.1
    assert (await kept.get()).value == 2
    await kept.close()
