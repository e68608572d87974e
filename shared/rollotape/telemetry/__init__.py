"""Spans to a collector, errors to a tracker: each by a setting, and without it nothing of it is imported."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

from rollotape import logs
from rollotape.errors import Refused
from rollotape.settings import Settings, must_be_collector, named_collector, variable

EXTRAS = {"otel": "opentelemetry.exporter.otlp.proto.http", "sentry": "sentry_sdk"}
"""Extras of ours, each with the module that says whether it is installed."""


class Span(NamedTuple):
    """Something that is over. Made only where somebody takes it: see `taker`."""

    name: str
    trace_id: str
    span_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str | int | float | bool] = {}
    parent_id: str | None = None
    links: Sequence[str] = ()
    """Traces that it follows from, or goes on with."""
    kind: str = "internal"
    """internal, server, consumer or producer."""
    error: str | None = None


class Taker(Protocol):
    """Who takes spans, and does not wait for anybody."""

    def take(self, span: Span) -> None: ...


_taker: Taker | None = None


def taker() -> Taker | None:
    """Who takes spans, if anybody does; ask before anything is put together for it."""
    return _taker


@contextmanager
def running(service: str, settings: Settings) -> Iterator[None]:
    """While inside, spans and errors go where the settings say; what waits at the end has seconds to go.

    Raises:
        Refused: a setting is wrong, or names something whose extra is not installed.
    """
    global _taker
    if missing := [sentence for _, _, sentence in lacking(settings)]:
        raise Refused("; ".join(missing))
    must_be_collector(settings)
    closing: list[Any] = []
    try:
        if collector := named_collector(settings):
            from rollotape.telemetry.otel import Exporter

            _taker = exporter = Exporter(service, settings, collector)
            closing.append(exporter)
        if settings.sentry_dsn:
            from rollotape.telemetry.sentry import Tracker

            tracker = Tracker(service, settings, settings.sentry_dsn.get_secret_value())
            logs.report_to(tracker.report)
            closing.append(tracker)
        yield
    finally:
        _taker = None
        logs.report_to(None)
        for one in closing:
            one.close()


def lacking(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Variables that ask for an extra that is not installed: each with the extra, and a sentence for both."""
    asked = {}
    if collector := named_collector(settings):
        asked["otel"] = collector.variable
    if settings.sentry_dsn:
        asked["sentry"] = variable("sentry_dsn")
    for extra, name in asked.items():
        if not _installed(EXTRAS[extra]):
            remedy = f"install it (pip install 'rollotape[{extra}]'), or unset {name}"
            yield name, extra, f"{name} is set, and the extra {extra} is not installed: {remedy}"


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it is in
        return False
