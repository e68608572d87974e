"""Feeds of trades of outside systems, and what must come of them, by a plain reference that shares no code.

Lives are told late, twice, in any order, restated after their end, contradicted, and put under another
symbol.
"""

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from io import StringIO
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson

from rollotape.domain.bars import TIMEFRAMES
from rollotape.streams.partitions import partition_of, stream_name
from support.feeds import BENCHMARKS, PARTITIONS, Bar, Message

TYPES = ("SPRING", "UTAD", "BULL_FLAG", "SOS", None)
REASONS = ("target", "stop", "time", None)
POISON = (
    b"no trade",
    b'{"event":"opened","source":"rollo","symbol":"PLANTED","timeframe":"1d","direction":"long",'
    b'"generated_at":"2020-01-06T00:00:00Z","stop":95}',
    b'{"event":"closed","source":"planted","symbol":"PLANTED","timeframe":"1d","direction":"long",'
    b'"generated_at":"2020-01-06T00:00:00Z","stop":95,"entry_price":100}',
    b'{"event":"updated","source":"planted","symbol":"PLANTED","timeframe":"1d","direction":"short",'
    b'"generated_at":"2020-01-06T00:00:00Z","entry_date":"2020-01-07T00:00:00Z","entry_price":100,"stop":95}',
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)

Event = dict[str, Any]


def told(bars: Sequence[Bar], rng: Random, *, lives: int) -> list[Message]:
    """What is told of so many trades on these bars, oldest first; no order of it changes what holds."""
    beneath = [b for b in bars if b.symbol not in BENCHMARKS and b.close is not None]
    said = [event for n in range(lives) for event in _life(n, rng.choice(beneath), beneath, rng)]
    return [_message(event) for _, event in sorted(said, key=lambda pair: pair[0])]


def _message(state: Event) -> Message:
    event = {name: value for name, value in state.items() if name != "price"}
    stream = stream_name("signals", partition_of(event["symbol"], PARTITIONS))
    return stream, orjson.dumps(event, option=orjson.OPT_UTC_Z)


def _life(number: int, bar: Bar, bars: Sequence[Bar], rng: Random) -> Iterator[tuple[float, Event]]:
    """Each event with when it was told: pending, entered, moved, and perhaps an end that is restated."""
    state = _opened(number, bar, rng)
    steps: list[Event] = [{"event": "opened"}]
    if rng.random() < 0.85:
        steps.append({"event": "updated"} | _entry(state, rng))
        steps += [{"event": "updated", "target": _near(state, rng, 8)} for _ in range(rng.randint(0, 2))]
        if rng.random() < 0.75:
            steps += [{"event": "closed"} | _exit(state, rng) for _ in range(rng.choice((1, 1, 2)))]
    elif rng.random() < 0.7:
        steps.append({"event": "cancelled", "changed_at": state["generated_at"] + timedelta(days=3)})
    at = state["generated_at"].timestamp()
    for revision, step in enumerate(steps):
        state = state | step | {"revision": revision}
        if state["id"] and rng.random() < 0.08:
            state = state | {"symbol": rng.choice(bars).symbol}
        yield at + revision * 3_600, state
        if rng.random() < 0.1:
            yield at + revision * 3_600 + 60, state | {"planned_r": round(rng.uniform(0.5, 4), 3)}


def _opened(number: int, bar: Bar, rng: Random) -> Event:
    length = timedelta(microseconds=TIMEFRAMES[bar.timeframe].length_us)
    state: Event = {
        "id": UUID(int=rng.getrandbits(128), version=4) if rng.random() < 0.5 else None,
        "source": f"desk-{number}",
        "symbol": bar.symbol,
        "timeframe": bar.timeframe,
        "pattern_id": UUID(int=rng.getrandbits(128), version=4) if rng.random() < 0.3 else None,
        "pattern_type": rng.choice(TYPES),
        "direction": rng.choice(("long", "short")),
        "generated_at": datetime.fromtimestamp(bar.ts, UTC) + length,
        "planned_r": rng.choice((None, 2.0, 1.7)),
        "price": bar.close,
    }
    away = -1 if state["direction"] == "long" else 1
    assert bar.close
    return state | {"stop": bar.close * (1 + away * rng.uniform(0.02, 0.1)), "target": _near(state, rng, 10)}


def _entry(state: Event, rng: Random) -> Event:
    return {"entry_date": _after(state, rng, 48), "entry_price": _near(state, rng, 1)}


