"""What became of a batch: a line in the log, and a span where spans are wanted, for all of it together."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rollotape import telemetry, tracing
from rollotape.often import Often
from rollotape.telemetry import Span

MOST_LINKS = 128
"""Of a span, which is what collectors take; the line has all."""

_lines: dict[str, Often] = {}


@contextmanager
def telling(event: str, **about: Any) -> Iterator[dict[str, Any]]:
    """Have it said, when it went well, in a line `event` with what is noted inside; a span says either.

    Something in which nothing was noted, and that is about nothing, is not worth a line.
    """
    began_ns = time.time_ns()
    with tracing.noting() as noted:
        try:
            yield noted
        except BaseException as error:
            if about or noted:
                _span(event, about | noted, began_ns, type(error).__name__)
            raise
    said = about | noted
    if not said:
        return
    said["duration_ms"] = round((time.time_ns() - began_ns) / 1e6, 3)
    line = _lines.get(event)
    if line is None:
        line = _lines[event] = Often(event, __name__)
    line.say(**said)
    _span(event, said, began_ns, None)


def _span(name: str, said: dict[str, Any], began_ns: int, error: str | None) -> None:
    taker = telemetry.taker()
    if taker is None:
        return
    trace_id = said.get("trace_id") or tracing.new()
    links = [one for one in said.get("traces", ()) if one != trace_id]
    plain = {f"rollo.{k}": v for k, v in said.items() if isinstance(v, str | int | float)}
    kind = "consumer" if "stream" in said else "internal"
    made = Span(name, trace_id, tracing.span_of(trace_id), began_ns, time.time_ns(), plain)
    taker.take(made._replace(links=links[:MOST_LINKS], kind=kind, error=error))
