"""Rules and dashboards, as far as they can be judged without Prometheus; with promtool, wholly."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics import MetricWrapperBase

from rollotape import metrics
from rollotape.survey import reason_of
from support import promql
from support.promql import PROMETHEUS, Asked

ROOT = Path(__file__).parents[2]
ASKED = [*promql.of_rules(), *promql.of_dashboards()]
NOT_OURS = {
    "ALERTS": {"alertname", "alertstate", "severity"},
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
}
"""Of Prometheus itself, and of the library that counts."""
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
WANTED = {
    "StreamLagHigh", "StreamLagUnknown", "OldestPending", "DeadLetters", "NoBarsWhileMarketOpen",
    "CacheHitRatioLow", "ApiP95High", "RsStale", "VerifyDiffers", "StreamRedisEvicting", "RedisMemoryHigh",
    "PostgresPoolExhausted",
}  # fmt: skip


def exposed() -> dict[str, set[str]]:
    """Series of the catalogue, each with its labels."""
    found = dict(NOT_OURS)
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            described = next(iter(metric.describe()))
            for suffix in SUFFIXES[described.type]:
                labels = set(metric._labelnames) | ({"le"} if suffix == "_bucket" else set())
                found[described.name + suffix] = labels
    return found


def labels_of(name: str) -> set[str]:
    """Those that a series has, be it ours or recorded by a rule."""
    if name in (recorded := promql.recorded()):
        return promql.groupings(recorded[name]) | promql.made(recorded[name])
    return exposed()[name]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.where)
def test_every_expression_names_what_there_is(asked: Asked) -> None:
    named = promql.selectors(asked.expression)
    assert named
    known = promql.made(asked.expression) | promql.OF_TARGETS
    for selector in named:
        assert selector.name in exposed().keys() | promql.recorded().keys(), selector.name
        assert selector.labels <= labels_of(selector.name) | promql.OF_TARGETS
        known |= labels_of(selector.name)
    assert promql.groupings(asked.expression) <= known


def test_a_wrong_name_would_be_seen() -> None:
    expression = 'max by (kinds) (rate(rollo_bars_inputs_total{outcome="x", which!="y"}[5m])) > 1e3'
    assert promql.selectors(expression) == {("rollo_bars_inputs_total", frozenset({"outcome", "which"}))}
    assert promql.groupings(expression) == {"kinds"}


def test_everything_that_wakes_somebody_says_what_to_do() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    headings = re.findall(r"(?m)^## (\w+)$", runbook)
    alerts = promql.alerts()
    assert alerts.keys() >= WANTED
    assert [name for name in headings if name[0].isupper() and name in alerts] == list(alerts), "the order"
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
        assert rule["labels"]["severity"] in {"page", "ticket"}
        [told] = re.findall(rf"(?ms)^## {name}$(.*?)(?=^## |\Z)", runbook)
        assert all(f"**{part}.**" in told for part in ("It means", "Look", "Do")), name


def test_every_alert_is_tried_quiet_firing_and_clear_again() -> None:
    tried: dict[str, list[bool]] = {}
    for one in yaml.safe_load((PROMETHEUS / "rules.test.yml").read_text("utf-8"))["tests"]:
        for look in one["alert_rule_test"]:
            tried.setdefault(look["alertname"], []).append(bool(look.get("exp_alerts")))
    assert tried.keys() == promql.alerts().keys()
    for name, fired in tried.items():
        assert fired[-2:] == [True, False], f"{name} is not seen to clear"
        assert fired[0] is False, f"{name} is not seen to be quiet"


def promtool(*arguments: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool here (Debian: apt install prometheus)")
    done = subprocess.run([program, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_configuration() -> None:
    promtool("check", "config", "prometheus.yml")


def test_prometheus_finds_that_every_alert_fires_and_clears() -> None:
    promtool("test", "rules", "rules.test.yml")


def test_every_replica_of_every_service_is_scraped() -> None:
    read: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    asked = {
        job["job_name"]: job["dns_sd_configs"][0] for job in read["scrape_configs"] if "dns_sd_configs" in job
    }
    assert asked.keys() == {"detector", "rs-worker", "cache-builder", "api-gateway"}
    for name, how in asked.items():
        assert (how["names"], how["type"], how["port"]) == ([name], "A", 9000)
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    assert "ROLLO_OPS_PORT=9000" in dockerfile


def test_the_dashboards_are_four_and_lead_to_each_other() -> None:
    boards = promql.dashboards()
    assert boards.keys() == {"gateway", "market", "pipeline", "services"}
    for name, board in boards.items():
        assert board["uid"] == f"rollo-{name}"
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        assert {link["url"] for link in board["links"]} == {
            f"/d/rollo-{other}" for other in boards if other != name
        }
        places = [panel["gridPos"] for panel in board["panels"]]
        cells = [
            (x, y)
            for p in places
            for x in range(p["x"], p["x"] + p["w"])
            for y in range(p["y"], p["y"] + p["h"])
        ]
        assert len(set(cells)) == len(cells), "panels lie over each other"
        assert max(x for x, _ in cells) < 24
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                assert target["datasource"]["uid"] == "prometheus"


def test_many_values_are_observed_as_if_one_by_one() -> None:
    registry = CollectorRegistry()
    many, one = (Histogram(f"h{n}", "h", buckets=(1, 2, 5), registry=registry) for n in range(2))
    values = np.array([0.0, 1.0, 1.5, 2.0, 4.9, 5.0, 5.1, 100.0])
    metrics.observe_all(many, values)
    for value in values.tolist():
        one.observe(value)
    [[first, second]] = [
        [[(s.name[2:], s.labels, s.value) for s in family.samples if not s.name.endswith("_created")]
         for family in registry.collect()]
    ]  # fmt: skip
    assert first == second


def test_a_label_never_is_what_a_sender_made_up() -> None:
    assert reason_of("close") == reason_of("frame.close") == "close"
    assert reason_of("defect") == "defect"
    assert reason_of("x" * 60) == reason_of("frame.AAPL") == reason_of("") == "other"