def _exit(state: Event, rng: Random) -> Event:
    exit_ = {"exit_date": _after(state, rng, 400, least=49), "exit_price": _near(state, rng, 12)}
    return exit_ | {"exit_reason": rng.choice(REASONS)}


def _after(state: Event, rng: Random, hours: int, *, least: int = 1) -> datetime:
    return state["generated_at"] + timedelta(hours=rng.randint(least, hours))  # type: ignore[no-any-return]


def _near(state: Event, rng: Random, percent: float) -> float:
    """A price within so many percent, with more digits than are kept, or with two."""
    price = state["price"] * (1 + rng.uniform(-percent, percent) / 100)
    return price if rng.random() < 0.5 else round(price, 2)  # type: ignore[no-any-return]


# ---- what must come of it

Row = dict[str, Any]
_NAMESPACE = uuid5(NAMESPACE_URL, "urn:rollotape:signals")
_MONEY = ("entry_price", "stop", "target", "exit_price")
_TIMES = ("generated_at", "changed_at", "entry_date", "exit_date")
_OPTIONAL = ("id", "pattern_id", "pattern_type", "changed_at", "entry_date", "entry_price", "target",
             "planned_r", "exit_date", "exit_price", "exit_reason")  # fmt: skip
_SHOWN = ("source", "symbol", "timeframe", "pattern_id", "pattern_type", "direction", "status",
          "generated_at", "entry_date", "entry_price", "stop", "target", "planned_r", "exit_date",
          "exit_price", "exit_reason", "realized_r")  # fmt: skip


def expected(messages: Sequence[Message]) -> list[Row]:
    """Of every trade told of, by its id, what its greatest event says. Poison is left aside."""
    greatest: dict[str, tuple[tuple[int, int], Row]] = {}
    for stream, payload in messages:
        if stream.startswith("signals.") and payload not in POISON:
            rank, row = _said(orjson.loads(payload))
            if row["id"] not in greatest or rank > greatest[row["id"]][0]:
                greatest[row["id"]] = rank, row
    return [row for _, (_, row) in sorted(greatest.items())]


def exported(text: str) -> list[Row]:
    """The trades of outside systems among those of an export."""
    rows = (row for row in csv.DictReader(StringIO(text)) if row["origin"] == "external")
    return [{"id": row["id"]} | {n: _plain(n, row[n] or None) for n in _SHOWN} for row in rows]


def _said(event: Event) -> tuple[tuple[int, int], Row]:
    """By the words of the contract: the rank of an event, and the row that it makes if it is the greatest."""
    state: Event = {name: event.get(name) for name in _OPTIONAL} | event
    entered = "PENDING" if state["entry_price"] is None else "OPEN"
    state["status"] = {"closed": "CLOSED", "cancelled": "CANCELLED"}.get(state.pop("event"), entered)
    for name in _TIMES:
        state[name] = state[name] and (datetime.fromisoformat(state[name]) - _EPOCH) // _SECOND * 1_000_000
    for name in _MONEY:
        state[name] = state[name] and Decimal(repr(state[name])).quantize(Decimal("0.00000001"))
    state["changed_at"] = (
        state["changed_at"] or state["exit_date"] or state["entry_date"] or state["generated_at"]
    )
    state["pattern_id"] = state["pattern_id"] and UUID(state["pattern_id"])
    named = state["source"], state["symbol"], state["pattern_type"] or "", state["timeframe"]
    derived = uuid5(_NAMESPACE, f"{'|'.join(named)}|{state['generated_at']}")
    state["id"] = UUID(state["id"]) if state["id"] else derived
    revision = state.pop("revision")
    text = "|".join(f"{name}={state[name]!r}" for name in sorted(state))
    rank = revision, int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)
    state["realized_r"] = None
    if state["exit_price"] is not None:
        earned, risked = state["exit_price"] - state["entry_price"], state["entry_price"] - state["stop"]
        state["realized_r"] = float(earned / risked)
    return rank, {"id": str(state["id"])} | {n: _plain(n, state[n]) for n in _SHOWN}


def _plain(name: str, value: Any) -> Any:
    """As JSON may hold it: what is told and what is exported write numbers and times in different ways."""
    if value is None:
        return None
    if name in _MONEY:
        return str(Decimal(value).normalize())
    if name in _TIMES:
        if isinstance(value, int):
            return f"{datetime.fromtimestamp(value // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
        return value
    return float(value) if name in ("planned_r", "realized_r") else str(value)
