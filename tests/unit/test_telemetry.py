"""Spans and errors leave by setting alone, and take with them nothing that is anybody's."""

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import structlog

from api_gateway import envelope
from rollotape import __version__, logs, settings, telemetry, tracing
from rollotape.errors import Refused, Unavailable
from rollotape.settings import Settings
from rollotape.streams.attempts import TRIES_ALONE, Attempts
from rollotape.streams.entries import Entry
from rollotape.telemetry import Span
from support.collectors import Collector, collecting

BASE: dict[str, Any] = {
    "redis_url": "redis://localhost", "database_url": "postgresql://localhost/rollo", "instance": "here",
}  # fmt: skip
SECRET = "sk-" + "4711"
SYMBOL = b"SEC" + b"RT"
"""Not written as they are: a report has lines of the program in it."""
TRACE = tracing.of(12345)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "HEADERS", "PROTOCOL", "TRACES_PROTOCOL"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lines go the way of a service's."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, structlog.get_config()
    monkeypatch.setattr(logs, "_about", {})
    logs.configure("detector", "here")
    yield
    root.handlers[:], level, config = before
    root.setLevel(level)
    structlog.configure(**config)


def made(**more: Any) -> Settings:
    return Settings(**BASE | more)


OFF = """
import sys
from rollotape import telemetry
from rollotape.settings import Settings
import api_gateway.main, cache_builder.main, detector.main, rs_worker.main
with telemetry.running("detector", Settings(redis_url="redis://x", database_url="postgresql://x/x")):
    assert telemetry.taker() is None
ours = ("rollotape.telemetry.", "opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.proto",
        "sentry_sdk", "google", "requests")
print(sorted({name for name in sys.modules if name.startswith(ours)}))
"""
"""redis-py by itself imports `opentelemetry.sdk.metrics` where that is there, and does nothing with it."""


def test_without_a_setting_nothing_is_imported() -> None:
    command = [sys.executable, "-c", OFF]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


@pytest.mark.parametrize(
    ("setting", "value", "module", "words"),
    [
        ("otel_endpoint", "http://c:43", "opentelemetry", ("ROLLO_OTEL_ENDPOINT", "extra otel", "[otel]")),
        ("sentry_dsn", "https://k@s/1", "sentry_sdk", ("ROLLO_SENTRY_DSN", "extra sentry", "[sentry]")),
    ],
)
def test_a_setting_whose_extra_is_missing_is_refused_by_both_names(
    setting: str, value: str, module: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(name: str) -> Any:
        return None if name.startswith(module) else find_spec(name)

    monkeypatch.setattr(telemetry, "find_spec", without)
    with pytest.raises(Refused) as refused, telemetry.running("detector", made(**{setting: value})):
        pytest.fail("it must not run")
    assert all(word in str(refused.value) for word in words)
    assert value not in str(refused.value)


@pytest.mark.parametrize("dsn", ["https://sentry.example.org/1", f"ftp://{SECRET}@host/1", "nonsense"])
def test_what_is_no_dsn_is_refused_without_being_repeated(dsn: str) -> None:
    no_dsn = pytest.raises(Refused, match="ROLLO_SENTRY_DSN is no DSN")
    with no_dsn as refused, telemetry.running("detector", made(sentry_dsn=dsn)):
        pytest.fail("it must not run")
    assert dsn not in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318/"}, "http://a:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a/in", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://b"}, "http://a/in"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "ROLLO": "http://own:4318"}, "http://own:4318/v1/traces"),
    ],
)  # fmt: skip
def test_the_collector_is_ours_or_that_of_the_standard_variables(
    environment: dict[str, str], expected: str | None
) -> None:
    found = settings.named_collector(made(otel_endpoint=environment.get("ROLLO")), environment)
    assert (found.url if found else None) == expected


@pytest.mark.parametrize("wrong", ["collector:4318", "grpc://collector:4317", "http://", "http://c:99999"])
def test_what_is_no_collector_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="ROLLO_OTEL_ENDPOINT is no URL like"):
        settings.load(**BASE, otel_endpoint=wrong)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", wrong)
    no_url = pytest.raises(Refused, match="OTEL_EXPORTER_OTLP_ENDPOINT is no URL like")
    with no_url, telemetry.running("detector", settings.load(**BASE)):
        pytest.fail("it must not run")


