"""From the bytes of an entry to a contract, or to every field that is wrong in it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError
from pydantic_core import from_json

from rollotape.domain import bars
from rollotape.domain.bars import EARLY_US
from rollotape.errors import Fault, Unprocessable, short
from rollotape.events import MAX_PAYLOAD_BYTES, Contract
from rollotape.wording import reason, shown

C = TypeVar("C", bound=Contract)
_US = 1_000_000


def one_object(payload: bytes | None) -> dict[str, Any]:
    """What an entry says.

    Raises:
        Unprocessable: it is not one JSON object, or too long.
    """
    if payload is None:
        raise Unprocessable([Fault("json", "the entry has no field named json")])
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Unprocessable([Fault("json", f"{len(payload)} bytes, at most {MAX_PAYLOAD_BYTES}")])
    try:
        said = from_json(payload)
    except ValueError as error:
        raise Unprocessable([Fault("json", f"not JSON: {error}")]) from None
    if not isinstance(said, dict):
        raise Unprocessable([Fault("json", f"must be one object, got {shown(said)}")])
    return said


def validated(contract: type[C], said: Mapping[str, Any]) -> C:
    """What was said in the words of a contract.

    Raises:
        Unprocessable: with every field and reason.
    """
    try:
        return contract.model_validate_json(orjson.dumps(said, default=str))
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        faults = [Fault(_name(e["loc"]), reason(e, of="this event")) for e in wrong]
        raise Unprocessable(faults) from None
    except TypeError as error:
        raise Unprocessable([Fault("json", f"not JSON: {error}")]) from None


def _name(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc))[:60] or "json"


def key_faults(symbol: str, timeframe: str) -> list[Fault]:
    """What is wrong about a symbol and a timeframe."""
    found = []
    if not bars.symbol_is_valid(symbol):
        found.append(Fault("symbol", f"must be 1 to 20 characters A-Z 0-9 . - ^ /, got {short(symbol)}"))
    if timeframe not in bars.TIMEFRAMES:
        names = " ".join(bars.TIMEFRAMES)
        found.append(Fault("timeframe", f"must be one of {names}, got {short(timeframe)}"))
    return found


def early_faults(said: Contract, names: tuple[str, ...], arrived_ms: int) -> list[Fault]:
    """Those of these times that had not come when the entry arrived."""
    times = [(name, getattr(said, name)) for name in names]
    return [
        Fault(name, f"must not be later than its arrival + 5 minutes, got {when.isoformat()}")
        for name, when in times
        if when is not None and microseconds(when) > arrived_ms * 1_000 + EARLY_US
    ]


def nul_faults(said: Contract, names: tuple[str, ...]) -> list[Fault]:
    """Those of these texts that PostgreSQL could not store."""
    return [
        Fault(name, "must not contain a NUL character")
        for name in names
        if "\0" in (getattr(said, name) or "")
    ]


def microseconds(when: datetime) -> int:
    """Since 1970."""
    return round(when.timestamp() * _US)
