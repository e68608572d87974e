"""A trade of an outside system: its status, its R, and what tells two contents of it apart."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from rollotape.domain.patterns import state_hash

Status = Literal["PENDING", "OPEN", "CLOSED", "CANCELLED"]

_NAMESPACE = uuid5(NAMESPACE_URL, "urn:rollotape:signals")
_CENTS = Decimal("1e-8")
_ENDS: Mapping[str, Status] = {"closed": "CLOSED", "cancelled": "CANCELLED"}


def signal_id(source: str, symbol: str, pattern_type: str, timeframe: str, generated_at_us: int) -> UUID:
    """The id of a trade whose sender has none."""
    return uuid5(_NAMESPACE, "|".join((source, symbol, pattern_type, timeframe, str(generated_at_us))))


def money(price: float | Decimal) -> Decimal:
    """A price as it is stored: what is decided about it is decided about that."""
    return Decimal(str(price)).quantize(_CENTS)


def status(event: str, *, entered: bool) -> Status:
    """Where a trade stands after an event: it pends until it is entered."""
    return _ENDS.get(event, "OPEN" if entered else "PENDING")


def sound(direction: str, entry: Decimal, stop: Decimal) -> bool:
    """Whether the stop lies on the losing side of the entry; R has no meaning otherwise."""
    return stop < entry if direction == "long" else stop > entry


def realized_r(entry: Decimal | None, stop: Decimal, exit_price: Decimal | None) -> float | None:
    """R of a long or short trade with a sound stop; None while it is not closed.

    In decimals: two prices that differ as stored may be one floating-point number.
    """
    if entry is None or exit_price is None:
        return None
    return float((exit_price - entry) / (entry - stop))


def digest(state: Mapping[str, Any]) -> int:
    """Of everything that a sender says of a trade, but for the revision."""
    return state_hash({name: value for name, value in state.items() if name not in ("revision", "hash")})
