"""What a cache-builder says of the whole: on real servers, and when they are away."""

import math
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.exceptions import RedisError

from rollotape import calendars, sampling
from rollotape.errors import Unavailable
from rollotape.postgres.pool import open_pool
from rollotape.sampling import Sampling
from rollotape.settings import Settings
from rollotape.streams import delivery
from rollotape.streams.producer import Producer
from rollotape.survey import Survey, _Waiting
from support.commands import environment_of, rollo


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator["asyncpg.Pool[Any]"]:
    async with await open_pool(settings, service="test", raw_times=True, counted_as="surveyed") as opened:
        yield opened


@pytest.fixture
async def nobody() -> AsyncIterator[Redis]:
    async with Redis.from_url("redis://127.0.0.1:1", retry=None) as client:
        yield client


def survey_of(pool: "asyncpg.Pool[Any]", redis: Redis, cache: Redis | None = None) -> Survey:
    return Survey(pool, redis, cache, 16, calendars.sessions)


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_it_is_said_where_every_group_stands(pool: "asyncpg.Pool[Any]", redis_client: Redis) -> None:
    await Producer(redis_client).send_many([("bars.0", b"{}")] * 5 + [("bars.1", b"{}")] * 3)
    await redis_client.xgroup_create("bars.0", "detector", id="0")
    await redis_client.xreadgroup("detector", "bars.0", {"bars.0": ">"}, count=2)
    await survey_of(pool, redis_client).ask_streams()
    of_group = {"stream": "bars.0", "group": "detector"}
    assert value("rollo_stream_lag_entries", **of_group) == 3
    assert value("rollo_stream_pending_entries", **of_group) == 2
    assert 0 <= (value("rollo_stream_oldest_pending_seconds", **of_group) or 0) < 60
    assert value("rollo_stream_lag_known", **of_group) == 1
    assert value("rollo_stream_length_entries", stream="bars.0") == 5
    assert value("rollo_stream_lag_entries", stream="bars.1", group="detector") == 3, "nobody has read"


async def test_a_lag_that_redis_cannot_tell_is_said_to_be_unknown(
    pool: "asyncpg.Pool[Any]", redis_client: Redis
) -> None:
    ids = await Producer(redis_client).send_many([("bars.0", b"{}")] * 5)
    await redis_client.xgroup_create("bars.0", "detector", id=ids[1])
    await redis_client.xdel("bars.0", ids[3])
    await survey_of(pool, redis_client).ask_streams()
    assert value("rollo_stream_lag_known", stream="bars.0", group="detector") == 0
    assert value("rollo_stream_lag_entries", stream="bars.0", group="detector") == 4


async def test_what_cannot_be_asked_is_not_said(
    pool: "asyncpg.Pool[Any]", redis_client: Redis, nobody: Redis
) -> None:
    await Producer(redis_client).send_many([("bars.0", b"{}")])
    sound = survey_of(pool, redis_client, redis_client)
    for job in (sound.ask_streams, sound.ask_redis, sound.ask_postgres):
        await job()
    assert value("rollo_stream_length_entries", stream="bars.0") == 1
    assert value("rollo_redis_may_evict", role="streams") == 0
    assert (value("rollo_redis_memory_bytes", role="streams") or 0) > 0
    assert [value("rollo_server_up", role=role) for role in ("streams", "cache", "postgres")] == [1, 1, 1]

    blind = survey_of(pool, nobody)
    for job in (blind.ask_streams, blind.ask_redis):
        with pytest.raises(RedisError):
            await job()
    await pool.close()
    with pytest.raises(Unavailable):
        await blind.ask_postgres()
    assert value("rollo_stream_length_entries", stream="bars.0") is None
    assert value("rollo_redis_memory_bytes", role="streams") is None
    assert math.isnan(value("rollo_outbox_oldest_seconds") or 0)
    assert [value("rollo_server_up", role=role) for role in ("streams", "cache", "postgres")] == [0, 1, 0]


