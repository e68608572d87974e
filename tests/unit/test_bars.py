"""What a bar is: its grid, its end, its hours, its validity, and its place among rivals."""

import math
import re
from collections.abc import Mapping
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollotape import calendars
from rollotape.domain import bars as domain
from rollotape.domain.bars import BAR, NUMBERS, TIMEFRAMES, Candidates, candidates
from rollotape.errors import short
from support.bars import LATER_MS, us
from support.tapes import examples

SESSIONS = calendars.sessions()
GOOD = {"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.5, "volume": 1000.0}


def sent(
    timeframe: str = "1d",
    ts: str = "2018-02-07T00:00Z",
    symbol: str = "AAPL",
    arrived_ms: int = LATER_MS,
    revision: int = 0,
    synthetic: bool = False,
    numbers: Mapping[str, float | None] | None = None,
) -> Candidates:
    values = {**GOOD, **(numbers or {})}
    columns = {name: [values[name]] for name in NUMBERS}
    return candidates(timeframe, [symbol], [us(ts) / 1e6], columns, [revision], [synthetic], [arrived_ms])


def reasons(candidate: Candidates) -> dict[str, list[str]]:
    """Reasons by field; `valid` and `faults` must say the same."""
    found: dict[str, list[str]] = {}
    for fault in domain.faults(candidate, SESSIONS):
        found.setdefault(fault.field, []).append(fault.reason)
    assert domain.valid(candidate, SESSIONS).tolist() == [not found]
    return found


# Timeframes


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, name) for name in TIMEFRAMES),
        *zip("1Min 5Min 15Min 30Min 1Hour 4Hour 1Day 1Week".split(), TIMEFRAMES, strict=True),  # noqa: SIM905
    ],
)
def test_a_timeframe_has_two_spellings(name: str, expected: str) -> None:
    assert domain.timeframe(name) == TIMEFRAMES[expected]


@pytest.mark.parametrize("name", ["1M", "1MIN", "1min", "1D", "2m", "1Month", "", " 1d", "60m", "1day"])
def test_no_other_spelling_is_guessed_at(name: str) -> None:
    """`1M` is a month elsewhere: lower-cased it would be a minute."""
    assert domain.timeframe(name) is None


def test_a_month_is_refused_with_what_is_allowed() -> None:
    assert reasons(sent("1M")) == {"timeframe": ["must be one of 1m 5m 15m 30m 1h 4h 1d 1w, got '1M'"]}


# The grid


@pytest.mark.parametrize(
    ("timeframe", "ts", "on"),
    [
        ("1m", "2018-02-07T14:31Z", True),
        ("1m", "2018-02-07T14:31:30Z", False),
        ("1m", "2018-02-07T14:31:00.000001Z", False),
        ("5m", "2018-02-07T14:35Z", True),
        ("5m", "2018-02-07T14:31Z", False),
        ("15m", "2018-02-07T14:45Z", True),
        ("15m", "2018-02-07T14:40Z", False),
        ("30m", "2018-02-07T14:45Z", True),
        ("30m", "2018-02-07T14:50Z", False),
        ("1h", "2018-02-07T14:30Z", True),
        ("1h", "2018-02-07T14:35Z", False),
        ("4h", "2018-02-07T14:15Z", True),
        ("4h", "2018-02-07T14:20Z", False),
        ("1d", "2018-02-07T00:00Z", True),
        ("1d", "2018-02-07T05:00Z", False),
        ("1d", "2018-02-10T00:00Z", True),
        ("1w", "2018-02-05T00:00Z", True),
        ("1w", "2018-02-06T00:00Z", False),
        ("1w", "2018-02-04T00:00Z", False),
        ("1w", "2018-02-05T00:15Z", False),
        ("1w", "1969-12-29T00:00Z", True),
        ("1d", "1969-12-31T00:00Z", True),
    ],
)
def test_a_bar_starts_on_the_grid_of_its_timeframe(timeframe: str, ts: str, on: bool) -> None:
    found = reasons(sent(timeframe, ts))
    assert ("ts" in found) != on
    if not on:
        assert found["ts"][0].startswith(f"must lie on the grid of {timeframe} bars, got 2018-")


# The end


