"""Spans as OpenTelemetry has them, sent to a collector by OTLP over HTTP; the extra `otel`."""

import threading
from urllib.parse import unquote

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from rollotape import __version__, tracing
from rollotape.errors import Refused
from rollotape.settings import Collector, Settings
from rollotape.telemetry import Span

CLOSE_S = 3.0
ANSWER_S = 5.0
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Exporter:
    """Takes spans that are over. Others send them; when they cannot, the oldest are dropped."""

    def __init__(self, service: str, settings: Settings, collector: Collector) -> None:
        about = {
            "service.namespace": "rollo",
            "service.name": service,
            "service.instance.id": settings.instance,
            "service.version": __version__,
        }
        sender = OTLPSpanExporter(collector.url, headers=_headers(settings), timeout=ANSWER_S)
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # who makes a span has decided
            resource=Resource.create(about),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(sender))
        self._tracer = self._provider.get_tracer("rollotape", __version__)

    def take(self, span: Span) -> None:
        context = set_span_in_context(NonRecordingSpan(SpanContext(0, 0, is_remote=False)))
        if span.parent_id is not None:
            context = set_span_in_context(NonRecordingSpan(_place(span.trace_id, span.parent_id)))
        self._ids.trace_id, self._ids.span_id = int(span.trace_id, 16), int(span.span_id, 16)
        made = self._tracer.start_span(
            span.name,
            context,
            SpanKind[span.kind.upper()],
            dict(span.attributes),
            [Link(_place(trace_id, tracing.span_of(trace_id))) for trace_id in span.links],
            span.start_ns,
        )
        if span.error is not None:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(span.end_ns)

    def close(self) -> None:
        """Send what waits, if that can be done soon: a collector that is away must not hold up the stop."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)


class _Ids(IdGenerator):
    """The ids that a span is to have: ours are known before it begins."""

    trace_id = span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


def _place(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=_SAMPLED)


def _headers(settings: Settings) -> dict[str, str] | None:
    """As OTEL_EXPORTER_OTLP_HEADERS has them: `name=value,name=value`, values in percent encoding.

    Raises:
        Refused: they are written otherwise.
    """
    if settings.otel_headers is None:
        return None  # those of OTEL_EXPORTER_OTLP_HEADERS, if it is set
    headers = {}
    for pair in settings.otel_headers.get_secret_value().split(","):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise Refused("ROLLO_OTEL_HEADERS must be name=value, or several of them with commas between")
        headers[name.strip()] = unquote(value.strip())
    return headers
