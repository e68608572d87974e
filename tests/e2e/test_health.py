"""The health of a stack that runs, as those see it who watch it over HTTP."""

from pathlib import Path
from typing import Any

from support.stacks import Stack, running_stack
from support.waiting import eventually_sync


def _parts(stack: Stack) -> tuple[int, dict[str, Any]]:
    status, said = stack.get("/api/pattern-discovery/health")
    return status, {c["name"]: c for c in said["components"]}


def _well(stack: Stack) -> bool:
    status, parts = _parts(stack)
    return status == 200 and all(c["status"] == "healthy" for n, c in parts.items() if n != "bars")


def test_every_part_of_a_stack_that_runs_is_seen_at_work(data_dir: Path) -> None:
    with running_stack(data_dir) as stack:
        eventually_sync(lambda: _well(stack), within_s=120, what="every part being healthy")
        _, parts = _parts(stack)
        assert parts["detector"]["figures"]["partitions"] == 16
        assert parts["bars"]["reason"] == "no bar has ever come"
        status, fresh = stack.get("/api/patterns/health")
        assert (status, fresh["model"]["tended"], fresh["reasons"]) == (
            200, True, ["bars: no bar has ever come"],
        )  # fmt: skip
        _, speed = stack.get("/api/pattern-discovery/performance")
        assert {(c["stream"], c["group"]): (c["lag"], c["missing"]) for c in speed["consumers"]} == {
            ("bars", "detector"): (0, 0), ("patterns", "detector"): (0, 0),
            ("signals", "detector"): (0, 0), ("updates", "cache-builder"): (0, 0),
                ("updates", "webhooks"): (0, 0),
        }  # fmt: skip
        routes = {r["route"] for r in speed["routes"]}
        assert "/api/pattern-discovery/health" in routes
        _, glance = stack.get("/api/dashboard/stats")
        assert (glance["database"]["state"], glance["cache"]["state"], glance["stale"]) == ("up", "up", False)
        assert glance["symbols"]["total"] > 100
