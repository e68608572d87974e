"""The gateway as a process: what it says when it starts, what it measures, how it stops, when it refuses."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from rollotape.settings import Settings
from support.waiting import eventually_sync


@contextmanager
def _running(folder: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = folder / "gateway.log"
    with log.open("wb") as output:
        command = [sys.executable, "-P", "-m", "api_gateway"]
        process = subprocess.Popen(command, stderr=output, env=os.environ | environment)
        try:
            yield process, log
        finally:
            process.kill()
            process.wait(10)


def _said(log: Path, event: str) -> dict[str, Any]:
    def find() -> dict[str, Any] | None:
        lines = map(orjson.loads, log.read_bytes().splitlines())
        return next((line for line in lines if line["event"] == event), None)

    found = eventually_sync(find, within_s=90, what=f"a log line {event}")
    assert found
    return found


def _environment(settings: Settings, **more: str) -> dict[str, str]:
    return {
        "ROLLO_REDIS_URL": settings.redis_url,
        "ROLLO_DATABASE_URL": settings.database_url,
        "ROLLO_AUTH": "off",
        "ROLLO_HTTP_PORT": "0",
    } | more


def test_it_says_where_it_listens_measures_by_route_and_stops_when_told(
    settings: Settings, tmp_path: Path
) -> None:
    with _running(tmp_path, **_environment(settings)) as (process, log):
        url = _said(log, "listening")["url"]
        ops = _said(log, "ops_listening")
        for path in ("/livez", "/api/bars?symbols=AAPL", "/api/symbols/AAPL/vsa", "/no/where"):
            httpx.get(f"{url}{path}", headers={"X-Request-Id": "e2e"})

        metrics = httpx.get(f"http://{ops['host']}:{ops['port']}/metrics").text
        ready = httpx.get(f"http://{ops['host']}:{ops['port']}/readyz")
        process.send_signal(signal.SIGTERM)

        assert process.wait(20) in (0, -signal.SIGTERM)
    for route, status in (
        ("/livez", "2xx"),
        ("/api/bars", "2xx"),
        ("/api/symbols/{symbol:path}/vsa", "4xx"),
        ("unmatched", "4xx"),
    ):
        labels = f'method="GET",route="{route}",status="{status}"'
        assert f"rollo_http_requests_total{{{labels}}} 1.0" in metrics
        assert f"rollo_http_request_duration_seconds_count{{{labels}}} 1.0" in metrics
    assert ready.json() == {"status": "ready", "away": []}
    request = _said(log, "request")
    assert (request["request_id"], request["service"], request["status"]) == ("e2e", "api-gateway", 200)


def test_an_answer_is_sent_whole_at_once(settings: Settings, tmp_path: Path) -> None:
    """A client that acknowledges late, as they do, would otherwise wait 40 ms for the body of each answer."""
    with _running(tmp_path, **_environment(settings)) as (_, log), httpx.Client(trust_env=False) as client:
        url = _said(log, "listening")["url"]
        took = []
        for _ in range(100):
            began = time.perf_counter()
            assert client.get(f"{url}/livez").status_code == 200
            took.append(time.perf_counter() - began)

    assert sorted(took)[10] < 0.030


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"ROLLO_HTTP_HOST": "0.0.0.0"}, "not loopback"),
        ({"ROLLO_HTTP_PORT": "eighty"}, "ROLLO_HTTP_PORT"),
    ],
)
def test_it_refuses_to_start_with_one_sentence(change: dict[str, str], word: str, tmp_path: Path) -> None:
    settings = Settings(redis_url="redis://x", database_url="postgresql://x")
    with _running(tmp_path, **_environment(settings, **change)) as (process, log):
        assert process.wait(30) == 2
        assert word in log.read_text("utf-8")
        assert len(log.read_text("utf-8").splitlines()) == 1
