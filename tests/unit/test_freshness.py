"""Delays are counted in open market, and each part of the whole has a verdict of its own."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from api_gateway.components import Component, Consumer, Lasting, Look, components, overall
from rollotape import calendars
from rollotape.cache.patterns import Standing
from rollotape.cache.reader import Statistics
from rollotape.domain import freshness
from rollotape.domain.sessions import DAY_US
from rollotape.postgres.reports import Vitals

MINUTE = 60_000_000


def us(text: str) -> int:
    """An instant of UTC in microseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("first", "last", "minutes"),
    [
        ("2026-01-05 15:00", "2026-01-05 15:30", 30),  # within a session
        ("2026-01-05 14:00", "2026-01-05 15:30", 60),  # it opened at 14:30
        ("2026-01-05 20:30", "2026-01-06 15:00", 60),  # over a night
        ("2026-01-02 20:59", "2026-01-05 14:31", 2),  # over a weekend
        ("2025-12-24 17:30", "2025-12-26 14:40", 40),  # half a day, then Christmas
        ("2026-01-03 10:00", "2026-01-04 10:00", 0),  # a weekend
        ("2026-01-05 21:00", "2026-01-05 21:00", 0),
        ("2026-01-05 16:00", "2026-01-05 15:00", 0),  # bars of the future
        ("2026-01-05 14:30", "2026-01-09 21:00", 5 * 390),
    ],
)
def test_time_passes_only_while_the_market_is_open(first: str, last: str, minutes: int) -> None:
    assert freshness.open_us(calendars.sessions(), us(first), us(last)) == minutes * MINUTE


@pytest.mark.parametrize(
    ("timeframe", "newest", "now", "state"),
    [
        ("1m", "2026-01-05 15:30", "2026-01-05 15:45", "fresh"),
        ("1m", "2026-01-05 15:30", "2026-01-05 15:46", "fresh"),
        ("1m", "2026-01-05 15:30", "2026-01-05 15:47", "late"),
        ("1m", "2026-01-05 21:00", "2026-01-06 14:30", "fresh"),
        ("1m", "2026-01-05 21:00", "2026-01-13 15:00", "ended"),
        ("1d", "2026-01-02 21:00", "2026-01-05 20:59", "fresh"),
        ("1d", "2026-01-02 21:00", "2026-01-06 14:40", "fresh"),
        ("1d", "2026-01-02 21:00", "2026-01-06 14:46", "late"),
        ("1w", "2026-01-02 21:00", "2026-01-12 14:30", "fresh"),
        ("1w", "2026-01-02 21:00", "2026-01-12 15:30", "late"),
    ],
)
def test_a_timeframe_is_late_when_the_bar_after_its_newest_is(
    timeframe: str, newest: str, now: str, state: str
) -> None:
    found = freshness.newest(timeframe, us(newest), us(now), calendars.sessions())
    assert found.state == state


def test_the_market_is_where_the_calendar_has_it() -> None:
    sessions = calendars.sessions()
    at_work = freshness.market(sessions, us("2026-01-05 14:30"))
    assert (at_work.is_open, at_work.closes_us) == (True, us("2026-01-05 21:00"))
    over = freshness.market(sessions, us("2026-01-05 21:00"))
    assert (over.is_open, over.opened_us) == (False, us("2026-01-05 14:30"))
    assert over.next_open_us == us("2026-01-06 14:30")
    before = freshness.market(sessions, 0 - 30 * 366 * DAY_US)
    assert (before.is_open, before.opened_us, before.closes_us) == (False, None, None)
    after = freshness.market(sessions, us("2080-01-01 00:00"))
    assert (after.is_open, after.next_open_us) == (False, None)


# ---- verdicts

VITALS = Vitals(
    answer_s=0.001, version="18.4", most_connections=100, connections=9, schema="x", partitions=16,
    epoch="e", oldest_unsaid_s=None, workers={"detector": 3, "rs-worker": 2, "cache-builder": 2},
    held={"detector": 16, "cache-builder": 1}, newest={},
)  # fmt: skip
LASTING = Lasting(
    answer_s=0.001,
    info={"maxmemory_policy": "noeviction", "used_memory": 7},
    consumers=[Consumer("bars", "detector", 5, 1, 0.5, 0)],
    facts=3,
    last_fact_at=None,
    model=Standing("sound", None, "e", 4, 2),
    tended=True,
    use=Statistics(2, 4, 0, 0, None, 0, None, 7, "noeviction", {}),
)
FRESH = freshness.Newest("1m", 0, 0, 1)
WELL = Look(
    at=datetime(2026, 1, 5, tzinfo=UTC),
    postgres=VITALS,
    lasting=LASTING,
    answers={"memory_bytes": 1},
    newest=[FRESH],
    market=freshness.Market(True, None, None, None),
)