@pytest.mark.parametrize(
    ("timeframe", "ts", "end"),
    [
        ("1m", "2018-02-07T14:31Z", "2018-02-07T14:32Z"),
        ("5m", "2018-02-07T14:30Z", "2018-02-07T14:35Z"),
        ("15m", "2018-02-07T14:30Z", "2018-02-07T14:45Z"),
        ("30m", "2018-02-07T14:30Z", "2018-02-07T15:00Z"),
        ("1h", "2018-02-07T20:30Z", "2018-02-07T21:30Z"),
        ("4h", "2018-02-07T18:30Z", "2018-02-07T22:30Z"),
        ("1d", "2018-02-07T00:00Z", "2018-02-07T21:00Z"),
        ("1d", "2018-07-05T00:00Z", "2018-07-05T20:00Z"),
        ("1d", "2013-11-29T00:00Z", "2013-11-29T18:00Z"),
        ("1d", "2018-07-04T00:00Z", "2018-07-05T00:00Z"),
        ("1w", "2018-02-05T00:00Z", "2018-02-10T00:00Z"),
        ("1w", "2013-11-25T00:00Z", "2013-11-30T00:00Z"),
    ],
)
def test_a_bar_is_known_at_its_end(timeframe: str, ts: str, end: str) -> None:
    bars = domain.complete(sent(timeframe, ts), SESSIONS)
    assert bars["end_ts"].tolist() == [us(end)]


@pytest.mark.parametrize(
    ("timeframe", "ts", "end"),
    [
        ("1m", "2018-02-07T14:31Z", "2018-02-07T14:32Z"),
        ("1d", "2013-11-29T00:00Z", "2013-11-29T18:00Z"),
        ("1w", "2018-02-05T00:00Z", "2018-02-10T00:00Z"),
    ],
)
def test_a_bar_may_end_five_minutes_after_it_arrived(timeframe: str, ts: str, end: str) -> None:
    earliest_ms = us(end) // 1000 - 5 * 60_000
    assert reasons(sent(timeframe, ts, arrived_ms=earliest_ms)) == {}
    [reason] = reasons(sent(timeframe, ts, arrived_ms=earliest_ms - 1))["ts"]
    assert reason.startswith("the bar must have ended by its arrival + 5 minutes, got 20")


# Hours


@pytest.mark.parametrize(
    ("timeframe", "ts", "regular"),
    [
        ("1m", "2018-02-07T14:29Z", False),
        ("1m", "2018-02-07T14:30Z", True),
        ("1m", "2018-02-07T20:59Z", True),
        ("1m", "2018-02-07T21:00Z", False),
        ("1m", "2018-02-10T15:00Z", False),
        ("1m", "2013-11-29T17:59Z", True),
        ("1m", "2013-11-29T18:00Z", False),
        ("1m", "2018-03-09T13:30Z", False),  # still winter in New York
        ("1m", "2018-03-12T13:30Z", True),
        ("1m", "2018-03-12T20:00Z", False),
        ("1m", "2018-11-02T19:59Z", True),
        ("1m", "2018-11-05T20:59Z", True),
        ("15m", "2018-02-07T14:15Z", False),
        ("30m", "2018-02-07T14:30Z", True),
        ("1h", "2018-02-07T14:30Z", True),
        ("1h", "2018-02-07T15:30Z", True),
        ("1h", "2018-02-07T20:30Z", True),
        ("1h", "2018-02-07T15:00Z", False),  # not cut from the open
        ("1h", "2018-02-07T14:00Z", False),
        ("1h", "2018-07-05T13:30Z", True),
        ("4h", "2018-02-07T14:30Z", True),
        ("4h", "2018-02-07T18:30Z", True),
        ("4h", "2018-02-07T16:30Z", False),
        ("4h", "2018-02-07T16:00Z", False),
        ("4h", "2018-07-05T17:30Z", True),
        ("4h", "2018-07-05T18:30Z", False),
        ("1d", "2018-02-10T00:00Z", True),  # a Saturday: the gap auditor's business
        ("1w", "2018-02-05T00:00Z", True),
    ],
)
def test_hours_are_regular_within_a_session_of_the_exchange(timeframe: str, ts: str, regular: bool) -> None:
    candidate = sent(timeframe, ts)
    assert reasons(candidate) == {}
    bars = domain.complete(candidate, SESSIONS)
    assert bars["regular"].tolist() == [regular]
    assert domain.analysed(bars).tolist() == [regular]


@pytest.mark.parametrize(
    ("timeframe", "ts", "session"),
    [
        ("1m", "2018-02-07T14:30Z", "2018-02-07"),
        ("1m", "2018-02-08T00:30Z", "2018-02-08"),
        ("1d", "2018-02-07T00:00Z", "2018-02-07"),
        ("1w", "2018-02-05T00:00Z", "2018-02-05"),
    ],
)
def test_a_bar_carries_the_day_it_counts_for(timeframe: str, ts: str, session: str) -> None:
    bars = domain.complete(sent(timeframe, ts), SESSIONS)
    assert np.datetime64(int(bars["session"][0]), "D") == np.datetime64(session)