async def test_it_is_said_what_waits_in_postgresql(pool: "asyncpg.Pool[Any]", redis_client: Redis) -> None:
    await pool.execute(
        "INSERT INTO leases (service, partition, owner, expires_at) SELECT 'detector', p, 'a' || p % 2,"
        " now() + interval '1 minute' FROM generate_series(0, 11) p"
    )
    await pool.execute(
        "INSERT INTO dead_letters (stream, entry_id, row, sha256, service, fields, reasons, payload,"
        " arrived_at) SELECT 'bars.0', n || '-0', 0, '', 'detector', ARRAY[f], '{r}', '', now()"
        " FROM unnest('{close,frame.close,nonsense,json}'::text[]) WITH ORDINALITY AS t(f, n)"
    )
    await pool.execute(
        "INSERT INTO dirty_symbols (symbol, timeframe, first_ts) SELECT 'A', t, now()"
        " FROM unnest('{1d,1m}'::text[]) t"
    )
    await pool.execute("INSERT INTO outbox (messages, created_at) VALUES ('[]', now() - interval '9 s')")
    await pool.execute(
        "INSERT INTO gaps (symbol, timeframe, first_ts, last_ts, bars, kind, answer, next_ask_at)"
        " SELECT n::text, '1m', now() - days * interval '1 day', now() - days * interval '1 day', n, kind,"
        " answer, now() FROM unnest('{gap,gap,gap,gap,pause}'::text[], '{1,2,9,1,9}'::int[],"
        " '{NULL,sent,unknown,nothing,NULL}'::text[]) WITH ORDINALITY AS t(kind, days, answer, n)"
    )
    await survey_of(pool, redis_client).ask_postgres()
    assert value("rollo_leases_owned_partitions", service="detector") == 12
    assert value("rollo_leases_owners", service="detector") == 2
    assert value("rollo_installation_partitions") == 16
    reasons = {
        r: value("rollo_dead_letters", service="detector", reason=r) for r in ("close", "json", "other")
    }
    assert reasons == {"close": 2, "json": 1, "other": 1}
    assert value("rollo_strength_due", what="marks") == 1
    states = ("recent", "old", "nothing", "pause")
    assert [value("rollo_gaps", timeframe="1m", state=s) for s in states] == [2, 1, 1, 1]
    assert [value("rollo_gaps_missing_bars", timeframe="1m", state=s) for s in states] == [3, 3, 4, 5]
    assert 9 <= (value("rollo_outbox_oldest_seconds") or 0) < 60
    assert (value("rollo_postgres_bytes") or 0) > 1e6
    assert value("rollo_pool_connections", pool="surveyed", state="used") is not None

    await pool.execute("DELETE FROM dead_letters; DELETE FROM gaps WHERE kind = 'pause'")
    await survey_of(pool, redis_client).ask_postgres()
    assert value("rollo_dead_letters", service="detector", reason="close") is None
    assert value("rollo_gaps", timeframe="1m", state="pause") is None


def test_the_oldest_mark_is_as_old_as_it_has_been_seen() -> None:
    now = [100.0]
    waiting = _Waiting(lambda: now[0])
    ages = []
    for later, oldest in ((0, None), (1, 5), (7, 5), (2, 5), (1, 6), (1, 6), (9, None), (1, 6)):
        now[0] += later
        ages.append(waiting.age_s(oldest))
    assert ages == [0, 0, 7, 9, 0, 1, 0, 0]


