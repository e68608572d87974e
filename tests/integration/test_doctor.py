"""Misconfigurations planted on real servers: the doctor names each, says what to do, and changes nothing."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import orjson
import pytest
from redis.asyncio import Redis

from rollotape.cache import scripts
from rollotape.cache.patterns import PatternModel
from rollotape.diagnosis import Finding, Level, Place, diagnose
from rollotape.observer import observe
from rollotape.postgres import migrate
from rollotape.postgres.active import ActivePatterns
from rollotape.postgres.pool import open_pool
from rollotape.settings import Settings
from rollotape.streams.partitions import stream_name
from support.commands import environment_of, rollo
from support.databases import execute

Plant = Callable[[Settings, Redis], Awaitable[Settings]]
NOWHERE = "127.0.0.1:1"


async def troubles(settings: Settings) -> dict[str, Finding]:
    """What is not in order, by check, besides that no service runs."""
    place = Place(os.environ, migrate.revisions())
    found = diagnose(await observe(settings), settings, place)
    return {
        f.check: f for f in found if f.level != Level.OK and f.check not in ("services", "postgres fsync")
    }


@pytest.fixture
async def sound(settings: Settings, redis_client: Redis) -> AsyncIterator[Settings]:
    """A stack without a trouble, apart from its services."""
    async with await open_pool(settings, service="test", raw_times=True, size=1) as pool:
        await PatternModel(ActivePatterns(pool), redis_client).expire()
        await PatternModel(ActivePatterns(pool), redis_client).tend()
    kept = await redis_client.config_get("appendonly")
    assert kept["appendonly"]
    try:
        yield settings
    finally:
        await redis_client.config_set("appendonly", kept["appendonly"])


async def an_evicting_redis(settings: Settings, redis: Redis) -> Settings:
    return settings.model_copy(update={"redis_url": settings.cache_url, "cache_url": settings.redis_url})


async def no_append_only_file(settings: Settings, redis: Redis) -> Settings:
    await redis.config_set("appendonly", "no")
    return settings


async def one_redis_for_both(settings: Settings, redis: Redis) -> Settings:
    return settings.model_copy(update={"cache_url": settings.redis_url})


async def a_redis_that_is_away(settings: Settings, redis: Redis) -> Settings:
    return settings.model_copy(update={"redis_url": f"redis://:secret@{NOWHERE}/0"})


async def a_password_that_is_wrong(settings: Settings, redis: Redis) -> Settings:
    where = settings.redis_url.rpartition("@")[2]
    return settings.model_copy(update={"redis_url": f"redis://:wrong@{where}"})


async def a_postgres_that_is_away(settings: Settings, redis: Redis) -> Settings:
    return settings.model_copy(update={"database_url": f"postgresql://rollo:secret@{NOWHERE}/rollo"})


async def a_database_that_is_not_there(settings: Settings, redis: Redis) -> Settings:
    return settings.model_copy(update={"database_url": settings.database_url.rpartition("/")[0] + "/nosuch"})


async def an_old_schema(settings: Settings, redis: Redis) -> Settings:
    migrate.downgrade(settings.database_url, to=migrate.revisions()[1])
    return settings


async def a_schema_of_tomorrow(settings: Settings, redis: Redis) -> Settings:
    execute(settings.database_url, "UPDATE alembic_version SET version_num = '9999_far'")
    return settings


async def no_schema(settings: Settings, redis: Redis) -> Settings:
    migrate.downgrade(settings.database_url, to="base")
    return settings


async def other_partitions(settings: Settings, redis: Redis) -> Settings:
    return settings.model_copy(update={"partitions": 8})


async def a_stream_without_its_group(settings: Settings, redis: Redis) -> Settings:
    await redis.xadd(stream_name("bars", 3), {"json": "{}"})
    return settings


async def an_entry_that_nobody_finishes(settings: Settings, redis: Redis) -> Settings:
    stream = stream_name("bars", 3)
    await redis.xgroup_create(stream, "detector", id="0", mkstream=True)
    await redis.xadd(stream, {"json": "{}"}, id="1-1")
    await redis.xreadgroup("detector", "3", {stream: ">"})
    return settings


async def a_dead_letter(settings: Settings, redis: Redis) -> Settings:
    execute(
        settings.database_url,
        "INSERT INTO dead_letters"
        " (stream, entry_id, row, sha256, service, fields, reasons, payload, arrived_at)"
        " VALUES ('bars.3', '1-1', 0, '', 'detector', '{ts}', '{is missing}', '', now())",
    )
    return settings


async def a_commit_that_nobody_tells(settings: Settings, redis: Redis) -> Settings:
    old = "INSERT INTO outbox (created_at, messages) VALUES (now() - interval '10 min', '[]')"
    execute(settings.database_url, old)
    return settings


async def a_replica_that_was_killed(settings: Settings, redis: Redis) -> Settings:
    gone = "INSERT INTO replicas VALUES ('detector', 'detector-7', now() - interval '1 hour')"
    execute(settings.database_url, gone)
    return settings


async def a_key_that_expired(settings: Settings, redis: Redis) -> Settings:
    execute(
        settings.database_url,
        "INSERT INTO api_keys (id, name, scope, hash, expires_at)"
        " VALUES ('a', 'kitchen', 'read', sha256('x'), '2020-01-01Z')",
    )
    return settings


async def a_broken_read_model(settings: Settings, redis: Redis) -> Settings:
    await redis.hset(scripts.MANIFEST, "count", "99")
    return settings


async def a_model_nobody_tends(settings: Settings, redis: Redis) -> Settings:
    await redis.delete(scripts.ALIVE)
    return settings


async def no_sectors(settings: Settings, redis: Redis) -> Settings:
    execute(settings.database_url, "DELETE FROM sectors")
    return settings


async def a_gateway_open_to_all(settings: Settings, redis: Redis) -> Settings:
    return settings.model_copy(update={"http_host": "0.0.0.0", "auth": "off"})


PLANTS: dict[Plant, tuple[str, Level, str]] = {
    an_evicting_redis: ("redis policy", Level.BROKEN, "maxmemory-policy of ROLLO_REDIS_URL is allkeys-lru"),
    no_append_only_file: ("redis persistence", Level.WARNING, "the append-only file is off"),
    one_redis_for_both: ("cache", Level.WARNING, "name the same server"),
    a_redis_that_is_away: ("redis", Level.BROKEN, "Redis cannot be reached"),
    a_password_that_is_wrong: ("redis", Level.BROKEN, "Redis rejects the login"),
    a_postgres_that_is_away: ("postgres", Level.BROKEN, "PostgreSQL cannot be reached"),
    a_database_that_is_not_there: ("postgres", Level.BROKEN, '"nosuch" does not exist'),
    an_old_schema: ("schema", Level.BROKEN, "lacks 0003_patterns, 0004_read_side"),
    a_schema_of_tomorrow: ("schema", Level.BROKEN, "the database has schema 9999_far"),
    no_schema: ("schema", Level.BROKEN, "no schema yet"),
    other_partitions: ("partitions", Level.WARNING, "ROLLO_PARTITIONS is 8, and this installation has 16"),
    a_stream_without_its_group: ("groups", Level.WARNING, "no group detector (bars.3 for one)"),
    an_entry_that_nobody_finishes: ("pending", Level.WARNING, "is not acknowledged"),
    a_dead_letter: ("dead letters", Level.WARNING, "1 inputs could not be applied"),
    a_commit_that_nobody_tells: ("outbox", Level.WARNING, "1 commits have not been told to others"),
    a_replica_that_was_killed: (
        "replicas",
        Level.WARNING,
        "detector-7 (detector) was last heard of 60 min ago",
    ),
    a_key_that_expired: ("keys", Level.WARNING, "the key 'kitchen' expired on 2020-01-01"),
    a_broken_read_model: ("read model", Level.BROKEN, "the read model of scans is broken"),
    a_model_nobody_tends: ("read model", Level.WARNING, "no cache-builder tends the read model"),
    no_sectors: ("sectors", Level.WARNING, "no symbol has a sector"),
    a_gateway_open_to_all: ("gateway", Level.BROKEN, "is open to other machines and ROLLO_AUTH is off"),
}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
async def test_what_was_planted_is_named(sound: Settings, redis_client: Redis, plant: Plant) -> None:
    check, level, says = PLANTS[plant]
    assert await troubles(sound) == {}
    found = await troubles(await plant(sound, redis_client))
    assert check in found
    assert found[check].level == level
    assert says in found[check].says
    assert found[check].remedy
    assert "secret" not in found[check].says


async def test_looking_changes_nothing(sound: Settings, redis_client: Redis) -> None:
    await a_stream_without_its_group(sound, redis_client)
    before = sorted(await redis_client.keys("*"))
    await troubles(sound)
    assert sorted(await redis_client.keys("*")) == before
    assert await redis_client.xinfo_groups("bars.3") == []


def test_a_typo_in_a_variable_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ROLLO_")}
    told = rollo({**clean, "ROLLO_REDIS_ULR": "redis://x"}, "doctor", where=tmp_path, code=2)
    assert "ROLLO_REDIS_ULR is set, and nothing reads it -> did you mean ROLLO_REDIS_URL?" in told.stdout
    assert "no stack runs on .rollo: start one with `rollo up`" in told.stdout
    assert told.stderr == ""


def test_the_exit_code_and_the_json_say_how_bad_it_is(settings: Settings, tmp_path: Path) -> None:
    told = rollo(environment_of(settings), "doctor", "--json", where=tmp_path, code=2)
    said = orjson.loads(told.stdout)
    assert said["level"] == "broken"
    assert {f["level"] for f in said["findings"]} == {"ok", "warning", "broken"}
    assert all(f["remedy"] for f in said["findings"] if f["level"] != "ok")
    password = settings.redis_url.partition(":")[2].partition("@")[0].rpartition(":")[2]
    assert password not in told.stdout