# Validity


@pytest.mark.parametrize(
    ("numbers", "fields"),
    [
        pytest.param({}, set(), id="good"),
        pytest.param(dict.fromkeys(NUMBERS[:4], 5e-324), set(), id="the smallest prices"),
        pytest.param(dict.fromkeys(NUMBERS[:4], 99_999_999.99), set(), id="the greatest prices"),
        pytest.param({"volume": 0.0}, set(), id="nothing traded"),
        pytest.param({"volume": 0.001}, set(), id="fractional volume"),
        pytest.param({"volume": math.nextafter(1e15, 0)}, set(), id="the greatest volume"),
        pytest.param({"open": 101.0, "close": 99.0}, set(), id="open at high, close at low"),
        pytest.param(dict.fromkeys(NUMBERS[:4], 100.0), set(), id="one price"),
        pytest.param({"volume": 1e15}, {"volume"}, id="volume 1e15"),
        pytest.param({"volume": -0.001}, {"volume"}, id="negative volume"),
        pytest.param({"volume": math.nan}, {"volume"}, id="volume NaN"),
        pytest.param({"volume": math.inf}, {"volume"}, id="volume inf"),
        pytest.param({"volume": None}, {"volume"}, id="no volume"),
        pytest.param({"open": math.nan}, {"open"}, id="open NaN"),
        pytest.param({"open": None, "close": None}, {"open", "close"}, id="no open, no close"),
        pytest.param(dict.fromkeys(NUMBERS), set(NUMBERS), id="no numbers"),
        pytest.param(dict.fromkeys(NUMBERS[:4], 1e8), set(NUMBERS[:4]), id="prices 1e8"),
        pytest.param(dict.fromkeys(NUMBERS[:4], 0.0), set(NUMBERS[:4]), id="prices 0"),
        pytest.param({"high": math.inf}, {"high"}, id="high inf"),
        pytest.param({"low": -1.0}, {"low"}, id="negative low"),
        pytest.param({"low": 1e99, "high": 1e99}, {"high", "low"}, id="1e99"),
        pytest.param({"open": 101.01}, {"high"}, id="open above high"),
        pytest.param({"close": 101.01}, {"high"}, id="close above high"),
        pytest.param({"open": 98.99}, {"low"}, id="open below low"),
        pytest.param({"close": 98.99}, {"low"}, id="close below low"),
        pytest.param({"high": 98.0}, {"high"}, id="high below low"),
        pytest.param({"open": 98.0, "close": 102.0}, {"high", "low"}, id="both ends"),
    ],
)
def test_every_number_that_breaks_a_rule_is_named(numbers: dict[str, float | None], fields: set[str]) -> None:
    assert set(reasons(sent(numbers=numbers))) == fields


def test_every_reason_that_applies_is_given() -> None:
    numbers = {"open": -1.0, "high": 98.0, "volume": -2.0}
    candidate = sent("1d", "2018-02-07T05:00Z", "é", arrived_ms=0, numbers=numbers)
    assert reasons(candidate) == {
        "symbol": ["must be 1 to 20 characters A-Z 0-9 . - ^ /, got 'é'"],
        "ts": [
            "must lie on the grid of 1d bars, got 2018-02-07T05:00:00.000000Z",
            "the bar must have ended by its arrival + 5 minutes, got 2018-02-07T05:00:00.000000Z",
        ],
        "open": ["must be a finite number above 0 and below 1e+08, got -1.0"],
        "volume": ["must be a finite number from 0 to below 1e+15, got -2.0"],
        "high": ["must not be below low, got 98.0", "must not be below open or close, got 98.0"],
        "low": ["must not be above open or close, got 99.0"],
    }


@pytest.mark.parametrize("symbol", ["A", "BRK.B", "BF-B", "^VIX", "ES/H8", "0", "A" * 20, "."])
def test_a_symbol_of_the_allowed_characters_is_taken(symbol: str) -> None:
    assert reasons(sent(symbol=symbol)) == {}


@pytest.mark.parametrize(
    "symbol", ["", "A" * 21, "aapl", "A B", "A\n", "Ａ", "A\x00", "A_B", "É", "A" * 5_000]
)
def test_any_other_symbol_is_refused_in_few_words(symbol: str) -> None:
    [reason] = reasons(sent(symbol=symbol))["symbol"]
    assert len(reason) < 150
    assert reason.isprintable()


