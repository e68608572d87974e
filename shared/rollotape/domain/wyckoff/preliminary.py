"""What came before a pattern on its side, counted as it was known when the pattern was found."""

from collections.abc import Iterable
from uuid import UUID

from rollotape.domain.sessions import DAY_US
from rollotape.domain.wyckoff.facts import Event, EventKey, Fact, Pattern, Side, Status

LOOKBACK_DAYS = 30
COUNTED: dict[Side, tuple[str, ...]] = {
    "accumulation": ("PS", "SC", "AR", "ST"),
    "distribution": ("PSY", "BC", "AR", "ST"),
}

Counts = dict[str, int]


def preliminary(
    facts: Iterable[Fact], pattern: Pattern, lookback_days: int = LOOKBACK_DAYS
) -> tuple[Counts, Counts]:
    """Counts by kind within the last days, whatever their range, and within the pattern's range.

    Known before the pattern was detected, and neither expired nor superseded by then; a change of status
    that became known in the very moment counts.
    """
    kinds = COUNTED[pattern.side]
    events, changes = _before(facts, pattern)
    since = pattern.knowable_at - lookback_days * DAY_US
    recent, within = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0)
    for event in events:
        status, confirming = changes.get(event.key, (None, None))
        if status in ("expired", "superseded"):
            continue
        recent[event.kind] += event.knowable_at >= since
        within[event.kind] += (event.range_id or confirming) == pattern.range_id
    return recent, within


def _before(
    facts: Iterable[Fact], pattern: Pattern
) -> tuple[list[Event], dict[EventKey, tuple[str, UUID | None]]]:
    kinds, events = COUNTED[pattern.side], []
    changes: dict[EventKey, tuple[str, UUID | None]] = {}
    for fact in facts:
        if not isinstance(fact, Event | Status) or fact[:4] != pattern[:4] or fact.kind not in kinds:
            continue
        if isinstance(fact, Event):
            if fact.knowable_at < pattern.knowable_at:
                events.append(fact)
        elif fact.knowable_at <= pattern.knowable_at:
            changes[fact.key] = fact.status, fact.range_id
    return events, changes
