"""A whole stack: a trade that is written is soon in every answer, and default questions wait for nobody."""

import time
from collections.abc import Iterator
from statistics import median
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis

from rollotape import analytics
from support import folders
from support.databases import execute, fetch
from support.stacks import Stack, running_stack
from support.waiting import eventually_sync

PROBES = 5
_TRADE = """
INSERT INTO signals (id, origin, source, symbol, timeframe, pattern_type, direction, status,
                     generated_at, changed_at, entry_date, entry_price, stop, exit_date, exit_price,
                     sessions_held, realized_r)
VALUES ('{id}', 'paper', 'test', 'AAPL', '1d', 'SPRING', 'long', 'CLOSED',
        now() - interval '1 day', now(), now() - interval '1 day', 100, 90, now() - interval '1 minute', 110,
        1, 1)
"""
_STANDING = (
    "SELECT (SELECT count(*) FROM unrolled_days), generation FROM generations WHERE dataset = 'analytics'"
)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with folders.open_folder() as folder, running_stack(folder / ".rollo") as running:
        yield running


@pytest.fixture(scope="module")
def gateway(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.found.gateway_url, trust_env=False, timeout=30) as client:
        yield client


def _count(gateway: httpx.Client) -> int:
    said = gateway.get("/api/analytics/pattern-performance?days=7").json()
    return int(said["total"]["trade_count"])


def _kept(gateway: httpx.Client) -> Any:
    return gateway.get("/api/patterns/stats").json()["answers"]


def _warm(stack: Stack) -> int:
    """Answers of the present generation in Redis, once every change has been rolled up."""
    [(waiting, generation)] = fetch(stack.found.database_url, _STANDING)
    with redis.Redis.from_url(stack.found.cache_url) as client:
        return 0 if waiting else len(list(client.scan_iter(f"analytics:v{generation}:*", count=1_000)))


def test_default_questions_are_answered_before_anybody_asks(stack: Stack, gateway: httpx.Client) -> None:
    """First of all: nobody has asked this gateway anything."""
    execute(stack.found.database_url, _TRADE.format(id=uuid4()))
    eventually_sync(lambda: _warm(stack) == len(analytics.defaults()), what="default answers in Redis")

    for path in ("pattern-performance?days=90", "sector-breakdown", "trend/UTAD", "trades?days=all"):
        assert gateway.get(f"/api/analytics/{path}").status_code == 200

    assert (_kept(gateway)["misses"], _kept(gateway)["hits"]) == (0, 4)


def test_a_trade_is_in_every_answer_within_two_seconds(stack: Stack, gateway: httpx.Client) -> None:
    """In the middle of several tries: on a machine that does much else one of them may take longer."""
    ages = []
    for _ in range(PROBES):
        before = _count(gateway)
        execute(stack.found.database_url, _TRADE.format(id=uuid4()))
        written = time.monotonic()
        while _count(gateway) == before:
            assert time.monotonic() < written + 20
            time.sleep(0.01)
        ages.append(time.monotonic() - written)

    assert median(ages) < 2.0
