"""A picture of a stack as a line, and as a screen."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def line(s: Mapping[str, Any]) -> str:
    """The most important of a picture."""
    said = [
        f"{r['stream']}/{r['group']} lag {_n(r['lag'])} pending {_n(r['pending'])} in {_n(r['in_per_s'])}/s"
        f" out {_n(r['out_per_s'])}/s"
        for r in s["streams"]
        if r["group"]
    ]
    said += [f"dead letters {_n(s['dead_letters'])}", f"unsaid {_n(s['unsaid'])}"]
    said += [f"dates due {_n(s['dates_due'])}"]
    said += [f"{name} AWAY ({why})" for name, why in s["away"].items()]
    return "  ".join([s["at"][11:19], *said])


def screen(s: Mapping[str, Any]) -> RenderableType:
    title = f"Rollo Tape  {s['at'][:10]} {s['at'][11:19]} UTC{_where(s)}"
    parts: list[RenderableType] = [Text(title, "bold")]
    parts += [Text(f"{name} is away: {why}", "bold red") for name, why in s["away"].items()]
    parts += ["", _stream_table(s)]
    if s["replicas"]:
        parts += ["", _replica_table(s)]
    return Group(*parts, "", *_totals(s))


def _where(s: Mapping[str, Any]) -> str:
    found = s["postgres"]
    return f"  schema {found['schema']}, {found['partitions']} partitions" if found else ""


def _stream_table(s: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("stream", "group"):
        table.add_column(name)
    for name in ("lag", "pending", "oldest", "in/s", "out/s", "length"):
        table.add_column(name, justify="right")
    for r in s["streams"]:
        lag = f"{'' if r['lag_known'] else '≤'}{_n(r['lag'])}"
        name = f"{r['stream']} x{r['streams']}" if r["streams"] > 1 else r["stream"]
        group = Text(r["group"] or "", "red" if r["missing"] else "")
        age = "" if r["oldest_pending_s"] is None else f"{r['oldest_pending_s']:,.1f} s"
        numbers = (lag, _n(r["pending"]), age, _n(r["in_per_s"]), _n(r["out_per_s"]), _n(r["length"]))
        table.add_row(name, group, *(numbers if r["group"] else ("", "", "", *numbers[3:4], "", numbers[5])))
    return table


def _replica_table(s: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("service", "replica"):
        table.add_column(name)
    for name in ("partitions", "heard of"):
        table.add_column(name, justify="right")
    for r in s["replicas"]:
        table.add_row(r["service"], r["name"], str(r["partitions"]), f"{r['seen_s']:,.1f} s ago")
    return table


def _totals(s: Mapping[str, Any]) -> list[str]:
    lines = [
        f"bars/s {_n(s['bars_per_s'])}   dead letters {_n(s['dead_letters'])}"
        f"   commits untold {_n(s['unsaid'])}   strength: {_n(s['marks'])} marks,"
        f" {_n(s['dates_due'])} dates due"
    ]
    if model := s["model"]:
        tended = "" if model["tended"] else ", nobody tends it"
        lines.append(f"read model {model['state']}, {_n(model['entries'])} patterns{tended}")
    if redis := s["redis"]:
        lines.append(f"{redis['title']}: {_mb(redis)}, {_n(redis['ops_per_s'])} operations/s")
    if cache := s["cache"]:
        hits = "" if cache["hit_ratio"] is None else f", {cache['hit_ratio']:.1%} hits"
        lines.append(f"answers: {_mb(cache)}{hits}, {_n(cache['evicted'])} evicted")
    if found := s["postgres"]:
        at_work = ", ".join(name for name in found["at_work"] if name != "watch")
        connections = f"{_n(found['connections'])} connections ({at_work or 'no service'})"
        lines.append(f"PostgreSQL {found['version']}: {found['bytes'] / 1e6:,.0f} MB, {connections}")
    ready = [name for name, service in s["services"].items() if not service["ready"]]
    if ready:
        lines.append(f"not ready: {', '.join(ready)}")
    return lines


def _mb(server: Mapping[str, Any]) -> str:
    most = f" of {server['max_bytes'] / 1e6:,.0f}" if server["max_bytes"] else ""
    return f"{server['memory_bytes'] / 1e6:,.1f}{most} MB"


def _n(value: float | None) -> str:
    return "?" if value is None else f"{value:,}"
