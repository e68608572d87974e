"""What a client of the stream may say, what that subscribes it to, and which facts are among it."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway import subscriptions
from api_gateway.problems import Problem
from api_gateway.subscriptions import (
    CHANNELS,
    FILTERS,
    MOST_SYMBOLS,
    NOTHING,
    UNKNOWN,
    Standing,
    Subscription,
    passes,
    union,
)


def _subscribed(**said: Any) -> Subscription:
    return subscriptions.read(orjson.dumps({"action": "subscribe", **said})).applied_to(NOTHING)


def _refused(message: bytes | str) -> list[str]:
    with pytest.raises(Problem) as refused:
        subscriptions.read(message)
    return [error.field for error in refused.value.errors]


def test_symbols_are_read_as_everywhere_and_lists_add_up() -> None:
    held = _subscribed(patterns=["aapl", "btc/usd"], bars=["*"])
    more = subscriptions.read(b'{"action":"subscribe","patterns":["*"],"vsa":["X"]}').applied_to(held)
    assert more.of("patterns") == {"AAPL", "BTC/USD", "*"}
    assert (more.of("vsa"), more.of("bars")) == (frozenset("X"), frozenset("*"))
    assert not more.of("rs")
    fewer = subscriptions.read(b'{"action":"unsubscribe","patterns":["*","NONE"],"bars":["*"]}')
    less = fewer.applied_to(more)
    assert less.of("patterns") == {"AAPL", "BTC/USD"}
    assert not less.of("bars")


def test_equal_subscriptions_are_one_whatever_their_wording() -> None:
    one = _subscribed(patterns=["A", "B"], filters={"symbols": ["A", "B"], "rsi_range": [30, 70]})
    other = _subscribed(patterns=["b", "a", "A"], filters={"rsi_range": [30, 70], "symbols": ["A", "B"]})
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (b"", ["message"]),
        (b"{", ["message"]),
        (b"[]", ["message"]),
        (b"null", ["message"]),
        (b"{}", ["action"]),
        (b'{"action":["auth"]}', ["action"]),
        (b'{"action":"auth"}', ["token"]),
        (b'{"action":"auth","token":7}', ["token"]),
        (b'{"action":"auth","token":"k","patterns":["*"]}', ["patterns"]),
        (b'{"action":"subscribe"}', ["message"]),
        (b'{"action":"subscribe","trades":["*"],"quotes":[]}', ["trades", "quotes"]),
        (b'{"action":"subscribe","patterns":"*"}', ["patterns"]),
        (b'{"action":"subscribe","patterns":[1]}', ["patterns"]),
        (b'{"action":"subscribe","patterns":["A B"]}', ["patterns"]),
        (b'{"action":"subscribe","patterns":["*"],"since":7}', ["since"]),
        (b'{"action":"unsubscribe","since":"x"}', ["since"]),
        (b'{"action":"subscribe","filters":[]}', ["filters"]),
        (b'{"action":"subscribe","filters":{"sort_by":"rs"}}', ["filters.sort_by"]),
        (b'{"action":"subscribe","filters":{"confidence_min":2}}', ["filters.confidence_min"]),
        (b'{"action":"subscribe","filters":{"confidence_min":{}}}', ["filters.confidence_min"]),
        (b'{"action":"subscribe","filters":{"rsi_range":[70,30]}}', ["filters.rsi_range"]),
    ],
)
def test_what_is_wrong_is_named(message: bytes, fields: list[str]) -> None:
    assert _refused(message) == fields


def test_a_subscription_has_a_bound_whatever_it_was_before() -> None:
    held = _subscribed(patterns=[f"S{n}" for n in range(MOST_SYMBOLS)])
    with pytest.raises(Problem):
        subscriptions.read(b'{"action":"subscribe","vsa":["AAPL"]}').applied_to(held)
    assert _refused(orjson.dumps({"action": "subscribe", "vsa": ["A"] * (MOST_SYMBOLS + 1)})) == ["vsa"]


def test_the_acknowledgement_is_the_full_set() -> None:
    held = _subscribed(patterns=["b", "a"], filters={"phase": ["C", "D"]})
    [told] = orjson.loads(held.acknowledgement("x-1-0"))
    assert told == {
        "T": "subscription", "patterns": ["A", "B"], "vsa": [], "wyckoff": [], "rs": [], "bars": [],
        "scans": [], "system": [], "filters": {"phase": ["C", "D"]}, "id": "x-1-0",
    }  # fmt: skip


PATTERN = {
    "symbol": "AAPL", "timeframe": "1d", "pattern_type": "SPRING", "side": "accumulation", "phase": "C",
    "confidence": 0.8, "rs_ratio": 1.1, "rs_excess": 3.0, "vol_ratio": 1.5, "rsi": 40.0,
    "test_confirmed": True, "detected_at": "2026-01-02T21:00:00+00:00",
}  # fmt: skip
_GOOD: dict[str, Any] = {
    "pattern_types": ["spring", "sos"], "symbols": "aapl", "confidence_min": 0.8, "rs_min": 1.1,
    "rs_excess_min": 3, "vol_min": 1.5, "rsi_range": [40, 40], "phase": ["C"], "test_confirmed": True,
    "side": "accumulation", "detected_since": "2026-01-02T21:00:00Z",
}  # fmt: skip
_BAD: dict[str, Any] = {
    "pattern_types": "sos", "symbols": ["MSFT"], "confidence_min": 0.81, "rs_min": 1.2, "rs_excess_min": 3.5,
    "vol_min": 1.6, "rsi_range": [0, 39.9], "phase": "D", "test_confirmed": False, "side": "distribution",
    "detected_since": "2026-01-02T21:00:01Z",
}  # fmt: skip


def _passes(
    said: dict[str, Any],
    kind: str = "pattern.updated",
    standing: Standing = UNKNOWN,
    without: str | None = None,
) -> bool:
    filters = _subscribed(filters=said).filters
    assert filters is not None
    pattern = {name: None if name == without else value for name, value in PATTERN.items()}
    return passes(filters, kind, pattern, standing)


@pytest.mark.parametrize("name", sorted(_GOOD))
def test_every_bound_is_included_and_an_unknown_value_fails(name: str) -> None:
    assert _passes({name: _GOOD[name]})
    assert not _passes({name: _BAD[name]})
    column = {"pattern_types": "pattern_type", "symbols": "symbol", "rsi_range": "rsi"}
    column |= {"detected_since": "detected_at", "rs_min": "rs_ratio", "vol_min": "vol_ratio"}
    assert not _passes({name: _GOOD[name]}, without=column.get(name, name.removesuffix("_min")))


def test_our_own_strength_takes_the_place_of_what_the_sender_said() -> None:
    ours = Standing("Energy", 0.9, -1.0)
    assert _passes({"rs_min": 1.1, "rs_excess_min": 3})
    assert not _passes({"rs_min": 1.1}, standing=ours)
    assert not _passes({"rs_excess_min": 3}, standing=ours)
    assert _passes({"sectors": "energy", "rs_min": 0.9}, standing=ours)
    assert not _passes({"sectors": "energy"})


def test_an_end_is_told_whatever_it_is_worth_by_then() -> None:
    assert _passes({"confidence_min": 0.9, "phase": "D"}, "pattern.expired")
    assert _passes({"confidence_min": 0.9}, "pattern.retracted")
    assert not _passes({"symbols": "MSFT"}, "pattern.expired")


def test_a_filter_on_timeframes_holds_for_everything_that_has_one() -> None:
    held = _subscribed(bars=["*"], filters={"timeframes": ["1h"], "timeframe": "1d"})
    assert held.passes("bars", "1h") and held.passes("vsa", "1d") and held.passes("rs", "")
    assert not held.passes("bars", "1m")


def test_symbols_of_many_add_up_and_everything_is_none() -> None:
    assert union([]) == frozenset()
    assert union([frozenset("A"), frozenset("B")]) == frozenset("AB")
    assert union([frozenset("A"), frozenset("*")]) is None


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["*", "AAPL"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FILTERS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
_MESSAGES = st.fixed_dictionaries(
    {"action": st.sampled_from(["auth", "subscribe", "unsubscribe"]) | _JSON},
    optional=dict.fromkeys((*CHANNELS, "filters", "since", "token", "x"), _JSON),
)


@given(st.binary() | st.text() | _JSON.map(json.dumps) | _MESSAGES.map(repr))
def test_no_text_does_more_than_be_refused(message: bytes | str) -> None:
    try:
        subscriptions.read(message).applied_to(NOTHING)
    except Problem as problem:
        assert problem.errors


@given(_MESSAGES)
def test_a_message_is_understood_or_every_fault_has_a_name(message: dict[str, Any]) -> None:
    try:
        text = orjson.dumps(message)
    except TypeError:  # numbers that JSON does not have
        return
    try:
        held = subscriptions.read(text).applied_to(NOTHING)
    except Problem as problem:
        assert problem.errors
        assert all(error.field and error.reason for error in problem.errors)
    else:
        orjson.loads(held.acknowledgement("here"))
        assert hash(held) is not None
