"""What deploy/ asks of Prometheus: every expression of rules and dashboards, and the series that it names."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = DEPLOY / "grafana" / "dashboards"
OF_TARGETS = {"job", "instance"}
"""Labels that Prometheus adds to whatever it scrapes."""
_STRING = re.compile(r'"[^"]*"|\'[^\']*\'')
_SELECTOR = re.compile(r"(?<![\w:])([a-zA-Z_:][\w:]*)(?![\w:])\s*(\{[^{}]*\})?(?!\s*\()")
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_WORDS = {"and", "or", "unless", "bool", "offset"}


class Asked(NamedTuple):
    """One expression and where it stands."""

    where: str
    expression: str


class Selector(NamedTuple):
    """Series that an expression names, and the labels by which it picks some of them."""

    name: str
    labels: frozenset[str]


def rules() -> Iterator[tuple[str, dict[str, Any]]]:
    """Recording and alert rules, each with its file."""
    for name in ("rules.yml", "alerts.yml"):
        read = yaml.safe_load((PROMETHEUS / name).read_text("utf-8"))
        yield from ((name, rule) for group in read["groups"] for rule in group["rules"])


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for _, rule in rules() if "alert" in rule}


def recorded() -> dict[str, str]:
    """Expressions by the name under which they are kept."""
    return {rule["record"]: rule["expr"] for _, rule in rules() if "record" in rule}


def dashboards() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))}


def of_rules() -> Iterator[Asked]:
    for name, rule in rules():
        yield Asked(f"{name}: {rule.get('alert') or rule['record']}", rule["expr"])


def of_dashboards() -> Iterator[Asked]:
    for name, board in dashboards().items():
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield Asked(f"{name}: {panel['title']}", target["expr"])


def selectors(expression: str) -> set[Selector]:
    """Every series that is named, functions and groupings left out."""
    found = set()
    for name, picks in _SELECTOR.findall(_GROUPING.sub(" ", _quiet(expression))):
        if name not in _WORDS and not re.fullmatch(r"\d*[smhdwy]?|e\d+", name):
            found.add(Selector(name, frozenset(re.findall(r"(\w+)\s*[=!]", picks))))
    return found


def groupings(expression: str) -> set[str]:
    """Labels that are left over, or that two sides are matched by."""
    return {label for group in _GROUPING.findall(_quiet(expression)) for label in re.findall(r"\w+", group)}


def made(expression: str) -> set[str]:
    """Labels that the expression itself makes."""
    return set(re.findall(r'label_replace\([^"]*(?:"[^"]*"[^"]*)*?,\s*"(\w+)",\s*"\$1"', expression))


def _quiet(expression: str) -> str:
    """Without what stands in quotes, and without spans of time."""
    return re.sub(r"\[[^\]]*\]", "", _STRING.sub('""', expression))