def test_a_bad_bar_says_nothing_about_its_neighbours() -> None:
    columns = {name: [GOOD[name]] * 4 for name in NUMBERS}
    columns["open"] = [100.0, math.nan, 100.0, 300.0]
    times = [us("2018-02-07T00:00Z") / 1e6] * 4
    many = candidates("1d", ["A", "B", "c", "D"], times, columns, [0] * 4, [False] * 4, [LATER_MS] * 4)
    good = domain.valid(many, SESSIONS)
    assert good.tolist() == [True, False, False, False]
    assert many.only(good).symbols == ["A"]
    assert [bool(domain.faults(many.row(i), SESSIONS)) for i in range(4)] == [False, True, True, True]


def test_no_bars_are_all_valid() -> None:
    none = candidates("1d", [], [], {name: [] for name in NUMBERS}, [], [], [])
    assert domain.valid(none, SESSIONS).tolist() == []
    assert len(domain.complete(none, SESSIONS)) == 0
    assert len(domain.concatenate([])) == 0


# Which of two bars wins


def test_the_hash_is_the_one_of_the_specification() -> None:
    assert domain.content_hash(100.0, 100.5, 99.51, 99.9, 1501.0, False) == -5565337681063552771
    numbers = dict(zip(NUMBERS, (100.0, 100.5, 99.51, 99.9, 1501.0), strict=True))
    bars = domain.complete(sent(numbers=numbers), SESSIONS)
    assert bars["hash"].tolist() == [-5565337681063552771]


def test_whatever_a_bar_says_is_in_its_hash() -> None:
    said = [sent(), sent(synthetic=True), *(sent(numbers={name: 100.25}) for name in NUMBERS)]
    assert len({domain.complete(c, SESSIONS)["hash"][0].item() for c in said}) == 7


def test_neither_revision_nor_arrival_nor_time_is_in_the_hash() -> None:
    hashes = {
        domain.complete(c, SESSIONS)["hash"][0].item()
        for c in (sent(), sent(revision=7), sent(arrived_ms=LATER_MS + 1), sent(ts="2018-02-08T00:00Z"))
    }
    assert len(hashes) == 1


RIVALS = [
    (2, True, -5),
    (2, True, 5),
    (1, False, -(2**63)),
    (1, False, 2**63 - 1),
    (1, True, 2**63 - 1),
    (0, False, 0),
]
"""(revision, synthetic, hash), in no order."""


def test_precedence_is_a_total_order_of_revision_then_real_then_hash() -> None:
    expected = sorted(RIVALS, key=lambda r: (r[0], not r[1], r[2]))
    for order in list(permutations(RIVALS))[::37]:
        bars = np.zeros(len(order), BAR)
        bars["revision"], bars["synthetic"], bars["hash"] = zip(*order, strict=True)
        ranked = bars[np.lexsort(domain.precedence(bars))]
        found = zip(ranked["revision"], ranked["synthetic"], ranked["hash"], strict=True)
        assert [(int(r), bool(s), int(h)) for r, s, h in found] == expected


@examples(100)
@given(st.floats(0, 1e15, exclude_max=True), st.floats(5e-324, 1e8, exclude_max=True))
def test_every_number_within_the_bounds_is_valid(volume: float, price: float) -> None:
    assert reasons(sent(numbers={**dict.fromkeys(NUMBERS[:4], price), "volume": volume})) == {}


@pytest.mark.parametrize("value", [1, "x" * 100, b"\x00", None, ["a"] * 1000, "\n"])
def test_a_value_in_a_reason_is_cut_and_printable(value: object) -> None:
    text = short(value)
    assert len(text) <= 85
    assert text.isprintable()
    assert re.match(r".+", text)


NUMBER = st.floats(0, 1e15, exclude_max=True, allow_subnormal=False)
SAID = st.tuples(NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, st.booleans())


@examples(200)
@given(st.lists(SAID, min_size=1))
def test_hashes_of_many_bars_are_those_of_each(said: list[tuple[float, ...]]) -> None:
    """Together they are spelled by another library than alone: every spelling must be the same."""
    bars = np.zeros(len(said), BAR)
    for i, values in enumerate(said):
        for name, value in zip((*NUMBERS, "synthetic"), values, strict=True):
            bars[name][i] = value
    expected = [domain.content_hash(o, h, low, c, v, bool(synthetic)) for o, h, low, c, v, synthetic in said]
    assert domain.complete(Candidates("1d", ["A"] * len(said), bars), SESSIONS)["hash"].tolist() == expected
