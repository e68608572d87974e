"""Producers and services of two versions at work together: what is taken, and what is refused by its name."""

import orjson
import pytest

from cache_builder import handlers
from rollotape import calendars, intake
from rollotape.streams.delivery import Entry

FEWEST = {
    "symbol": "AAPL", "timeframe": "1d", "ts": "2024-01-03T00:00:00Z",
    "open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 100.0,
}  # fmt: skip
FRAME = {
    "timeframe": "1d",
    "frame": {name: [value] for name, value in FEWEST.items() if name != "timeframe"},
}


@pytest.mark.parametrize("sent", [FEWEST, FRAME], ids=["bar", "frame"])
def test_what_a_sender_of_before_leaves_out_has_a_default(sent: dict[str, object]) -> None:
    taken = _read(sent)
    assert [symbol for symbol, _ in taken.keys] == ["AAPL"]
    assert not taken.refused


@pytest.mark.parametrize("newer", [{"venue": "XNAS"}, {"version": 2}], ids=["field", "version"])
@pytest.mark.parametrize("sent", [FEWEST, FRAME], ids=["bar", "frame"])
def test_what_a_sender_of_after_says_more_is_kept_as_a_dead_letter_that_names_it(
    sent: dict[str, object], newer: dict[str, object]
) -> None:
    taken = _read(sent | newer)
    [refused] = taken.refused
    assert not taken.keys
    assert [fault.field for fault in refused.faults] == list(newer)


def test_a_fact_of_a_newer_service_is_understood_as_far_as_it_goes() -> None:
    fact = {
        "type": "venue.opened",
        "id": "8a6e0804-2bd0-4672-b79d-d97027f9071a",
        "venue": "XNAS",
        "version": 2,
    }
    entry = Entry("updates", "1-0", {b"json": orjson.dumps(fact)})
    assert handlers._read([entry]) == ([{"type": fact["type"], "id": fact["id"]}], [])


def _read(sent: dict[str, object]) -> intake.Intake:
    return intake.read([intake.Message(orjson.dumps(sent), 1_900_000_000_000)], calendars.sessions)
