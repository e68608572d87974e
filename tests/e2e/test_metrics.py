"""Metrics of a stack that runs: what rules and dashboards ask for is there, and Prometheus answers them."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from prometheus_client.parser import text_string_to_metric_families

from rollotape.embedded.server import free_port
from rollotape.events import SystemHealth
from support import folders, promql
from support.promql import Asked
from support.stacks import Stack, rollo, running_stack
from support.waiting import eventually_sync

SERVICES = ("detector", "rs-worker", "cache-builder", "api-gateway")
DAYS = 300
ANSWERED = {"pipeline": 20, "services": 15, "gateway": 8, "market": 8}
"""At least so many expressions of each dashboard have something to show, with nothing going wrong."""
ACCOUNTED = "rollo_accounting_rows_total"
_OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}

Series = dict[str, set[frozenset[str]]]
"""By name, the sets of labels that were seen."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """With some bars, some refused ones, and somebody who asks."""
    with folders.open_folder() as folder:
        (folder / "bars.csv").write_text(_bars())
        with running_stack(folder / ".rollo", ROLLO_VERIFY_EVERY_S="2") as running:
            data = ("--data", str(folder / ".rollo"))
            done = rollo("import", str(folder / "bars.csv"), "--wait", *data, within_s=180)
            assert done.returncode == 0, done.stdout + done.stderr
            with redis.Redis.from_url(running.found.redis_url) as client:
                client.xadd("bars.0", {"json": b"nothing"})
                client.xadd("patterns.0", {"json": json.dumps(_pattern())})
            eventually_sync(lambda: _asked(running), within_s=60, what="a pattern in scans")
            yield running


def _bars() -> str:
    lines = ["symbol,timeframe,ts,open,high,low,close,volume"]
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    last: list[datetime] = []
    while len(last) < DAYS:
        day -= timedelta(days=1)
        if day.weekday() < 5:
            last.append(day)
    for symbol in ("SPY", "AAPL", "MSFT"):
        for n, when in enumerate(reversed(last)):
            price = 100 + n % 17
            numbers = (price, price + 2, price - 2, price + 1, 1_000 + n % 7)
            lines.append(f"{symbol},1d,{when:%Y-%m-%dT%H:%M:%SZ},{','.join(map(str, numbers))}")
    return "\n".join(lines) + "\n"


def _pattern() -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "event": "detected",
        "source": "test",
        "symbol": "AAPL",
        "timeframe": "1d",
        "pattern_type": "SPRING",
        "confidence": 0.9,
        "detected_at": (now - timedelta(hours=1)).isoformat(),
        "expires_at": (now + timedelta(days=9)).isoformat(),
    }


def _asked(running: Stack) -> bool:
    for path in ("/api/analytics/pattern-performance", "/api/symbols", "/api/pattern-discovery/health"):
        running.get(path)
    status, scan = running.get("/api/patterns/scan")
    return status == 200 and bool(scan["data"] if "data" in scan else scan.get("patterns"))


def _exposed(running: Stack) -> Series:
    """Of all services together; a family without any series is there, too."""
    found: Series = {}
    for service in running.found.services.values():
        with _OPEN.open(f"{service.ops_url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for name in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(
                family.type, [""]
            ):
                found.setdefault(family.name + name, set())
            for sample in family.samples:
                found.setdefault(sample.name, set()).add(frozenset(sample.labels))
    return found


ASKED = [*promql.of_rules(), *promql.of_dashboards()]


def test_every_expression_names_what_the_services_expose(stack: Stack) -> None:
    exposed = _exposed(stack)
    for asked in ASKED:
        for selector in promql.selectors(asked.expression):
            if selector.name == "ALERTS" or selector.name in promql.recorded():
                continue
            assert selector.name in exposed, f"{asked.where}: {selector.name}"
            for labels in exposed[selector.name]:
                assert selector.labels <= labels | promql.OF_TARGETS, f"{asked.where}: {selector}"


def test_most_of_what_is_asked_for_has_values(stack: Stack) -> None:
    asked = {s.name for asked in ASKED for s in promql.selectors(asked.expression)}

    def shown() -> bool:
        exposed = _exposed(stack)
        known = asked & exposed.keys()
        return len([name for name in known if exposed[name]]) > len(known) * 4 / 5

    eventually_sync(shown, within_s=60, what="four of five metrics having values")


def _health(stack: Stack) -> list[tuple[str | None, str]]:
    """What was told of the health of parts."""
    with redis.Redis.from_url(stack.found.redis_url) as client:
        entries: Any = client.xrange("updates")
    told = [json.loads(fields[b"json"]) for _, fields in entries]
    facts = [SystemHealth.model_validate(fact) for fact in told if fact["type"] == "system.health"]
    return [(fact.component, fact.status) for fact in facts]


def test_a_part_that_stands_still_is_told_of_and_that_it_goes_on(stack: Stack) -> None:
    builder = stack.found.services["cache-builder-1"].pid
    before = len(_health(stack))
    os.kill(builder, signal.SIGSTOP)
    try:
        eventually_sync(
            lambda: ("read-model", "degraded") in _health(stack)[before:],
            within_s=60, what="a read model that nobody tends",
        )  # fmt: skip
    finally:
        os.kill(builder, signal.SIGCONT)
    eventually_sync(
        lambda: [told for told in _health(stack)[before:] if told[0] == "read-model"][-1][1] == "up",
        within_s=60, what="a read model that is tended again",
    )  # fmt: skip


@contextmanager
def _prometheus(stack: Stack, folder: Path) -> Iterator[str]:
    """A real one, with our rules, that scrapes this stack every second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus here (Debian: apt install prometheus)")
    told = yaml.safe_load((promql.PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    told["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    told["rule_files"] = [str(promql.PROMETHEUS / name) for name in told["rule_files"]]
    told["scrape_configs"] = [
        {"job_name": name, "static_configs": [{"targets": [url.removeprefix("http://") for url in urls]}]}
        for name, urls in _targets(stack).items()
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(told))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
             f"--web.listen-address={address}"],
            stdout=log, stderr=log, env={**os.environ, "no_proxy": "*"},
        )  # fmt: skip
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


def _targets(stack: Stack) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, service in stack.found.services.items():
        found.setdefault(re.sub(r"-\d+$", "", name), []).append(service.ops_url)
    assert found.keys() == set(SERVICES)
    return found


def _ask(url: str, path: str, **said: str) -> Any:
    with _OPEN.open(f"{url}/api/v1/{path}?{urllib.parse.urlencode(said)}", timeout=10) as answer:
        told = json.load(answer)
    assert told["status"] == "success", told
    return told["data"]


def _result(url: str, expression: str) -> list[Any]:
    found: list[Any] = _ask(url, "query", query=expression)["result"]
    return found


def test_a_real_prometheus_answers_every_dashboard_and_no_alert_stays(stack: Stack, tmp_path: Path) -> None:
    with _prometheus(stack, tmp_path) as url:

        def scraped() -> bool:
            try:
                _asked(stack)
                return len(_result(url, "up == 1")) == 4 and bool(_result(url, "rollo:bars_input:rate5m"))
            except OSError:
                return False

        eventually_sync(scraped, within_s=60, what="every service being scraped")
        eventually_sync(
            lambda: bool(_result(url, f"{ACCOUNTED} > 0 and on () rollo_verify_checked_total > 0")),
            within_s=240, what="rows that were accounted for and verified",
        )  # fmt: skip
        rules = [rule for group in _ask(url, "rules")["groups"] for rule in group["rules"]]
        assert len(rules) == len(list(promql.rules()))
        eventually_sync(lambda: _all_well(url), within_s=30, what="rules that were evaluated")

        silent = [asked for asked in promql.of_dashboards() if not _result(url, asked.expression)]
        print("without an answer:", *(asked.where for asked in silent), sep="\n  ")
        counts = Counter(_board(asked) for asked in promql.of_dashboards())
        counts.subtract(map(_board, silent))
        print("answered:", dict(counts))
        assert all(counts[name] >= least for name, least in ANSWERED.items()), counts

        assert _result(url, 'sum(rollo_accounting_rows_total{found="missing"})')[0]["value"][1] == "0"
        assert _result(url, "sum(rollo_verify_differing_total)")[0]["value"][1] == "0"
        [letters] = _result(url, "max by (reason) (rollo_dead_letters)")
        assert (letters["metric"], letters["value"][1]) == ({"reason": "json"}, "1")
        eventually_sync(
            lambda: _alerts(url) <= {"DeadLetters", "NoBarsWhileMarketOpen"},
            within_s=30, what="no other alert pending or firing",
        )  # fmt: skip


def _board(asked: Asked) -> str:
    return asked.where.partition(":")[0]


def _alerts(url: str) -> set[str]:
    return {alert["labels"]["alertname"] for alert in _ask(url, "alerts")["alerts"]}


def _all_well(url: str) -> bool:
    rules = [rule for group in _ask(url, "rules")["groups"] for rule in group["rules"]]
    assert not [rule for rule in rules if rule["health"] == "err"], rules
    return all(rule["health"] == "ok" for rule in rules)
