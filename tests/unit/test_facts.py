"""What a commit has to say: one message per fact under an id that never changes, and one wake-up."""

from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np
import orjson
import pytest

from rollotape import facts
from rollotape.domain.analysis import Analysis, Counts, Key, VsaEvent
from rollotape.domain.bars import BAR
from rollotape.events import Contract, SessionsChanged, VsaUpdate
from support.bars import us

EVENT = VsaEvent(
    symbol="AAPL",
    timeframe="1d",
    rule_set="seed-1",
    kind="stopping_volume",
    event_ts=us("2018-02-06T00:00Z"),
    confirmed_ts=us("2018-02-07T00:00Z"),
    knowable_at=us("2018-02-07T21:00Z"),
    direction="bullish",
)


def analysis(
    *,
    appeared: tuple[VsaEvent, ...] = (),
    vanished: tuple[VsaEvent, ...] = (),
    inserted: tuple[tuple[Key, int], ...] = (),
    replaced: tuple[tuple[Key, int], ...] = (),
) -> Analysis:
    """An analysis that changed bars of some keys and session days."""
    keys = sorted({key for key, _ in (*inserted, *replaced)})

    def changed(bars: tuple[tuple[Key, int], ...]) -> tuple[Any, Any]:
        rows = np.zeros(len(bars), BAR)
        rows["session"] = [session for _, session in bars]
        return np.array([keys.index(key) for key, _ in bars], np.int64), rows

    nothing = changed(())
    return Analysis(
        keys, changed(inserted), changed(replaced), nothing, list(appeared), list(vanished), {}, Counts()
    )


def said(stream: str, result: Analysis, **versions: tuple[int, int]) -> list[dict[str, Any]]:
    return [orjson.loads(payload) for s, payload in facts.messages(result, versions) if s == stream]


def test_an_event_that_appeared_is_said_in_full() -> None:
    [update] = said("updates", analysis(appeared=(EVENT,)), AAPL=(41, 7))
    assert update == {
        "version": 1,
        "type": "vsa.detected",
        "id": update["id"],
        "fact_version": 42,
        "event": {
            "symbol": "AAPL",
            "timeframe": "1d",
            "rule_set": "seed-1",
            "kind": "stopping_volume",
            "direction": "bullish",
            "event_ts": "2018-02-06T00:00:00+00:00",
            "confirmed_ts": "2018-02-07T00:00:00+00:00",
            "knowable_at": "2018-02-07T21:00:00+00:00",
        },
    }
    assert UUID(update["id"]).version == 5


def test_every_message_keeps_its_contract() -> None:
    result = analysis(appeared=(EVENT,), vanished=(EVENT,), inserted=((("AAPL", "1d"), 17_569),))
    contracts: dict[str, type[Contract]] = {"updates": VsaUpdate, "sessions": SessionsChanged}
    messages = facts.messages(result, {})
    assert {stream for stream, _ in messages} == set(contracts)
    for stream, payload in messages:
        contracts[stream].model_validate_json(payload)


def test_the_id_of_a_fact_never_changes() -> None:
    """Clients remember it, and whoever recomputes the same event must say the same."""
    [update] = said("updates", analysis(appeared=(EVENT,)))
    facts_of_tape = uuid5(NAMESPACE_URL, "urn:rollotape:facts")
    expected = uuid5(facts_of_tape, "vsa|AAPL|1d|seed-1|stopping_volume|1517875200000000")
    assert update["id"] == str(expected) == "36a05c8d-3cd4-5de5-8af7-352cccccebc4"


def test_detected_retracted_and_confirmed_anew_are_one_fact() -> None:
    moved = EVENT._replace(confirmed_ts=EVENT.confirmed_ts + 1, knowable_at=0, direction="bearish")
    updates = said("updates", analysis(vanished=(EVENT,), appeared=(EVENT, moved)))
    assert [u["type"] for u in updates] == ["vsa.retracted", "vsa.detected", "vsa.detected"]
    assert len({u["id"] for u in updates}) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"symbol": "MSFT"},
        {"timeframe": "1w"},
        {"rule_set": "classic-1"},
        {"kind": "no_demand"},
        {"event_ts": EVENT.event_ts + 1},
    ],
)
def test_another_key_is_another_fact(other: dict[str, Any]) -> None:
    updates = said("updates", analysis(appeared=(EVENT, EVENT._replace(**other))))
    assert len({u["id"] for u in updates}) == 2


def test_a_fact_carries_the_version_that_its_commit_makes() -> None:
    new = EVENT._replace(symbol="NEW")
    updates = said("updates", analysis(appeared=(EVENT, new)), AAPL=(41, 7))
    assert {u["event"]["symbol"]: u["fact_version"] for u in updates} == {"AAPL": 42, "NEW": 1}


def test_the_sessions_that_changed_are_said_once_per_timeframe() -> None:
    result = analysis(
        inserted=((("AAPL", "1d"), 17_569), (("MSFT", "1d"), 17_560), (("AAPL", "1m"), 17_570)),
        replaced=((("MSFT", "1d"), 17_550),),
    )
    assert said("sessions", result) == [
        {"version": 1, "timeframe": "1d", "first_session": "2018-01-19", "last_session": "2018-02-07"},
        {"version": 1, "timeframe": "1m", "first_session": "2018-02-08", "last_session": "2018-02-08"},
    ]


def test_a_commit_that_changed_nothing_says_nothing() -> None:
    assert facts.messages(analysis(), {}) == []


def test_an_instant_is_exact_to_the_microsecond() -> None:
    assert facts.instant(1_517_961_600_000_001) == datetime(2018, 2, 7, 0, 0, 0, 1, UTC)
    assert facts.instant(-1) == datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)
