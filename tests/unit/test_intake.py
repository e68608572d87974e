"""From bytes to bars: poison is refused with its reasons and its bytes, and never costs its neighbours."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollotape import calendars
from rollotape.domain.bars import NUMBERS
from rollotape.errors import Fault
from rollotape.events import MAX_FRAME_BARS, MAX_PAYLOAD_BYTES
from rollotape.intake import Intake, Message, Refusal, read, refusals
from support.bars import LATER_MS, us
from support.tapes import examples

TS = "2018-02-07T00:00:00Z"
BAR: dict[str, Any] = {
    "version": 1, "symbol": "AAPL", "timeframe": "1d", "ts": TS,
    "open": 100.0, "high": 101.0, "low": 99.0, "close": 100.5, "volume": 1000,
}  # fmt: skip
COLUMNS = ("symbol", "ts", *NUMBERS)


def text(payload: Any) -> bytes:
    """JSON as others may write it: NaN, and integers of any size."""
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()


def without(*names: str) -> dict[str, Any]:
    return {k: v for k, v in BAR.items() if k not in names}


def frame(count: int = 3, /, **columns: Any) -> dict[str, Any]:
    """A frame of `count` good bars of symbols S0, S1, ..., with some columns replaced."""
    rows = {name: [BAR[name]] * count for name in COLUMNS} | {"symbol": [f"S{i}" for i in range(count)]}
    return {"version": 1, "timeframe": "1d", "frame": rows | columns}


def taken(*payloads: Any, arrived_ms: int = LATER_MS) -> Intake:
    messages = [Message(None if p is None else text(p), arrived_ms) for p in payloads]
    return read(messages, calendars.sessions)


def symbols(intake: Intake) -> list[str]:
    return [intake.keys[i][0] for i in intake.key.tolist()]


def fields(refusal: Refusal) -> set[str]:
    return {fault.field for fault in refusal.faults}


# The twenty poisons

POISON: dict[str, tuple[Any, list[Fault]]] = {
    "not JSON": (b"symbol=AAPL", [Fault("json", "not JSON: expected value at line 1 column 1")]),
    "truncated": (
        text(BAR)[:40],
        [Fault("json", "not JSON: EOF while parsing a string at line 1 column 40")],
    ),
    "null": (b"null", [Fault("json", "must be one object, got null")]),
    "a list": ([BAR], [Fault("json", "must be one object, got a list")]),
    "invalid UTF-8": (
        text(BAR).replace(b"AAPL", b"A\xff"),
        [Fault("json", "not JSON: invalid unicode code point at line 1 column 28")],
    ),
    "NUL": (
        BAR | {"symbol": "A\x00"},
        [Fault("symbol", "must be 1 to 20 characters A-Z 0-9 . - ^ /, got 'A\\x00'")],
    ),
    "NaN": (BAR | {"volume": float("nan")}, [Fault("volume", "is missing or not a number")]),
    "1e99": (
        BAR | {"high": 1e99},
        [Fault("high", "must be a finite number above 0 and below 1e+08, got 1e+99")],
    ),
    "a huge integer": (
        BAR | {"volume": 10**400},
        [Fault("volume", "must be a finite number from 0 to below 1e+15, got inf")],
    ),
    "deep nesting": (
        b"[" * 5_000,
        [Fault("json", "not JSON: recursion limit exceeded at line 1 column 202")],
    ),
    "a missing field": (without("close"), [Fault("close", "is missing")]),
    "a wrong type": (BAR | {"open": "100"}, [Fault("open", "must be a number, got '100'")]),
    "an unknown version": (BAR | {"version": 2}, [Fault("version", "must be 1, got 2")]),
    "a negative price": (
        BAR | {"low": -99.0},
        [Fault("low", "must be a finite number above 0 and below 1e+08, got -99.0")],
    ),
    "high below low": (
        BAR | {"high": 98.0},
        [
            Fault("high", "must not be below low, got 98.0"),
            Fault("high", "must not be below open or close, got 98.0"),
        ],
    ),
    "the far future": (
        BAR | {"ts": "2999-01-01T00:00:00Z"},
        [Fault("ts", "the bar must have ended by its arrival + 5 minutes, got 2999-01-01T00:00:00.000000Z")],
    ),
    "a time off the grid": (
        BAR | {"ts": "2018-02-07T05:00:00Z"},
        [Fault("ts", "must lie on the grid of 1d bars, got 2018-02-07T05:00:00.000000Z")],
    ),
    "a symbol of 5 kB": (
        BAR | {"symbol": "A" * 5_000},
        [
            Fault(
                "symbol",
                f"must be 1 to 20 characters A-Z 0-9 . - ^ /, got '{'A' * 56}... (5002 characters)",
            )
        ],
    ),
    "a payload of 1 MB": (
        text(BAR)[:-1] + b" " * 1_000_000 + b"}",
        [Fault("json", f"{len(text(BAR)) + 1_000_000} bytes, at most {MAX_PAYLOAD_BYTES}")],
    ),
    "an entry without the field": (None, [Fault("json", "the entry has no field named json")]),
}


def test_there_are_twenty_poisons() -> None:
    assert len(POISON) == 20


def test_a_date_of_another_shape_is_refused_in_our_words() -> None:
    said = "must be an RFC 3339 time such as 2018-02-07T00:00:00Z, got '31/12/2022'"
    payload = text(BAR | {"ts": "31/12/2022"})
    assert refusals(payload, LATER_MS, calendars.sessions) == [Fault("ts", said)]


@pytest.mark.parametrize("name", POISON)
def test_poison_is_refused_with_its_reason_and_its_bytes(name: str) -> None:
    payload, expected = POISON[name]
    intake = taken(payload)
    assert intake.refused == [Refusal(0, 0, expected, b"" if payload is None else text(payload))]
    assert len(intake.rows) == 0
    assert intake.keys == []


@pytest.mark.parametrize("name", POISON)
def test_neighbours_of_poison_are_taken(name: str) -> None:
    payload, _ = POISON[name]
    intake = taken(BAR, payload, frame(), payload, BAR | {"symbol": "MSFT"})
    assert [r.entry for r in intake.refused] == [1, 3]
    assert sorted(symbols(intake)) == ["AAPL", "MSFT", "S0", "S1", "S2"]


def test_all_poisons_at_once_are_one_refusal_each() -> None:
    payloads = [payload for payload, _ in POISON.values()]
    intake = taken(*payloads)
    assert sorted(r.entry for r in intake.refused) == list(range(20))
    assert {r.entry: r.faults for r in intake.refused} == dict(enumerate(f for _, f in POISON.values()))


# Every field and reason


def test_every_field_that_is_wrong_is_named_at_once() -> None:
    payload = BAR | {
        "version": 3, "symbol": "é", "timeframe": "1M", "open": "x", "high": -1, "volume": None, "extra": 1,
    }  # fmt: skip
    [refusal] = taken(payload).refused
    assert fields(refusal) >= {"version", "symbol", "timeframe", "open", "high", "volume", "extra"}


def test_a_time_is_judged_though_another_field_is_no_number() -> None:
    [refusal] = taken(BAR | {"ts": "2018-02-07T05:00:00Z", "open": "x"}).refused
    assert fields(refusal) == {"open", "ts"}


def test_a_missing_number_is_one_reason_and_not_three() -> None:
    [refusal] = taken(without("high")).refused
    assert refusal.faults == [Fault("high", "is missing")]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"revision": -1}, "revision"),
        ({"revision": 1.5}, "revision"),
        ({"revision": 2**63}, "revision"),
        ({"revision": True}, "revision"),
        ({"revision": None}, "revision"),
        ({"synthetic": 1}, "synthetic"),
        ({"synthetic": "true"}, "synthetic"),
        ({"final": 0}, "final"),
        ({"ts": "2018-02-07"}, "ts"),
        ({"ts": "2018-02-07T00:00:00"}, "ts"),
        ({"ts": 1_517_961_600}, "ts"),
        ({"ts": None}, "ts"),
        ({"ts": "2018-02-30T00:00:00Z"}, "ts"),
        ({"symbol": 5}, "symbol"),
        ({"symbol": ""}, "symbol"),
        ({"symbol": "aapl"}, "symbol"),
        ({"timeframe": "1M"}, "timeframe"),
        ({"timeframe": "1Day"}, "timeframe"),
        ({"timeframe": ["1d"]}, "timeframe"),
        ({"timeframe": "\x00"}, "timeframe"),
        ({"open": True}, "open"),
        ({"open": [100.0]}, "open"),
        ({"open": {"a": 1}}, "open"),
        ({"version": "1"}, "version"),
        ({"vwap": 100.1}, "vwap"),
        ({"a\x00b": 1}, "'a\\x00b'"),
        ({"\n" * 5_000: 1}, repr("\n" * 60)),
    ],
)
def test_a_field_that_breaks_the_contract_is_named(change: dict[str, Any], field: str) -> None:
    [refusal] = taken(BAR | change).refused
    assert fields(refusal) == {field}
    assert all(len(f.reason) < 250 and f.reason.isprintable() for f in refusal.faults)


@pytest.mark.parametrize(
    "change",
    [
        {"revision": 2**63 - 1},
        {"volume": 0},
        {"volume": 0.5},
        {"ts": "2018-02-07T00:00:00+00:00"},
        {"ts": "2018-02-06T19:00:00-05:00"},
        {"synthetic": True},
        {"final": True},
    ],
)
def test_what_the_contract_allows_is_taken(change: dict[str, Any]) -> None:
    intake = taken(BAR | change)
    assert intake.refused == []
    assert intake.rows["ts"].tolist() == [us(TS)]


def test_defaults_may_be_left_out() -> None:
    intake = taken(without("version"))
    assert intake.refused == []
    assert (intake.rows["revision"].tolist(), intake.rows["synthetic"].tolist()) == ([0], [False])


def test_a_bar_that_was_taken_is_complete() -> None:
    said = BAR | {"open": 100.0, "high": 100.5, "low": 99.51, "close": 99.9, "volume": 1501, "revision": 3}
    [row] = taken(said).rows
    assert row["hash"] == -5565337681063552771
    assert row["end_ts"] == us("2018-02-07T21:00Z")
    assert row["arrived"] == LATER_MS * 1_000
    assert row["revision"] == 3
    assert row["regular"]


def test_a_running_bar_is_counted_and_not_stored() -> None:
    intake = taken(BAR | {"final": False}, BAR)
    assert (intake.running, len(intake.rows), intake.refused) == (1, 1, [])


def test_arrival_decides_whether_a_bar_can_have_ended() -> None:
    """The close is at 21:00 UTC, and five minutes are forgiven."""
    earliest_ms = us("2018-02-07T20:55Z") // 1_000
    assert taken(BAR, arrived_ms=earliest_ms).refused == []
    [refusal] = taken(BAR, arrived_ms=earliest_ms - 1).refused
    assert fields(refusal) == {"ts"}
    messages = [Message(text(BAR), earliest_ms - 1), Message(text(BAR), earliest_ms)]
    assert [r.entry for r in read(messages, calendars.sessions).refused] == [0]


def test_a_payload_of_the_greatest_size_is_read() -> None:
    padding = MAX_PAYLOAD_BYTES - len(text(BAR))
    assert taken(text(BAR) + b" " * padding).refused == []
    [refusal] = taken(text(BAR) + b" " * (padding + 1)).refused
    assert refusal.faults == [Fault("json", f"{MAX_PAYLOAD_BYTES + 1} bytes, at most {MAX_PAYLOAD_BYTES}")]


def test_bars_of_several_timeframes_belong_to_their_keys() -> None:
    hour = BAR | {"timeframe": "1h", "ts": "2018-02-07T14:30:00Z", "volume": 7}
    intake = taken(BAR, hour, BAR | {"symbol": "MSFT"}, BAR | {"revision": 1})
    found = [(*intake.keys[i], v) for i, v in zip(intake.key.tolist(), intake.rows["volume"], strict=True)]
    assert sorted(found) == [
        ("AAPL", "1d", 1000),
        ("AAPL", "1d", 1000),
        ("AAPL", "1h", 7),
        ("MSFT", "1d", 1000),
    ]
    assert len(set(intake.keys)) == len(intake.keys) == 3


def test_no_messages_are_no_bars() -> None:
    intake = taken()
    assert (intake.keys, intake.refused, intake.running, len(intake.rows)) == ([], [], 0, 0)


def test_the_reasons_of_one_bar_can_be_asked_for() -> None:
    """As the gateway does before it sends."""
    assert refusals(text(BAR), LATER_MS, calendars.sessions) == []
    assert refusals(b"null", LATER_MS, calendars.sessions) == POISON["null"][1]


# Frames


def test_a_frame_says_what_its_bars_say_alone() -> None:
    many = frame(symbol=["A", "B", "A"], revision=[0, 1, 2], synthetic=[False, True, False])
    alone = [
        BAR | {"symbol": s, "revision": r, "synthetic": y}
        for s, r, y in (("A", 0, False), ("B", 1, True), ("A", 2, False))
    ]
    together, apart = taken(many), taken(*alone)
    assert together.keys == apart.keys
    assert (together.key == apart.key).all()
    assert (together.rows == apart.rows).all()


BAD_ROWS: dict[str, dict[str, Any]] = {
    "a number that breaks a rule": {"volume": [1000, -1.0, 1000]},
    "no number": {"open": [100.0, None, 100.0]},
    "NaN": {"open": [100.0, float("nan"), 100.0]},
    "text for a number": {"open": [100.0, "x", 100.0]},
    "an object for a number": {"open": [100.0, {"a": [1]}, 100.0]},
    "a huge number": {"volume": [1000, 10**30, 1000]},
    "a number beyond floats": {"volume": [1000, 10**400, 1000]},
    "a symbol that is none": {"symbol": ["S0", "s1", "S2"]},
    "a number for a symbol": {"symbol": ["S0", 1, "S2"]},
    "no time": {"ts": [TS, None, TS]},
    "a time off the grid": {"ts": [TS, "2018-02-07T05:00:00Z", TS]},
    "a time without a zone": {"ts": [TS, "2018-02-07T00:00:00", TS]},
    "a time in the future": {"ts": [TS, "2999-01-01T00:00:00Z", TS]},
    "a time after the last year": {"ts": [TS, "9999-12-31T23:59:59-23:59", TS]},
    "a time before the first year": {"ts": [TS, "0001-01-01T00:00:00+23:59", TS]},
    "a negative revision": {"revision": [0, -1, 0]},
    "a huge revision": {"revision": [0, 10**30, 0]},
    "a number for synthetic": {"synthetic": [False, 1, False]},
    "text for a number, and no revisions": {"open": [100.0, "x", 100.0], "revision": None},
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_never_costs_its_neighbours(name: str) -> None:
    [field] = list(BAD_ROWS[name])[:1]
    intake = taken(frame(**BAD_ROWS[name]))
    assert symbols(intake) == ["S0", "S2"]
    [refusal] = intake.refused
    assert (refusal.entry, refusal.row) == (0, 2)
    assert fields(refusal) == {field}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_the_bytes_of_a_refused_row_would_bring_it_again(name: str) -> None:
    """As one bar: it is refused again, for the same fields, until somebody mends it."""
    [refusal] = taken(frame(**BAD_ROWS[name])).refused
    [again] = taken(refusal.payload).refused
    assert (again.entry, again.row) == (0, 0)
    assert fields(again) == fields(refusal)


def test_every_row_may_be_bad_in_its_own_way() -> None:
    bad = frame(4, symbol=["S0", "", "S2", "S3"], volume=[-1.0, 1000, "x", 1000])
    intake = taken(bad)
    assert {r.row: fields(r) for r in intake.refused} == {1: {"volume"}, 2: {"symbol"}, 3: {"volume"}}
    assert symbols(intake) == ["S3"]


def test_a_refused_row_keeps_what_it_said() -> None:
    [refusal] = taken(frame(open=[100.0, 500.0, 100.0], revision=[0, 4, 0])).refused
    said = orjson.loads(refusal.payload)
    assert said["symbol"] == "S1"
    assert said["open"] == 500.0
    assert said["revision"] == 4
    assert us(said["ts"]) == us(TS)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        pytest.param(frame(ts=[TS]), "frame.ts", id="columns of different lengths"),
        pytest.param(frame(revision=[0]), "frame.revision", id="revisions for some"),
        pytest.param(frame(0), "frame", id="no rows"),
        pytest.param(frame(MAX_FRAME_BARS + 1), "frame", id="too many rows"),
        pytest.param(frame(open=None), "frame.open", id="no column"),
        pytest.param(frame(open=100.0), "frame.open", id="a number for a column"),
        pytest.param(frame(vwap=[1, 2, 3]), "frame.vwap", id="an unknown column"),
        pytest.param(frame() | {"version": 2}, "version", id="an unknown version"),
        pytest.param(frame() | {"timeframe": ["1d"]}, "timeframe", id="a list for a timeframe"),
        pytest.param(frame() | {"frame": []}, "frame", id="a list for a frame"),
        pytest.param(frame() | {"symbol": "A"}, "symbol", id="a field of a bar beside the frame"),
        pytest.param(frame() | {"final": False}, "final", id="frames are never running"),
    ],
)
def test_a_frame_without_rows_to_judge_is_refused_whole(payload: dict[str, Any], field: str) -> None:
    intake = taken(payload, BAR)
    [refusal] = intake.refused
    assert (refusal.entry, refusal.row, refusal.payload) == (0, 0, text(payload))
    assert fields(refusal) == {field}
    assert symbols(intake) == ["AAPL"]


def test_a_frame_of_the_greatest_length_is_taken() -> None:
    assert len(taken(frame(MAX_FRAME_BARS)).rows) == MAX_FRAME_BARS


def test_every_row_of_a_frame_of_an_unknown_timeframe_is_refused() -> None:
    intake = taken(frame() | {"timeframe": "1M"})
    assert [(r.row, fields(r)) for r in intake.refused] == [(n, {"timeframe"}) for n in (1, 2, 3)]


# Nothing that anybody sends may raise: a batch that raises blocks its partition until it is buried whole.


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"volume": 10**30, "symbol": 5}, id="a huge integer and a number for a symbol"),
        pytest.param({"volume": 10**30, "revision": "x"}, id="a huge integer and text for a revision"),
        pytest.param({"volume": 10**400, "open": "x"}, id="an integer beyond floats and text"),
        pytest.param({"revision": 10**30}, id="a huge revision"),
        pytest.param({"symbol": 10**30}, id="a huge integer for a symbol"),
        pytest.param({"ts": 10**30}, id="a huge integer for a time"),
        pytest.param({"ts": "2018-02-07T00:00:00z", "open": "x"}, id="a small z and text for a number"),
        pytest.param({"ts": "1517961600", "open": "x"}, id="seconds as text and text for a number"),
        pytest.param({"ts": "2018-02-06T19:00:00−05:00", "open": "x"}, id="a typographer's minus"),
        pytest.param({"ts": "9999-12-31T23:59:59-23:59"}, id="after the last year"),
        pytest.param({"ts": "0001-01-01T00:00:00+23:59", "open": "x"}, id="before the first year"),
    ],
)
def test_wrong_in_two_ways_at_once_is_refused_like_any_other(change: dict[str, Any]) -> None:
    intake = taken(BAR | change, BAR)
    [refusal] = intake.refused
    assert refusal.entry == 0
    assert refusal.faults
    assert symbols(intake) == ["AAPL"]


@pytest.mark.parametrize("ts", ["1517961600", "1517961600000", "1517961600.0", "+1517961600"])
def test_a_time_without_a_unit_is_not_guessed_at(ts: str) -> None:
    """Seconds or milliseconds since 1970: the contract says date-time."""
    [refusal] = taken(BAR | {"ts": ts}).refused
    assert fields(refusal) == {"ts"}


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**18, 10**19, 10**30, -(10**400), 2**63, -(2**63)]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([TS, "2018-02-07T00:00:00z", "1517961600", "9999-12-31T23:59:59-23:59"]),
    st.sampled_from(["1d", "1M", "AAPL"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
COLUMN_NAMES = st.sampled_from([*COLUMNS, "revision", "synthetic"])
NAMES = st.sampled_from([*BAR, "revision", "synthetic", "final", "frame", "extra", ""])


def assert_each_entry_ends_once(payload: Any, rows: int) -> None:
    """Every bar is stored, counted as running, or refused with reasons that can be stored as text."""
    intake = taken(payload, BAR)
    ended = len(intake.rows) - 1 + intake.running + len(intake.refused)
    assert ended in {1, rows}
    assert symbols(intake)[-1] == "AAPL" or "AAPL" in symbols(intake)
    for refusal in intake.refused:
        assert refusal.faults
        assert all("\x00" not in str(fault) for fault in refusal.faults)
        assert json.dumps([str(fault) for fault in refusal.faults]).isascii()


@examples(300, shrink=True)
@given(st.dictionaries(NAMES, JUNK, max_size=4), st.sets(st.sampled_from(list(BAR)), max_size=1))
def test_no_bar_whatever_it_says_raises(change: dict[str, Any], left_out: set[str]) -> None:
    assert_each_entry_ends_once({k: v for k, v in (BAR | change).items() if k not in left_out}, 1)


@examples(200, shrink=True)
@given(
    st.dictionaries(COLUMN_NAMES, st.lists(JUNK, min_size=3, max_size=3), max_size=3),
    st.dictionaries(st.sampled_from(["version", "timeframe", "extra"]), JUNK, max_size=1),
)
def test_no_frame_whatever_it_says_raises(columns: dict[str, Any], change: dict[str, Any]) -> None:
    assert_each_entry_ends_once(frame(**columns) | change, 3)


@examples(200, shrink=True)
@given(st.binary(max_size=60))
def test_no_bytes_whatever_they_are_raise(payload: bytes) -> None:
    [refusal] = taken(payload).refused
    assert refusal.payload == payload
    assert fields(refusal) >= {"json"} or payload.strip().startswith(b"{")


@pytest.mark.parametrize("cut", range(0, 140, 7))
def test_a_truncated_bar_is_no_bar(cut: int) -> None:
    [refusal] = taken(text(BAR)[:cut]).refused
    assert fields(refusal) == {"json"}


def test_the_calendar_is_not_read_for_nothing() -> None:
    """It costs a second: a worker that has only poison in its stream should not need it."""

    def never() -> Any:
        raise AssertionError("asked for the sessions")

    asked: Callable[[], Any] = never
    assert len(read([Message(b"null", 0), Message(None, 0)], asked).refused) == 2
    assert np.array_equal(read([], asked).key, [])