def _judged(**changes: Any) -> dict[str, Component]:
    return {c.name: c for c in components(replace(WELL, **changes), shares_answers=True)}


def test_when_all_is_well_everything_is_healthy() -> None:
    judged = _judged()
    assert {c.status for c in judged.values()} == {"healthy"}
    assert {c.reason for c in judged.values()} == {None}
    assert overall(list(judged.values())) == "healthy"


LATE = freshness.Newest("1m", 0, 10, 1)
ENDED = freshness.Newest("1d", 0, 10**15, 1)
WRONG: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "postgres away": ({"postgres": None, "newest": None}, "postgresql", "unhealthy", "unhealthy"),
    "redis away": ({"lasting": None}, "redis-streams", "unhealthy", "unhealthy"),
    "cache away": ({"answers": None}, "redis-answers", "degraded", "degraded"),
    "evicting": (
        {"lasting": replace(LASTING, info={"maxmemory_policy": "allkeys-lru"})},
        "redis-streams", "degraded", "degraded",
    ),
    "slow": ({"postgres": replace(VITALS, answer_s=1.5)}, "postgresql", "degraded", "degraded"),
    "unsaid": ({"postgres": replace(VITALS, oldest_unsaid_s=31.0)}, "postgresql", "degraded", "degraded"),
    "model broken": (
        {"lasting": replace(LASTING, model=Standing("broken", None, "", 0, 0))},
        "read-model", "unhealthy", "unhealthy",
    ),
    "model alone": ({"lasting": replace(LASTING, tended=False)}, "read-model", "degraded", "degraded"),
    "stuck": (
        {"lasting": replace(LASTING, consumers=[Consumer("bars", "detector", 0, 1, 61.0, 0)])},
        "delivery", "degraded", "degraded",
    ),
    "no group": (
        {"lasting": replace(LASTING, consumers=[Consumer("bars", "detector", 9, 0, None, 2)])},
        "delivery", "degraded", "degraded",
    ),
    "no detector": (
        {"postgres": replace(VITALS, workers={"rs-worker": 1, "cache-builder": 1})},
        "detector", "unhealthy", "degraded",
    ),
    "half the partitions": (
        {"postgres": replace(VITALS, held={"detector": 8})}, "detector", "degraded", "degraded",
    ),
    "no rs-worker": (
        {"postgres": replace(VITALS, workers={"detector": 1, "cache-builder": 1})},
        "rs-worker", "unhealthy", "degraded",
    ),
    "late": ({"newest": [LATE, ENDED]}, "bars", "degraded", "degraded"),
    "ended": ({"newest": [ENDED]}, "bars", "degraded", "degraded"),
    "none ever": ({"newest": []}, "bars", "degraded", "degraded"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_each_part_is_judged_alone_and_the_whole_by_what_it_cannot_do_without(case: str) -> None:
    changes, name, status, whole = WRONG[case]
    judged = _judged(**changes)
    assert (judged[name].status, overall(list(judged.values()))) == (status, whole)
    assert judged[name].reason


def test_a_timeframe_that_nobody_sends_any_more_is_no_delay_beside_one_that_comes() -> None:
    assert _judged(newest=[FRESH, ENDED])["bars"].status == "healthy"


def test_a_lag_that_redis_cannot_tell_is_null_and_not_zero() -> None:
    lost = replace(LASTING, consumers=[*LASTING.consumers, Consumer("updates", "x", None, 0, None, 0)])
    assert _judged()["delivery"].figures["lag"] == 5
    assert _judged(lasting=lost)["delivery"].figures["lag"] is None


def test_without_a_redis_for_answers_nothing_is_wrong() -> None:
    [found] = [
        c for c in components(replace(WELL, answers=None), shares_answers=False) if "answers" in c.name
    ]
    assert found.status == "healthy"
