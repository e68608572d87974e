"""What a commit has to say: one message per fact, and a wake-up for those who work across symbols."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

import orjson

from rollotape.domain.analysis import Analysis, VsaEvent
from rollotape.postgres.versions import UNKNOWN, Version

_NAMESPACE = uuid5(NAMESPACE_URL, "urn:rollotape:facts")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Message = tuple[str, bytes]
"""(stream, payload)"""


def instant(us: int) -> datetime:
    """Microseconds since 1970 as a time in UTC."""
    return _EPOCH + timedelta(microseconds=us)


def messages(analysis: Analysis, versions: Mapping[str, Version]) -> list[Message]:
    """Everything that the commit of this analysis, made from these versions, has to say."""
    said = [("sessions", payload) for payload in _sessions(analysis)]
    for kind, events in (("vsa.retracted", analysis.vanished), ("vsa.detected", analysis.appeared)):
        said += [("updates", _vsa_update(kind, e, versions.get(e.symbol, UNKNOWN))) for e in events]
    return said


def _vsa_update(kind: str, event: VsaEvent, made_from: Version) -> bytes:
    key = "|".join(map(str, ("vsa", *event.key)))
    counter, _ = made_from
    told = event._asdict() | {
        name: instant(getattr(event, name)) for name in ("event_ts", "confirmed_ts", "knowable_at")
    }
    fact_id = str(uuid5(_NAMESPACE, key))
    return orjson.dumps(
        {"version": 1, "type": kind, "id": fact_id, "fact_version": counter + 1, "event": told}
    )


def _sessions(analysis: Analysis) -> Iterator[bytes]:
    """One wake-up per timeframe, with the first and the last session that changed."""
    spans: dict[str, tuple[int, int]] = {}
    for (_, timeframe), (first, last) in analysis.extents("session").items():
        least, most = spans.get(timeframe, (first, last))
        spans[timeframe] = min(least, first), max(most, last)
    for timeframe, (first, last) in sorted(spans.items()):
        yield orjson.dumps(
            {"version": 1, "timeframe": timeframe, "first_session": _day(first), "last_session": _day(last)}
        )


def _day(days: int) -> date:
    return date(1970, 1, 1) + timedelta(days=days)
