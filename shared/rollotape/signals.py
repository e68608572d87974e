"""From the bytes of an event about a trade of an outside system to what the domain decides about."""

from datetime import timedelta
from typing import Any

from rollotape.domain import signals
from rollotape.domain.ids import OWN_VERSION, is_own
from rollotape.domain.patterns import PatternFact
from rollotape.domain.reading import SOURCE
from rollotape.errors import Fault, Unprocessable
from rollotape.events import SignalEvent
from rollotape.payloads import early_faults, key_faults, microseconds, nul_faults, one_object, validated

_MONEY = ("entry_price", "stop", "target", "exit_price")
_TIMES = ("generated_at", "changed_at", "entry_date", "exit_date")
LONGEST = timedelta(days=60 * 365)
"""Sessions held are added up as digits of one number, and numbers of PostgreSQL have an end."""


def read(payload: bytes | None, arrived_ms: int) -> PatternFact:
    """One event about a trade.

    Raises:
        Unprocessable: with every field and reason.
    """
    event = validated(SignalEvent, one_object(payload))
    faults = [
        *key_faults(event.symbol, event.timeframe),
        *early_faults(event, _TIMES, arrived_ms),
        *_claims(event),
        *nul_faults(event, ("source", "exit_reason")),
        *_lifecycle(event),
        *_prices(event),
    ]
    if faults:
        raise Unprocessable(faults)
    return _fact(event)


def _claims(event: SignalEvent) -> list[Fault]:
    """What only we may say."""
    found = []
    if event.source == SOURCE:
        found.append(Fault("source", f"must not be {SOURCE!r}: those trades follow from bars"))
    if event.id is not None and is_own(event.id):
        found.append(Fault("id", f"must not be a UUID of version {OWN_VERSION}: ours are; got {event.id}"))
    return found


def _lifecycle(event: SignalEvent) -> list[Fault]:
    found = []
    for date, price in (("entry_date", "entry_price"), ("exit_date", "exit_price")):
        if (getattr(event, date) is None) != (getattr(event, price) is None):
            missing = date if getattr(event, date) is None else price
            found.append(Fault(missing, f"must be given: {date} and {price} are both set or both null"))
    closed, exited = event.event == "closed", event.exit_date is not None
    if closed and not exited and event.exit_price is None:
        found.append(Fault("exit_date", "must be given when the event is 'closed'"))
    if closed and event.entry_date is None and event.entry_price is None:
        found.append(Fault("entry_date", "must be given when the event is 'closed'"))
    if not closed and event.exit_date is not None:
        found.append(Fault("exit_date", f"must be null unless the event is 'closed', got {event.event!r}"))
    if event.entry_date and event.exit_date and event.exit_date < event.entry_date:
        got = event.exit_date.isoformat()
        found.append(Fault("exit_date", f"must not be before entry_date, got {got}"))
    if event.entry_date and event.exit_date and event.exit_date - event.entry_date > LONGEST:
        got = event.entry_date.isoformat()
        found.append(Fault("entry_date", f"must be at most 60 years before exit_date, got {got}"))
    return found


def _prices(event: SignalEvent) -> list[Fault]:
    given = {n: signals.money(p) for n in _MONEY if (p := getattr(event, n)) is not None}
    found = [Fault(n, "must be at least 1e-8") for n, price in given.items() if not price]
    entry, stop = given.get("entry_price"), given["stop"]
    if entry is not None and not signals.sound(event.direction, entry, stop):
        side = "below" if event.direction == "long" else "above"
        found.append(Fault("stop", f"must be {side} the entry of a {event.direction}, got {event.stop}"))
    return found


def _fact(event: SignalEvent) -> PatternFact:
    state: dict[str, Any] = event.model_dump(exclude={"version", "event"})
    state |= {name: signals.money(state[name]) for name in _MONEY if state[name] is not None}
    state |= {name: microseconds(state[name]) for name in _TIMES if state[name] is not None}
    state["changed_at"] = (
        state["changed_at"] or state["exit_date"] or state["entry_date"] or state["generated_at"]
    )
    state["status"] = signals.status(event.event, entered=event.entry_price is not None)
    state["id"] = event.id or signals.signal_id(
        event.source, event.symbol, event.pattern_type or "", event.timeframe, state["generated_at"]
    )
    digest = signals.digest(state)
    earned = signals.realized_r(state["entry_price"], state["stop"], state["exit_price"])
    stored = state | {"origin": "external", "hash": digest, "realized_r": earned}
    return PatternFact(state["id"], event.symbol, (False, event.revision, digest), stored)
