"""What is wrong with an event is said in our words, whichever way it comes in."""

from typing import Any

import orjson
import pytest

from rollotape import patterns, signals
from rollotape import settings as configuration
from rollotape.errors import Refused, Unprocessable
from rollotape.events import PatternEvent, SignalEvent
from rollotape.wording import shown

ARRIVED_MS = 1_700_000_000_000
PATTERN: dict[str, Any] = {
    "version": 1, "event": "detected", "source": "mine", "symbol": "AAPL", "timeframe": "1d",
    "pattern_type": "SPRING", "confidence": 0.8, "detected_at": "2023-02-07T00:00:00Z",
}  # fmt: skip
OLDER: dict[str, Any] = {"symbol": "AAPL", "pattern": "spring", "confidence": 0.8, "timestamp": 1_675_728_000}
SIGNAL: dict[str, Any] = {
    "event": "opened", "source": "desk", "symbol": "AAPL", "timeframe": "1d", "direction": "long",
    "generated_at": "2023-02-07T00:00:00Z", "stop": 9.0,
}  # fmt: skip
NOT_SET = object()


def told(read: Any, said: dict[str, Any]) -> list[str]:
    with pytest.raises(Unprocessable) as refused:
        read(orjson.dumps({name: value for name, value in said.items() if value is not NOT_SET}), ARRIVED_MS)
    return list(map(str, refused.value.faults))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pattern_type": NOT_SET}, "pattern_type: is missing"),
        ({"confidence": None}, "confidence: must be a number, got null"),
        ({"confidence": "high"}, "confidence: must be a number, got 'high'"),
        ({"confidence": 80}, "confidence: must be at most 1, got 80"),
        ({"confidence": {"value": 0.8}}, "confidence: must be a number, got an object"),
        ({"price": 1e9}, "price: must be below 1e+08, got 1000000000.0"),
        ({"price": 0}, "price: must be above 0, got 0"),
        ({"pattern_type": "a flag"}, "pattern_type: must be 1 to 40 characters A-Z 0-9 _, got 'a flag'"),
        ({"side": "up"}, "side: must be 'accumulation' or 'distribution', got 'up'"),
        ({"revision": 1.5}, "revision: must be a whole number, got 1.5"),
        ({"test_confirmed": "yes"}, "test_confirmed: must be true or false, got 'yes'"),
        ({"source": ""}, "source: must have at least 1 characters, got ''"),
        ({"source": 7}, "source: must be text, got 7"),
        ({"id": "7"}, "id: must be a UUID, got '7'"),
        ({"colour": "red"}, "colour: is not a field of this event"),
        ({"detected_at": "7.2.2023"},
         "detected_at: must be an RFC 3339 time such as 2018-02-07T00:00:00Z, got '7.2.2023'"),
        ({"detected_at": "2023-02-07T00:00:00"},
         "detected_at: must have a time zone, such as Z or +01:00, got '2023-02-07T00:00:00'"),
        ({"expires_at": "soon"},
         "expires_at: must be an RFC 3339 time such as 2018-02-07T00:00:00Z, got 'soon'"),
    ],
)  # fmt: skip
def test_a_field_of_a_pattern_is_named_with_what_it_must_be_and_what_it_was(
    change: dict[str, Any], says: str
) -> None:
    assert told(patterns.read, PATTERN | change) == [says]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pattern": NOT_SET}, ["pattern_type: is missing"]),
        ({"pattern": NOT_SET, "confidence": NOT_SET}, ["pattern_type: is missing", "confidence: is missing"]),
        ({"symbol": NOT_SET}, ["symbol: is missing"]),
        ({"timestamp": NOT_SET}, ["detected_at: is missing"]),
    ],
)
def test_what_an_older_shape_does_not_say_is_missing(change: dict[str, Any], says: list[str]) -> None:
    assert told(patterns.read, OLDER | change) == says


def test_every_fault_of_a_trade_is_told() -> None:
    said = SIGNAL | {"stop": NOT_SET, "direction": "up", "exit_reason": "x" * 65}
    assert told(signals.read, said) == [
        "direction: must be 'long' or 'short', got 'up'",
        "stop: is missing",
        f"exit_reason: must have at most 64 characters, got '{'x' * 56}... (67 characters)",
    ]


@pytest.mark.parametrize(
    ("payload", "says"),
    [(b"null", "null"), (b"[1]", "a list"), (b"true", "true"), (b'"x"', "'x'"), (b"5", "5")],
)
def test_what_is_no_object_is_said_as_it_stands(payload: bytes, says: str) -> None:
    with pytest.raises(Unprocessable, match=f"^json: must be one object, got {says}$"):
        patterns.read(payload, ARRIVED_MS)


def test_nothing_endless_is_repeated() -> None:
    assert len(shown("x" * 10_000)) < 80
    assert shown({"x": "y" * 10_000}) == "an object"


@pytest.mark.parametrize(
    ("read", "contract", "good"),
    [(patterns.read, PatternEvent, PATTERN), (signals.read, SignalEvent, SIGNAL)],
    ids=["patterns", "signals"],
)
def test_no_field_of_ours_falls_back_to_the_words_of_pydantic(read: Any, contract: Any, good: Any) -> None:
    """Every kind of value in every field: a constraint of a new kind shows up here."""
    values: list[Any] = [None, True, 7, -7, 1.5, 1e300, 2**64 - 1, "", "x" * 5_000, "2023-13-45", [], {}]
    for name in contract.model_fields.keys() - {"event"}:  # without one it is an older shape
        for value in values:
            try:
                read(orjson.dumps(good | {name: value}), ARRIVED_MS)
            except Unprocessable as refused:
                assert not {"Input", "Value", "NoneType"} & set(str(refused).replace(",", " ").split())


def test_a_wrong_setting_is_said_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLO_LEASE_S", "soon")
    monkeypatch.setenv("ROLLO_PARTITIONS", "0")
    with pytest.raises(Refused) as refused:
        configuration.load(redis_url="redis://127.0.0.1/0", database_url="postgresql://127.0.0.1/x")
    assert str(refused.value) == (
        "ROLLO_PARTITIONS: must be at least 1, got '0'; ROLLO_LEASE_S: must be a number, got 'soon'"
    )