async def test_bars_are_overdue_in_open_market_alone(
    pool: "asyncpg.Pool[Any]", redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(now: str, newest: str) -> None:
        monkeypatch.setattr("rollotape.survey.time.time_ns", lambda: _us(now) * 1_000)
        await pool.execute("DELETE FROM newest_bars")
        await pool.execute("INSERT INTO newest_bars (timeframe, end_ts) VALUES ('1m', $1)", _us(newest))
        await survey_of(pool, redis_client).ask_postgres()

    def overdue() -> float | None:
        return value("rollo_bars_overdue_seconds", timeframe="1m")

    await look("2026-11-20T16:00:00+00:00", "2026-11-20T15:50:00+00:00")
    assert (value("rollo_market_open"), overdue()) == (1, 0)
    await look("2026-11-20T16:00:00+00:00", "2026-11-20T15:34:00+00:00")
    assert (value("rollo_market_open"), overdue()) == (1, 600)
    await look("2026-11-22T16:00:00+00:00", "2026-11-20T21:00:00+00:00")
    assert (value("rollo_market_open"), overdue()) == (0, 0)
    await look("2026-11-20T16:00:00+00:00", "2026-10-20T16:00:00+00:00")
    assert overdue() is None, "nobody sends this timeframe any more"


def _us(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * 1_000_000


# ---- delivery


def test_a_stream_that_was_given_up_is_somebody_else_s_to_report() -> None:
    def standing(stream: str) -> delivery.Standing:
        return delivery.Standing(stream, 9, 3, lag_known=True, pending=2, oldest_pending_s=1.5)

    def said(stream: str) -> float | None:
        return value("rollo_stream_lag_entries", stream=stream, group="test")

    delivery.export([standing("a"), standing("b")], "test")
    assert (said("a"), said("b")) == (3, 3)
    assert value("rollo_stream_oldest_pending_seconds", stream="a", group="test") == 1.5
    delivery.export([standing("b")], "test")
    assert (said("a"), said("b")) == (None, 3)
    delivery.export([], "test")
    assert said("b") is None


# ---- verify


def verified(what: str) -> float:
    return value("rollo_verify_checked_total", what=what) or 0


def differing() -> float:
    return value("rollo_verify_differing_total") or 0


def failed() -> float:
    return value("rollo_verify_runs_total", outcome="failed") or 0


async def test_a_sample_is_verified_and_what_differs_is_counted(
    settings: Settings,
    pool: "asyncpg.Pool[Any]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once = sampling._AT_LEISURE.replace("os.nice(10); ", "")  # a busy machine has no leisure
    monkeypatch.setattr(sampling, "_AT_LEISURE", at_once)
    environment = environment_of(settings)
    for name, said in environment.items():
        if name.startswith("ROLLO_"):
            monkeypatch.setenv(name, said)
    for symbol in ("AAPL", "MSFT"):
        await pool.execute("INSERT INTO symbol_state (symbol, version, nonce) VALUES ($1, 1, 1)", symbol)
    rollo(environment, "verify", where=tmp_path)
    verify, checked, differed, wrong = Sampling(2), verified("symbols"), differing(), failed()
    await verify.turn()
    assert (verified("symbols") - checked, differing() - differed) == (2, 0)

    await pool.execute(
        "INSERT INTO vsa_events (symbol, timeframe, rule_set, kind, event_ts, confirmed_ts, knowable_at,"
        " direction) VALUES ('AAPL', '1d', 'classic', 'no_demand', now(), now(), now(), 'bearish')"
    )
    await verify.turn()
    assert differing() - differed == 1
    assert failed() == wrong


@pytest.mark.parametrize(
    "spoil",
    [
        lambda patch: patch.setenv("ROLLO_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none"),
        lambda patch: patch.setattr(sampling, "PATIENCE_S", 0.01),
        lambda patch: patch.setattr(sampling, "_AT_LEISURE", "print('{}')"),
    ],
    ids=["no database", "no time", "no report"],
)
async def test_what_goes_wrong_with_verifying_is_no_difference(
    spoil: Callable[[pytest.MonkeyPatch], None], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLO_DATABASE_URL", settings.database_url)
    spoil(monkeypatch)
    differed, wrong = differing(), failed()
    await Sampling(1).turn()
    assert (differing() - differed, failed() - wrong) == (0, 1)
