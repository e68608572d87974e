"""A collector of spans and a tracker of errors on this machine, which read all that they are sent."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import brotli
import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SPANS, ENVELOPES = "/v1/traces", "/api/7/envelope/"


@dataclass(frozen=True, slots=True)
class Spanned:
    """A span as it arrived."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start_ns: int
    end_ns: int
    failed: bool
    about: dict[str, Any]
    links: list[str]
    resource: dict[str, Any]


@dataclass(slots=True)
class Collector:
    """What came, and at which address it may come."""

    url: str = ""
    spans: list[Spanned] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    """Unpacked, to be searched for what must not be in there."""

    @property
    def dsn(self) -> str:
        return self.url.replace("http://", "http://public@") + "/7"

    def named(self, name: str) -> list[Spanned]:
        return [span for span in self.spans if span.name == name]

    def _take(self, path: str, head: dict[str, str], body: bytes) -> None:
        self.heads.append(head)
        self.bodies.append(body)
        if path == SPANS:
            assert head["content-type"] == "application/x-protobuf"
            self.spans += _spans(ExportTraceServiceRequest.FromString(body))
        else:
            assert path == ENVELOPES, path
            self.events += _events(body)


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # as http.server calls it
            head = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(head["content-length"]))
            unpack = {"gzip": gzip.decompress, "br": brotli.decompress}.get(head.get("content-encoding", ""))
            collector._take(self.path, head, unpack(body) if unpack else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, args=(0.02,))
        serving.start()
        try:
            yield collector
        finally:
            server.shutdown()
            serving.join()


def _spans(request: Any) -> Iterator[Spanned]:
    for of_process in request.resource_spans:
        resource = _plain(of_process.resource.attributes)
        for scope in of_process.scope_spans:
            assert scope.scope.name == "rollotape"
            for span in scope.spans:
                yield Spanned(
                    span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.kind,
                    span.start_time_unix_nano, span.end_time_unix_nano, span.status.code == 2,
                    _plain(span.attributes), [link.trace_id.hex() for link in span.links], resource,
                )  # fmt: skip


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def _events(envelope: bytes) -> Iterator[dict[str, Any]]:
    """Items of an envelope: a line about it, then for each a line with its length, and as many bytes."""
    _, rest = envelope.split(b"\n", 1)
    while rest.strip():
        line, rest = rest.split(b"\n", 1)
        about = orjson.loads(line)
        item, rest = rest[: about["length"]], rest[about["length"] + 1 :]
        assert about["type"] == "event", about
        yield orjson.loads(item)
