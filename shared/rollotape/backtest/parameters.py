"""The values of a rule set as data that outlive it."""

from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any

from rollotape.domain.wyckoff.rules import Rules

VERSION = 1
"""Of the form. The version of the values is the name of the rule set: other values, another name."""


def parameters(rules: Rules) -> dict[str, Any]:
    """Every value, by name; fractions as text such as 3/10, which no computer rounds. Only what JSON has."""
    values = {f.name: getattr(rules, f.name) for f in fields(Rules) if f.name not in ("name", "weights")}
    return _in_order(
        VERSION,
        rules.name,
        {name: str(value) if isinstance(value, Fraction) else value for name, value in values.items()},
        [[kind, [list(term) for term in terms]] for kind, terms in rules.weights],
    )


def in_order(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a database gave it back, which keeps no order of names."""
    return _in_order(told["version"], told["name"], told["values"], told["weights"])


def _in_order(version: int, name: str, values: Mapping[str, Any], weights: list[Any]) -> dict[str, Any]:
    return {"version": version, "name": name, "values": dict(sorted(values.items())), "weights": weights}