def test_what_is_not_spoken_is_refused(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(Refused, match="set ROLLO_OTEL_ENDPOINT"), telemetry.running("detector", made()):
        pytest.fail("it must not run")
    with telemetry.running("detector", made(otel_endpoint=collector.url)):
        assert telemetry.taker() is not None


def test_spans_arrive_as_they_were_made(collector: Collector) -> None:
    about: dict[str, Any] = {"rollo.facts": 3, "rollo.stream": "bars.3"}
    own = Span("batch", TRACE, tracing.span_of(TRACE), 1_000, 2_000, about)
    headers = f"x-key={SECRET},b=%2Cc"
    with telemetry.running("detector", made(otel_endpoint=collector.url, otel_headers=headers)):
        taker = telemetry.taker()
        assert taker is not None
        taker.take(own._replace(links=["a" * 32], kind="consumer"))
        child = own._replace(name="told", span_id="b" * 16, parent_id=own.span_id, kind="producer")
        taker.take(child._replace(error="OSError"))
    assert telemetry.taker() is None
    batch, told = collector.spans
    assert (batch.name, batch.trace_id, batch.span_id, batch.parent_id) == ("batch", TRACE, TRACE[16:], "")
    assert (batch.start_ns, batch.end_ns, batch.failed, batch.kind) == (1_000, 2_000, False, 5)
    assert (batch.about, batch.links) == ({"rollo.facts": 3, "rollo.stream": "bars.3"}, ["a" * 32])
    assert (told.trace_id, told.span_id, told.parent_id, told.failed) == (TRACE, "b" * 16, TRACE[16:], True)
    assert batch.resource["service.name"] == "detector"
    assert batch.resource["service.namespace"] == "rollo"
    assert batch.resource["service.instance.id"] == "here"
    assert batch.resource["service.version"] == __version__
    [head] = collector.heads
    assert (head["x-key"], head["b"]) == (SECRET, ",c")


def test_a_collector_that_is_away_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollotape.telemetry.otel.CLOSE_S", 0.3)
    with collecting() as gone:
        url = gone.url
    with telemetry.running("detector", made(otel_endpoint=url)):
        taker = telemetry.taker()
        assert taker is not None
        began = time.perf_counter()
        for n in range(1, 3_001):
            taker.take(Span("batch", tracing.of(n), tracing.span_of(tracing.of(n)), 1, 2))
        assert time.perf_counter() - began < 3
        began = time.perf_counter()
    assert time.perf_counter() - began < 2, "of its queue nothing can go any more"


def broken(price: float) -> None:
    secret_of_a_frame = SECRET
    raise ValueError(f"price {price} of {secret_of_a_frame}")


def test_an_error_is_told_by_its_kind_its_place_and_ids_alone(logged: None, collector: Collector) -> None:
    log = structlog.get_logger("rollotape.test")
    with telemetry.running("detector", made(sentry_dsn=collector.dsn, sentry_environment="desk")):
        try:
            broken(4_711.25)
        except ValueError:
            log.exception("defect", request_id="r1", path=f"/api/{SECRET}", trace_id=TRACE)
    [event] = collector.events
    [error] = event["exception"]["values"]
    assert error["type"] == "ValueError"
    assert error["stacktrace"]["frames"][-1]["function"] == "broken"
    assert event["tags"] == {
        "service": "detector", "event": "defect", "request_id": "r1", "trace_id": TRACE, "repeated": "0",
        "logger": "rollotape.test",
    }  # fmt: skip
    assert (event["environment"], event["release"]) == ("desk", f"rollotape@{__version__}")
    assert set(event) <= {
        "event_id", "timestamp", "platform", "level", "release", "environment", "server_name", "exception",
        "tags", "sdk",
    }  # fmt: skip
    [body] = collector.bodies
    assert SECRET.encode() not in body
    assert b"4711.25" not in body


async def test_a_dead_letter_of_a_bug_is_told_without_its_bar(logged: None, collector: Collector) -> None:
    entry = Entry("bars.3", "1-0", {b"json": b'{"symbol":"%s"}' % SYMBOL})
    buried: list[Entry] = []

    async def apply(entries: Any) -> None:
        raise KeyError(entries[0].payload)

    async def bury(entry: Entry, _: Exception) -> None:
        buried.append(entry)

    async def nothing(*_: Any) -> None: ...

    with telemetry.running("detector", made(sentry_dsn=collector.dsn)):
        await Attempts("bars.3", apply, bury, nothing, nothing).finish([entry])
    assert buried == [entry]
    [event] = collector.events
    assert (event["tags"]["event"], event["tags"]["entry"]) == ("entry_buried", "1-0")
    assert event["exception"]["values"][0]["type"] == "KeyError"
    assert SYMBOL not in collector.bodies[0]
    assert TRIES_ALONE > 1, "and was told once"


def test_outages_are_not_told_and_a_series_is_told_once(logged: None, collector: Collector) -> None:
    log = structlog.get_logger("rollotape.test")
    with telemetry.running("detector", made(sentry_dsn=collector.dsn)):
        for error in (Unavailable("redis"), ConnectionResetError(), TimeoutError(), Refused("x")):
            log.error("job_failed", exc_info=error)
        log.warning("batch_unavailable", reason="no traceback, no report")
        for _ in range(100):
            try:
                broken(1.0)
            except ValueError:
                log.exception("task_failed", task="tail")
        log.exception("nothing was raised")
    assert [event["tags"]["event"] for event in collector.events] == ["task_failed"]


def test_errors_that_libraries_log_are_told_too(logged: None, collector: Collector) -> None:
    with telemetry.running("detector", made(sentry_dsn=collector.dsn)):
        try:
            broken(1.0)
        except ValueError:
            logging.getLogger("asyncio").exception("Task exception was never retrieved %s", SECRET)
            logging.getLogger("opentelemetry.sdk").exception("we cannot send, and would tell ourselves")
    [event] = collector.events
    assert (event["tags"]["event"], event["tags"]["logger"]) == ("logged", "asyncio")
    assert SECRET.encode() not in collector.bodies[0]


def test_an_error_that_ends_a_service_is_told(collector: Collector) -> None:
    told = made(sentry_dsn=collector.dsn)
    with pytest.raises(ValueError, match="4711"), telemetry.running("detector", told), logs.what_ends():
        broken(4711)
    assert [event["tags"]["event"] for event in collector.events] == ["ended"]
    with pytest.raises(Refused), telemetry.running("detector", told), logs.what_ends():
        raise Refused("the configuration is wrong")
    assert len(collector.events) == 1


def test_a_tracker_that_is_away_holds_nobody_up(logged: None) -> None:
    with collecting() as gone:
        dsn = gone.dsn
    began = time.perf_counter()
    with telemetry.running("detector", made(sentry_dsn=dsn)):
        try:
            broken(1.0)
        except ValueError:
            structlog.get_logger("rollotape.test").exception("defect")
    assert time.perf_counter() - began < 5


class Taken(list[Span]):
    def take(self, span: Span) -> None:
        self.append(span)


@pytest.mark.parametrize(
    ("share", "said", "expected"),
    [
        (0.0, {}, None),
        (1.0, {}, ("own", None)),
        (1.0, {"x-request-id": "mine"}, ("new", None)),
        (1.0, {"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}, None),
        (0.0, {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, ("a" * 32, "b" * 16)),
        (0.0, {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "x-request-id": "mine"}, ("a" * 32, "b" * 16)),
    ],
)  # fmt: skip
async def test_a_request_has_a_span_where_its_caller_wants_one_or_by_chance(
    share: float, said: dict[str, str], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, lines = Taken(), list[dict[str, Any]]()
    monkeypatch.setattr(telemetry, "_taker", taken)
    monkeypatch.setattr(envelope.requests, "say", lambda **fields: lines.append(fields))

    async def app(scope: Any, _: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def nothing(*_: Any) -> Any: ...

    headers = [(name.encode(), value.encode()) for name, value in said.items()]
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": headers}
    await envelope.Envelope(app, None, share)(scope, nothing, nothing)
    [line] = lines
    if expected is None:
        assert taken == []
        return
    [span] = taken
    trace_id, parent_id = expected
    own = {"own": line["request_id"], "new": line.get("trace_id")}
    assert (span.trace_id, span.parent_id) == (own.get(trace_id, trace_id), parent_id)
    assert span.trace_id in (line["request_id"], line.get("trace_id")), "the line leads to the span"
    assert (span.name, span.kind, span.error) == ("GET unmatched", "server", "failed")
    assert span.attributes["rollo.request_id"] == line["request_id"]
