"""A soak of three seconds: the whole stack, the feed and the operations, without a word about speed."""

from io import StringIO

import pytest
from redis.asyncio import Redis
from rich.console import Console

from bench.cases import soak
from bench.operations import OWN, PIPELINE, Plan
from bench.progress import Show
from bench.soaking import Look, growth, operate
from bench.stage import open_stage
from rollotape.producers import feed


@pytest.mark.long
async def test_a_soak_ends_with_nothing_waiting_and_nothing_different(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROLLO_SOAK_S", "3")
    monkeypatch.setattr(feed, "HISTORY_SESSIONS", 60)
    said = Console(file=StringIO(), width=200)
    with open_stage(Show(said)) as stage:
        figures = {figure.name: figure.value async for figure in soak.run(stage)}
    assert isinstance(said.file, StringIO)
    assert " 0 differences: " in said.file.getvalue()
    assert all(name.startswith("soak.") for name in figures)
    assert {"soak.lag_max", "soak.drain_s"} < figures.keys()
    assert figures["soak.bars_per_second"] > 0
    assert figures["soak.redis_per_second"] > 0
    assert 0 < figures["soak.rss_mb"] < 500


async def test_operations_leave_nothing_behind(redis_client: "Redis", redis_url: str) -> None:
    outcome = await operate(Plan(redis_url, connections=2, rate=1_000, seconds=0.5))
    assert 0 < outcome.operations <= 500 + PIPELINE
    assert not [key async for key in redis_client.scan_iter(f"{OWN}*")]


def test_what_a_start_needs_is_no_growth() -> None:
    held = [10, 80, *[100] * 3, *[103] * 3]
    assert growth(Look(0, {"detector": h}, True) for h in held) == {"detector": 3.0}
    assert growth([Look(0, {"detector": 7}, True)]) == {"detector": 0.0}
