"""Streams, settings and metrics as Markdown, from the contracts, the settings and the list of metrics."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rollotape.events import STREAMS, Contract, StreamContract
from rollotape.settings import FROM_FILE, Settings, variable

_MADE = "<!-- Written by `make docs`: change {source} instead. -->"


def streams() -> str:
    """Every stream, and every message on it with its fields."""
    return "\n".join([*_head("Events", "shared/rollotape/events.py"), *_ABOUT_STREAMS, *_streams()]) + "\n"


def settings() -> str:
    """Every variable with its default and its meaning."""
    lines = [*_head("Configuration", "shared/rollotape/settings.py"), *_ABOUT_SETTINGS, *_rows(_settings())]
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """Every metric of the services with its kind, its labels and its definition."""
    lines = [*_head("Metrics of the services", "shared/rollotape/metrics.py"), *_ABOUT_METRICS]
    return "\n".join([*lines, *_rows(_metrics())]) + "\n"


_ABOUT_STREAMS = """
What travels on the streams. An entry has one field, `json`: one JSON object without an envelope. Unknown
fields and unknown versions are refused. `bars` and `patterns` are partitioned: the key is `bars.{p}` with
`p = crc32(symbol) mod P`, and P is 16 unless the installation was made with another number. Sending an entry
twice, or in another order, changes nothing. For programs: `rollo contracts asyncapi` and
`rollo contracts schema`; what a bar must be to be stored is in [domain.md](domain.md#bars).
""".splitlines()[1:]
_ABOUT_SETTINGS = f"""
Every setting is an environment variable, read once when a process starts. Each may also come in a file:
`ROLLO_DATABASE_PASSWORD{FROM_FILE}` names the file that holds `ROLLO_DATABASE_PASSWORD`. All that is missing
or wrong is said at once, and the process ends with exit code 2. `rollo up` and `rollo demo` set addresses and
ports themselves and pass the others on. [`deploy/local.env`](../deploy/local.env) has a value of each for one
machine.
""".splitlines()[1:]
_ABOUT_METRICS = """
Every service answers `/metrics` for Prometheus on its own port (`ROLLO_OPS_PORT`). Labels come from small
closed sets, never from symbols. `rollo top` shows the most important of them without Prometheus.

What is true of the whole (streams, servers, leases, dead letters, how new bars are) is said by every
cache-builder alike, and by nobody while it cannot be asked: take the greatest. What is counted (`_total`,
histograms) each process counts for itself, from its start: add it up. Rules, alerts and dashboards that do so
are in [`deploy/`](../deploy), how they are started in [operations.md](operations.md#metrics-and-dashboards),
what to do about each alert in the [runbook](runbook.md).
""".splitlines()[1:]


def _head(title: str, source: str) -> list[str]:
    return [f"# {title}", "", _MADE.format(source=f"`{source}`"), ""]


def _rows(rows: Iterator[Sequence[str]]) -> list[str]:
    """A table whose first row names the columns."""
    header, *body = rows
    return ["", _row(header), "|" + "---|" * len(header), *map(_row, body)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _streams() -> Iterator[str]:
    yield from _rows(_overview())
    seen: set[str] = set()
    for stream in STREAMS.values():
        for message in stream.messages:
            schema = message.model_json_schema()
            yield from ("", f"## {message.__name__}", "", f"On `{_address(stream)}`. {_about(message)}")
            yield from _rows(_fields(schema, schema))
            for name, part in schema.get("$defs", {}).items():
                if name not in seen and "properties" in part:
                    seen.add(name)
                    yield from ("", f"### {name}", "", " ".join(part.get("description", "").split()))
                    yield from _rows(_fields(part, schema))


def _overview() -> Iterator[Sequence[str]]:
    yield "stream", "what", "read by", "messages"
    for stream in STREAMS.values():
        readers = ", ".join(f"`{group}`" for group in stream.groups) or "no group: each reads all of it"
        named = ", ".join(f"[{m.__name__}](#{m.__name__.lower()})" for m in stream.messages)
        yield f"`{_address(stream)}`", stream.summary, readers, named


def _address(stream: StreamContract) -> str:
    return f"{stream.name}.{{p}}" if stream.partitioned else stream.name


def _about(message: type[Contract]) -> str:
    return " ".join((message.__doc__ or "").split())


def _fields(part: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    yield "field", "type", "default", "meaning"
    needed = set(part.get("required", ()))
    for name, said in part["properties"].items():
        default = "needed" if name in needed else _shown(said.get("default"))
        yield f"`{name}`", _type(said, whole), default, _meaning(said)


def _shown(default: Any) -> str:
    return json.dumps(default).strip('"')


def _meaning(said: Mapping[str, Any]) -> str:
    meaning = said.get("description", "")
    examples = ", ".join(f"`{example}`" for example in said.get("examples", ()))
    return "; ".join(filter(None, (meaning, examples and f"like {examples}")))


def _type(said: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """In words, with what JSON Schema says of its limits."""
    if "$ref" in said:
        name = said["$ref"].rpartition("/")[2]
        target = whole["$defs"][name]
        return f"[{name}](#{name.lower()})" if "properties" in target else _type(target, whole)
    if "anyOf" in said:
        return " or ".join(dict.fromkeys(_type(one, whole) for one in said["anyOf"]))
    if "const" in said:
        return f"`{said['const']}`"
    if "enum" in said:
        return " ".join(f"`{value}`" for value in said["enum"])
    if said.get("type") == "array":
        return f"list of {_type(said['items'], whole)}"
    if said.get("type") == "object":
        return "object"
    kind = _FORMATS.get(said.get("format", ""), said.get("type", "any"))
    return " ".join([kind, *_limits(said)])


_FORMATS = {"date-time": "time", "date": "date", "uuid": "UUID"}
_SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_LARGE = {2**63: "2^63", 1e8: "1e8"}


def _limits(said: Mapping[str, Any]) -> Iterator[str]:
    for word, sign in _SIGNS.items():
        if word in said:
            yield f"{sign} {_LARGE.get(said[word], format(said[word], 'g'))}"
    if "maxLength" in said:
        yield f"of {said.get('minLength', 0)} to {said['maxLength']} characters"
    if "pattern" in said:
        yield f"`{said['pattern']}`"


def _settings() -> Iterator[Sequence[str]]:
    yield "variable", "default", "meaning"
    for name, field in Settings.model_fields.items():
        if field.is_required():
            default = "needed"
        else:
            default = "" if field.default_factory or field.default is None else f"`{field.default}`"
        yield f"`{variable(name)}`", default, field.description or ""


def _metrics() -> Iterator[Sequence[str]]:
    from prometheus_client.metrics import MetricWrapperBase  # needed by this alone

    from rollotape import metrics as catalogue

    yield "metric", "kind", "labels", "definition"
    for metric in vars(catalogue).values():
        if isinstance(metric, MetricWrapperBase):
            described = next(iter(metric.describe()))
            name = f"{described.name}_total" if described.type == "counter" else described.name
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            yield f"`{name}`", described.type, labels, described.documentation
