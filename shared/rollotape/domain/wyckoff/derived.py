"""Rule sets derived from another by changed parameters, with a name that says which."""

from collections.abc import Mapping
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

from rollotape.domain.wyckoff.rules import Rules
from rollotape.errors import Refused

LARGEST = 1_000
"""Of numerator and denominator: products of them with sums of logarithms must stay whole in 64 bits."""

PARAMETERS = tuple(f.name for f in fields(Rules) if f.name not in ("name", "weights"))


def derived(base: Rules, changes: Mapping[str, str]) -> Rules:
    """`base` with these parameters, named like wyckoff-2+fail=5/2,st_bars=80.

    What changes nothing is not in the name.

    Raises:
        Refused: there is no such parameter, or it cannot have that value.
    """
    values: dict[str, Any] = {name: _value(base, name, text) for name, text in changes.items()}
    values = {name: value for name, value in sorted(values.items()) if value != getattr(base, name)}
    if not values:
        return base
    told = ",".join(f"{name}={str(value).lower()}" for name, value in values.items())
    return replace(base, name=f"{base.name}+{told}", **values)


def _value(base: Rules, name: str, text: str) -> Fraction | int | bool:
    if name not in PARAMETERS:
        raise Refused(f"{base.name} has no parameter {name!r}; there are {', '.join(PARAMETERS)}")
    default = getattr(base, name)
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise Refused(f"{name} is true or false; found {text!r}")
        return text.lower() == "true"
    try:
        value = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        raise Refused(f"{name} is a number like 1.5 or 3/2; found {text!r}") from None
    if value < 0 or max(value.numerator, value.denominator) > LARGEST:
        raise Refused(f"{name} is a fraction of whole numbers from 0 to {LARGEST:,}; found {text!r}")
    if isinstance(default, Fraction):
        return value
    if value.denominator != 1:
        raise Refused(f"{name} is a whole number; found {text!r}")
    return value.numerator
