"""The same stack on a cluster and behind Sentinels, by the URL alone: filled, asked, and hurt."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import httpx
import pytest

from support import market_files
from support.redises import KINDS, Redises, open_redises
from support.stacks import Stack, rollo, running_stack
from support.waiting import eventually_sync

EVENT = {
    "version": 1, "event": "detected", "source": "desk", "symbol": "AAPL", "timeframe": "1d",
    "pattern_type": "SPRING", "confidence": 0.9, "detected_at": "2026-11-20T21:00:00Z",
    "expires_at": "2100-01-01T00:00:00Z",
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def redises(request: pytest.FixtureRequest) -> Iterator[Redises]:
    with open_redises(request.param) as several:
        yield several


def test_everything_works_by_the_url_alone(redises: Redises, data_dir: Path, tmp_path: Path) -> None:
    market_files.write_all(tmp_path)
    with running_stack(data_dir, ROLLO_REDIS_URL=redises.url) as up:
        _imported(up, tmp_path, "bars_daily_etf.csv.gz")
        assert _verified(up) == 0

        heard: list[str] = []
        listening = Thread(target=_listen, args=(up.found.gateway_url, heard), daemon=True)
        listening.start()
        eventually_sync(lambda: heard, what="an open stream")
        _told_of_a_pattern(up)
        listening.join(30)
        assert "pattern.detected" in heard[-1]
        eventually_sync(lambda: _scanned(up) == ["AAPL"], what="the pattern in a scan")

        dead = redises.replace("bars.3")
        _imported(up, tmp_path, "bars_daily_sp500.csv.gz")
        redises.revive()
        assert dead.running
        assert _verified(up) == 0
        eventually_sync(lambda: up.get("/readyz") == (200, {"status": "ready", "away": []}), what="readiness")
        eventually_sync(lambda: _scanned(up) == ["AAPL"], what="the same pattern")


def _imported(up: Stack, folder: Path, name: str) -> None:
    refused = ("--refused", str(folder / "refused.csv"))
    told = rollo("import", str(folder / name), "--wait", *refused, "--data", str(up.data), within_s=120)
    assert told.returncode == 0, told.stderr


def _verified(up: Stack) -> int:
    """Differences between what is stored and what follows from it."""
    told = rollo("verify", "--json", "--data", str(up.data), within_s=120)
    assert told.returncode == 0, told.stdout + told.stderr
    return len(json.loads(told.stdout)["differences"])


def _listen(gateway: str, heard: list[str]) -> None:
    with httpx.stream("GET", f"{gateway}/api/patterns/stream", timeout=30, trust_env=False) as answer:
        for line in answer.iter_lines():
            heard.append(line)
            if "pattern.detected" in line:
                return


def _told_of_a_pattern(up: Stack) -> None:
    with httpx.Client(base_url=up.found.gateway_url, trust_env=False) as client:
        assert client.post("/api/patterns", json={"patterns": [EVENT]}).status_code == 202


def _scanned(up: Stack) -> list[str]:
    """Symbols of what the desk found; none while the answer is 503."""
    status, body = up.get("/api/patterns/scan?limit=1000&confidence_min=0")
    found = body["patterns"] if status == 200 else []
    return [item["symbol"] for item in found if item["source"] == EVENT["source"]]
