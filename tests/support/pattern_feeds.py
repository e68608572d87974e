"""Feeds of pattern events: lives told late, twice, in any order, in older shapes, and with contradictions."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import orjson

from rollotape.domain.bars import TIMEFRAMES
from rollotape.streams.partitions import partition_of, stream_name
from support.feeds import BENCHMARKS, PARTITIONS, Bar, Message

FOREVER = datetime(2100, 1, 1, tzinfo=UTC)
SOON_S = (2, 5)
"""Some patterns expire while a run goes on; before its end."""
TYPES = ("SPRING", "UPTHRUST", "BULL_FLAG", "SOS", "DOUBLE_BOTTOM")
POISON = (
    b"nothing",
    b"[]",
    b'{"event":"detected","source":"planted","symbol":"PLANTED","timeframe":"1d","confidence":1.5}',
    b'{"data":{"symbol":"PLANTED","pattern":"X","confidence":"high","timestamp":1578600000}}',
)


def told(bars: Sequence[Bar], rng: Random, *, lives: int) -> list[Message]:
    """What is told of so many patterns on these bars, oldest first; no order of it changes what holds."""
    beneath = [b for b in bars if b.symbol not in BENCHMARKS and b.close is not None]
    said = [event for n in range(lives) for event in _life(n, rng.choice(beneath), rng)]
    return [message(event) for _, event in sorted(said, key=lambda pair: pair[0])]


def steady(bars: Sequence[Bar], rng: Random, *, lives: int, revisions: int) -> list[list[dict[str, Any]]]:
    """So many patterns that never end, each with so many revisions, told apart by their confidence."""
    daily = [b for b in bars if b.symbol not in BENCHMARKS and b.timeframe == "1d"]
    found = []
    for n in range(lives):
        own_id = UUID(int=rng.getrandbits(128), version=4)
        state = _state(n, rng.choice(daily), rng) | {"expires_at": FOREVER}
        confidences = rng.sample(range(300, 1_000), revisions)
        kinds = ["detected", *["updated"] * (revisions - 1)]
        found.append(
            [
                _contract(kind, revision, state | {"confidence": confidence / 1_000}, own_id)
                for revision, (kind, confidence) in enumerate(zip(kinds, confidences, strict=True))
            ]
        )
    return found


def message(event: dict[str, Any]) -> Message:
    """An event on the stream of its symbol."""
    inner = event
    while "data" in inner:
        inner = inner["data"]
    stream = stream_name("patterns", partition_of(inner["symbol"].upper(), PARTITIONS))
    return stream, orjson.dumps(event, option=orjson.OPT_UTC_Z)


def storm(messages: Sequence[Message], rng: Random) -> list[Message]:
    """Each a little out of order, some much later, some twice."""
    order: list[tuple[float, Message]] = []
    for i, message in enumerate(messages):
        here = i + (rng.uniform(0, len(messages) - i) if rng.random() < 0.1 else rng.uniform(0, 12))
        order.append((here, message))
        if rng.random() < 0.15:
            order.append((here + rng.uniform(0, 50), message))
    return [message for _, message in sorted(order, key=lambda pair: pair[0])]


def woven(one: Sequence[Message], other: Sequence[Message], rng: Random) -> list[Message]:
    """Two feeds in one, each in its own order."""
    places = set(rng.sample(range(len(one) + len(other)), len(other)))
    first, second = iter(one), iter(other)
    return [next(second) if i in places else next(first) for i in range(len(one) + len(other))]


def _life(number: int, bar: Bar, rng: Random) -> Iterator[tuple[float, dict[str, Any]]]:
    """Each event with when it was told: a detection, updates, perhaps an end and a contradiction."""
    state = _state(number, bar, rng)
    shape = rng.choice((_contract, _contract, _contract, _nested, _flat, _doubly_nested))
    own_id = UUID(int=rng.getrandbits(128), version=4) if shape is _contract and rng.random() < 0.5 else None
    kinds = ["detected", *["updated"] * rng.randint(0, 3), *["expired"] * (rng.random() < 0.25)]
    at = state["detected_at"].timestamp()
    for revision, kind in enumerate(kinds):
        state = state | {"confidence": round(rng.uniform(0.3, 1.0), 3)}
        # An end holds whatever its revision.
        rank = rng.randint(0, revision) if kind == "expired" else revision
        yield at + revision * 60, shape(kind, rank, state, own_id)
        if rng.random() < 0.1:
            other = state | {"confidence": round(rng.uniform(0.3, 1.0), 3)}
            yield at + revision * 60 + 1, shape(kind, rank, other, own_id)


def _state(number: int, bar: Bar, rng: Random) -> dict[str, Any]:
    length = timedelta(microseconds=TIMEFRAMES[bar.timeframe].length_us)
    ends = (
        FOREVER,
        FOREVER,
        FOREVER,
        None,  # the default, which is past
        datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=rng.randint(*SOON_S)),
    )
    return {
        "symbol": bar.symbol,
        "pattern_type": f"{rng.choice(TYPES)}_{number}",
        "timeframe": bar.timeframe,
        "price": bar.close,
        "rs_ratio": rng.choice((None, 1.25)),
        "vol_ratio": rng.choice((None, 1.8)),
        "rsi": rng.choice((None, 62.0)),
        "detected_at": datetime.fromtimestamp(bar.ts, UTC) + length,
        "expires_at": rng.choice(ends),
    }


def _contract(kind: str, revision: int, state: dict[str, Any], own_id: UUID | None) -> dict[str, Any]:
    return {"event": kind, "source": "chaos", "revision": revision, "id": own_id, **state}


def _flat(kind: str, revision: int, state: dict[str, Any], _: UUID | None) -> dict[str, Any]:
    """As older systems say it: unix seconds, indicators beside, the time of an event as its revision."""
    detected = state["detected_at"].timestamp()
    return {
        "source": "older",
        "event_type": f"pattern_{kind}",
        "timestamp": detected + revision * 60,
        "detection_timestamp": detected,
        "symbol": state["symbol"].lower(),
        "pattern": state["pattern_type"].replace("_", " ").title(),
        "timeframe": state["timeframe"],
        "confidence": state["confidence"],
        "current_price": state["price"],
        "expires_at": state["expires_at"] and state["expires_at"].timestamp(),
        "indicators": {
            "relative_strength": state["rs_ratio"],
            "relative_volume": state["vol_ratio"],
            "rsi": state["rsi"],
        },
    }


def _nested(kind: str, revision: int, state: dict[str, Any], own_id: UUID | None) -> dict[str, Any]:
    flat = _flat(kind, revision, state, own_id)
    outer = ("source", "event_type", "timestamp")
    inner = {name: value for name, value in flat.items() if name not in outer}
    return {name: flat[name] for name in outer} | {"data": inner}


def _doubly_nested(kind: str, revision: int, state: dict[str, Any], own_id: UUID | None) -> dict[str, Any]:
    nested = _nested(kind, revision, state, own_id)
    return nested | {"data": {"data": nested["data"]}}
