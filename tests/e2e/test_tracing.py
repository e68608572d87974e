"""One id from a bar to a client, through processes as they are: in every log, in the update, in the spans."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from websockets.sync.client import connect

from rollotape.settings import Settings
from rollotape.streams.position import order
from support.collectors import Collector, collecting
from support.documents import ROOT, blocks
from support.waiting import eventually_sync

CALLER, ITS_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Service:
    """A process of ours, and what it has logged."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as output:
            command = [sys.executable, "-P", "-m", name.replace("-", "_")]
            self._process = subprocess.Popen(command, stderr=output, env=os.environ | environment)

    def lines(self, event: str) -> list[dict[str, Any]]:
        whole = self.log.read_bytes().rpartition(b"\n")[0]
        return [line for line in map(orjson.loads, whole.splitlines()) if line["event"] == event]

    def said(self, event: str) -> dict[str, Any]:
        return eventually_sync(lambda: self.lines(event), within_s=60, what=f"a line {event}")[0]

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Iterator["Run"]:
    with collecting() as collector, running(settings, collector, tmp_path) as services:
        yield Run(collector, *services)


class Run:
    """A climax was sent over HTTP by a caller who traces; what came of it was told over WebSocket."""

    def __init__(self, collector: Collector, detector: Service, gateway: Service) -> None:
        self.collector, self.detector, self.gateway = collector, detector, gateway
        url = gateway.said("listening")["url"]
        detector.said("started")
        with connect(f"{url.replace('http', 'ws')}/api/stream", proxy=None) as socket:
            socket.send('{"action":"subscribe","vsa":["*"]}')
            while "subscription" not in str(socket.recv(10)):
                pass
            self.answer = httpx.post(
                f"{url}/api/bars",
                json={"bars": CLIMAX},
                headers={"traceparent": f"00-{CALLER}-{ITS_SPAN}-01"},
                trust_env=False,
            )
            self.told = self._update(socket)
        self.trace_id = str(self.told["trace_id"])

    def _update(self, socket: Any) -> dict[str, Any]:
        while True:
            for item in orjson.loads(socket.recv(30)):
                if item["T"] == "v":
                    return dict(item["data"])


@contextmanager
def running(settings: Settings, collector: Collector, folder: Path) -> Iterator[list[Service]]:
    environment = {
        "ROLLO_REDIS_URL": settings.redis_url,
        "ROLLO_DATABASE_URL": settings.database_url,
        "ROLLO_AUTH": "off",
        "ROLLO_HTTP_PORT": "0",
        "ROLLO_OTEL_ENDPOINT": collector.url,
        "ROLLO_OTEL_REQUESTS": "0",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    services = [Service(name, folder, environment) for name in ("detector", "api-gateway")]
    try:
        yield services
    finally:
        for service in services:
            service.kill()


def _bar(day: int, prices: tuple[float, ...], volume: int) -> dict[str, Any]:
    ts = f"2020-{1 + day // 28:02}-{1 + day % 28:02}T00:00:00Z"
    said = dict(zip(("open", "high", "low", "close"), prices, strict=True))
    return {"symbol": "BTC/USD", "timeframe": "1d", "ts": ts, "volume": volume, **said}


CLIMAX = [
    *(_bar(day, (100.0, 101.0, 99.0, 100.0), 1_000) for day in range(20)),
    _bar(20, (101, 101.5, 98, 98.5), 2_715),
    _bar(21, (98.6, 100, 98.4, 99.8), 1_200),
]


def test_one_id_leads_from_a_bar_to_a_client_and_back(run: Run) -> None:
    request = run.gateway.said("request")
    assert run.answer.headers["x-request-id"] == request["request_id"] == CALLER
    [ingested] = run.gateway.lines("ingested")
    assert ingested["request_id"] == CALLER
    [(stream, (first, last))] = ingested["entries"].items()

    def batches() -> list[dict[str, Any]]:
        return [line for line in run.detector.lines("batch") if line.get("trace_id") == run.trace_id]

    [batch] = eventually_sync(batches, what="the line of the batch")
    assert batch["stream"] == stream
    assert order(batch["first"]) <= order(last)
    assert order(first) <= order(batch["last"])
    [told, *_] = eventually_sync(lambda: _with(run.gateway.lines("told"), run.trace_id), what="told")
    assert order(told["first"]) <= order(batch["said_last"]) <= order(told["last"])
    [read] = eventually_sync(lambda: _with(run.detector.lines("tape_read"), run.trace_id), what="tape_read")
    assert read["symbols"] == ["BTC/USD"]
    _as_documented([batch, read, told, ingested, request])

    for service in (run.detector, run.gateway):
        assert service.stop() in (0, -signal.SIGTERM)
    [span] = [span for span in run.collector.named("batch") if span.trace_id == run.trace_id]
    assert (span.span_id, span.parent_id, span.failed) == (run.trace_id[16:], "", False)
    assert span.resource["service.name"] == "detector"
    assert span.about["rollo.stream"] == stream
    [out] = [span for span in run.collector.named("told") if span.trace_id == run.trace_id][:1]
    assert (out.parent_id, out.resource["service.name"]) == (span.span_id, "api-gateway")
    assert out.start_ns >= span.start_ns
    assert [span.links for span in run.collector.named("tape_read")] == [[run.trace_id]]
    [asked] = run.collector.named("POST /api/bars")
    assert (asked.trace_id, asked.parent_id) == (CALLER, ITS_SPAN)
    assert asked.about["http.response.status_code"] == 202


def _with(lines: list[dict[str, Any]], trace_id: str) -> list[dict[str, Any]]:
    return [line for line in lines if trace_id in line["traces"]]


def _as_documented(lines: list[dict[str, Any]]) -> None:
    """The worked example in docs/operations.md shows these lines, with these fields."""
    shown = [
        orjson.loads(line)
        for block in blocks(ROOT / "docs" / "operations.md")
        for line in block.lines
        if block.language == "json" and '"event":' in line
    ]
    assert [set(line) for line in shown] == [set(line) for line in lines]
    assert [(line["event"], line["service"]) for line in shown] == [(s["event"], s["service"]) for s in lines]
