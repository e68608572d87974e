"""What a doctor makes of what was seen: each trouble is named, with what to do about it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.exceptions import AuthenticationError

from rollotape import telemetry
from rollotape.cache.patterns import Standing as Model
from rollotape.cli.panels import line
from rollotape.cli.picture import picture
from rollotape.diagnosis import Finding, Level, Place, diagnose, variables, without_secrets, worst
from rollotape.observer import Database, Observation, Part, Server, Service, Streams
from rollotape.postgres import standing as postgres
from rollotape.settings import Settings
from rollotape.streams.standing import Group, Stream

NOW_S = 1_800_000_000.0
SETTINGS = Settings(redis_url="redis://a", cache_url="redis://b", database_url="postgresql://c/d")
PLACE = Place({}, ["0001", "0002"], "/data", 10**11)
SERVICES = dict.fromkeys(("detector", "rs-worker", "cache-builder", "api-gateway"), 3)


def redis(**changes: Any) -> Server:
    info = {
        "redis_version": "7.2.4",
        "run_id": "a",
        "role": "master",
        "maxmemory_policy": "noeviction",
        "aof_enabled": 1,
        "aof_last_write_status": "ok",
        "used_memory": 10,
        "maxmemory": 0,
    }
    return Server(info | changes, NOW_S, NOW_S, 0.001)


def cache(**changes: Any) -> Server:
    return redis(**{"run_id": "b", "maxmemory_policy": "allkeys-lru", "maxmemory": 5 * 10**8} | changes)


def database(**changes: Any) -> postgres.Standing:
    server = postgres.Server(180_004, "18.4", True, False, NOW_S, 10**7, 100, 9)
    installed = postgres.Installation("0002", 16, "epoch", 2, 0, 0, None)
    replicas = [postgres.Replica("detector", "detector-1", 1.0, 16)]
    found = postgres.Standing(server, SERVICES, installed, postgres.Strength(0, 0, 100), replicas)
    return replace(found, **changes)


def stream(name: str = "bars.3", **changes: Any) -> Stream:
    group = Group("5-0", 10, changes.pop("lag", 0), changes.pop("pending", 0), changes.pop("oldest", None), 1)
    return replace(Stream(name, name.partition(".")[0], 10, 10, "5-0", {"detector": group}), **changes)


def seen(**changes: Any) -> Observation:
    """A stack in which all is well, but for the changes."""
    streams = Streams([stream()], Model("sound", None, "epoch", 1, 5), True)
    observed = Observation(
        NOW_S, Part(redis()), Part(streams), Part(cache()), Part(Database(database(), NOW_S, 0.001))
    )
    return replace(observed, **changes)


def found(
    observed: Observation, settings: Settings = SETTINGS, place: Place = PLACE
) -> Mapping[str, Finding]:
    """What is not in order, by check."""
    return {f.check: f for f in diagnose(observed, settings, place) if f.level != Level.OK}


def with_database(**changes: Any) -> Observation:
    return seen(database=Part(Database(database(**changes), NOW_S, 0.001)))


def with_server(**changes: Any) -> Observation:
    return with_database(server=replace(database().server, **changes))


def with_streams(*streams: Stream, **changes: Any) -> Observation:
    model = Model("sound", None, "epoch", 1, 5)
    return seen(streams=Part(replace(Streams(list(streams), model, True), **changes)))


def installation(**changes: Any) -> Observation:
    standing = database()
    assert standing.installation
    return with_database(installation=replace(standing.installation, **changes))


def test_nothing_is_wrong_with_a_stack_in_order() -> None:
    findings = diagnose(seen(), SETTINGS, PLACE)
    assert found(seen()) == {}
    assert worst(findings) == Level.OK
    assert len(findings) > 10


WARNING, BROKEN = Level.WARNING, Level.BROKEN
KEY = postgres.Key("kitchen", datetime(2026, 1, 1, tzinfo=UTC), True)
TROUBLES: dict[str, tuple[Observation, str, Level, str, str]] = {
    "redis away": (
        seen(redis=Part(away="refused")),
        "redis",
        BROKEN,
        "cannot be reached at redis://",
        "ROLLO_REDIS",
    ),
    "login": (
        seen(redis=Part(away="WRONGPASS", error=AuthenticationError())),
        "redis",
        BROKEN,
        "rejects the login",
        "user and password of ROLLO_REDIS_URL",
    ),
    "old redis": (seen(redis=Part(redis(redis_version="6.2.1"))), "redis version", BROKEN, "6.2.1", "7.0"),
    "replica": (seen(redis=Part(redis(role="slave"))), "redis role", BROKEN, "replica", "primary"),
    "evicts": (
        seen(redis=Part(redis(maxmemory_policy="allkeys-lru"))),
        "redis policy",
        BROKEN,
        "allkeys-lru",
        "CONFIG SET maxmemory-policy noeviction",
    ),
    "no aof": (seen(redis=Part(redis(aof_enabled=0))), "redis persistence", WARNING, "off", "appendonly yes"),
    "aof fails": (
        seen(redis=Part(redis(aof_last_write_status="err"))),
        "redis persistence",
        BROKEN,
        "could not write",
        "disk",
    ),
    "full": (seen(redis=Part(redis(maxmemory=11))), "redis memory", WARNING, "nothing can be sent", "raise"),
    "no cache": (seen(cache=None), "cache", WARNING, "not set", "name a Redis"),
    "cache away": (
        seen(cache=Part(away="x")),
        "cache",
        BROKEN,
        "for answers cannot be reached",
        "ROLLO_CACHE_URL",
    ),
    "one redis": (seen(cache=Part(cache(run_id="a"))), "cache", WARNING, "the same server", "of their own"),
    "endless cache": (
        seen(cache=Part(cache(maxmemory=0))),
        "cache policy",
        WARNING,
        "without bounds",
        "512mb",
    ),
    "postgres away": (seen(database=Part(away="gone")), "postgres", BROKEN, "gone", "ROLLO_DATABASE_URL"),
    "old postgres": (with_server(version_num=140_001), "postgres version", BROKEN, "too old", "15 or newer"),
    "standby": (with_server(is_standby=True), "postgres role", BROKEN, "standby", "primary"),
    "fsync": (with_server(fsync=False), "postgres fsync", WARNING, "fsync is off", "fsync = on"),
    "connections": (
        with_server(connections=90),
        "postgres connections",
        WARNING,
        "90 of 100",
        "max_connections",
    ),
    "no schema": (with_database(installation=None), "schema", BROKEN, "no schema yet", "rollo migrate"),
    "behind": (installation(revision="0001"), "schema", BROKEN, "lacks 0002", "rollo migrate"),
    "ahead": (installation(revision="0009"), "schema", BROKEN, "knows those up to 0002", "newer version"),
    "clock": (with_server(now_s=NOW_S - 60), "clocks", WARNING, "PostgreSQL is 60.0 s behind", "NTP"),
    "clocks": (with_server(now_s=NOW_S + 900), "clocks", BROKEN, "PostgreSQL is 900.0 s ahead", "NTP"),
    "no detector": (
        with_database(at_work={"rs-worker": 1, "cache-builder": 1, "api-gateway": 1}),
        "services",
        BROKEN,
        "no detector is connected",
        "start a detector",
    ),
    "silent": (
        seen(services={"detector-1": Part(away="x")}),
        "services",
        BROKEN,
        "does not answer",
        "detector-1.log",
    ),
    "not ready": (
        seen(services={"detector-1": Part(Service(False, {"redis": "gone"}))}),
        "services",
        BROKEN,
        "redis: gone",
        "detector-1.log",
    ),
    "stale replica": (
        with_database(replicas=[postgres.Replica("detector", "d-1", 3_600.0, 0)]),
        "replicas",
        WARNING,
        "d-1 (detector) was last heard of 60 min ago",
        "start a detector",
    ),
    "free partitions": (
        with_database(replicas=[postgres.Replica("detector", "d-1", 1.0, 12)]),
        "leases",
        WARNING,
        "12 of 16 partitions",
        "few seconds",
    ),
    "no group": (
        with_streams(stream(groups={}, missing=("detector",))),
        "groups",
        WARNING,
        "no group detector",
        "start a",
    ),
    "old pending": (
        with_streams(stream(pending=1, oldest=90_000)),
        "pending",
        WARNING,
        "90 s ago",
        "log of detector",
    ),
    "lag": (with_streams(stream(lag=20_000)), "lag", WARNING, "20,000 entries of bars wait", "more replicas"),
    "unknown lag": (with_streams(stream(lag=None, length=20_000)), "lag", WARNING, "20,000", "more replicas"),
    "letters": (installation(dead_letters=3), "dead letters", WARNING, "3 inputs", "rollo dlq list"),
    "gaps": (
        with_database(missing=postgres.Missing(2, 31)),
        "gaps",
        WARNING,
        "31 bars of the last seven days are missing, in 2 gaps",
        "rollo gaps",
    ),
    "unsaid": (
        installation(unsaid=2, oldest_unsaid_s=300.0),
        "outbox",
        WARNING,
        "2 commits",
        "reaches Redis",
    ),
    "sectors": (
        with_database(strength=postgres.Strength(0, 0, 0)),
        "sectors",
        WARNING,
        "no symbol has a sector",
        "rollo import-sectors",
    ),
    "no model": (
        with_streams(stream(), model=Model("missing", None, "", 0, 0)),
        "read model",
        BROKEN,
        "is missing",
        "rebuild",
    ),
    "other model": (
        with_streams(stream(), model=Model("sound", None, "other", 1, 1)),
        "read model",
        BROKEN,
        "another database",
        "rebuild",
    ),
    "stale model": (
        with_streams(stream(), model_is_tended=False),
        "read model",
        WARNING,
        "stale",
        "cache-builder",
    ),
    "expired key": (
        with_database(keys=[KEY]),
        "keys",
        WARNING,
        "'kitchen' expired on 2026-01-01",
        "rollo key create",
    ),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_a_trouble_is_named_with_what_to_do(name: str) -> None:
    observed, check, level, says, remedy = TROUBLES[name]
    [(named, finding)] = found(observed).items()
    assert (named, finding.level) == (check, level)
    assert says in finding.says
    assert remedy in finding.remedy


def test_what_is_wrong_with_the_machine_is_named() -> None:
    assert found(seen(), place=replace(PLACE, free_bytes=10**9))["disk"].level == WARNING
    assert found(seen(), place=replace(PLACE, free_bytes=10**7))["disk"].level == BROKEN
    odd = SETTINGS.model_copy(update={"partitions": 8})
    assert "does nothing" in found(seen(), odd)["partitions"].says
    bare = SETTINGS.model_copy(update={"http_host": "0.0.0.0", "auth": "off"})
    assert found(seen(), bare)["gateway"].level == BROKEN
    keyless = SETTINGS.model_copy(update={"http_host": "0.0.0.0"})
    assert "none that is valid" in found(seen(), keyless)["gateway"].says
    keyed = with_database(keys=[postgres.Key("k", None, None)])
    assert found(keyed, keyless) == {}


def test_a_variable_that_nobody_reads_is_named_with_the_one_that_was_meant() -> None:
    environment = {"ROLLO_REDIS_ULR": "x", "ROLLO_DATABASE_URL_FILE": "x", "ROLLO_COLOUR": "x", "HOME": "/"}
    typo, other = sorted(variables(environment), key=lambda f: "COLOUR" in f.says)
    assert "did you mean ROLLO_REDIS_URL?" in typo.remedy
    assert "ROLLO_COLOUR is set, and nothing reads it" in other.says


def test_what_is_away_is_named_with_where_it_was_looked_for() -> None:
    away = seen(redis=Part(away="refused"))
    there = SETTINGS.model_copy(update={"redis_url": "redis://:secret@redis-streams:6379/0"})
    finding = found(away, there)["redis"]
    assert "cannot be reached at redis://redis-streams:6379/0: " in finding.says
    assert "rollo up" in finding.remedy
    inside = replace(PLACE, environment={"ROLLO_REDIS_URL": "x"})
    assert found(away, there, inside)["redis"].remedy == "see whether it runs there, and to ROLLO_REDIS_URL"


def test_secrets_in_errors_of_others_are_not_repeated() -> None:
    [finding] = without_secrets([Finding("redis", BROKEN, "redis://:secret@h")], ["secret", ""])
    assert finding.says == "redis://:***@h"


# What `rollo top` makes of the same


def test_rates_come_of_two_looks_and_of_none_after_an_outage() -> None:
    early = with_streams(stream(added=100, lag=4), stream("bars.4", added=50))
    late = replace(
        with_streams(stream(added=300, lag=0, pending=6), stream("bars.4", added=60)), at_s=NOW_S + 2.0
    )
    [row] = picture(late, early)["streams"]
    assert (row["streams"], row["lag"], row["pending"]) == (2, 0, 6)
    assert (row["in_per_s"], row["out_per_s"]) == (105.0, 104.0)
    [row] = picture(late, seen(streams=Part(away="gone")))["streams"]
    assert row["in_per_s"] is None


def test_bars_of_a_replica_that_was_started_again_are_not_counted_backwards() -> None:
    def bars(count: float, at_s: float) -> Observation:
        return seen(services={"detector-1": Part(Service(True, {}, count))}, at_s=at_s)

    assert picture(bars(500, NOW_S + 1), bars(100, NOW_S))["bars_per_s"] == 400
    assert picture(bars(10, NOW_S + 1), bars(100, NOW_S))["bars_per_s"] == 0


def test_what_is_away_is_said_and_the_rest_is_shown() -> None:
    away: Part[Any] = Part(away="Connection refused")
    shown = picture(seen(database=away, services={"detector-1": away}))
    assert shown["away"] == {"postgres": "Connection refused", "detector-1": "Connection refused"}
    assert (shown["dead_letters"], shown["replicas"]) == (None, [])
    assert "dead letters ?" in line(shown)
    assert "postgres AWAY (Connection refused)" in line(shown)
    assert "bars/detector lag 0" in line(shown)
    dark = picture(Observation(NOW_S, away, away, away, away))
    assert set(dark["away"]) == {"redis", "cache", "postgres"}


def test_where_spans_and_errors_go_is_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "https://public@sentry.example.org/1"
    told = Settings(**SETTINGS.model_dump() | {"otel_endpoint": "http://c:4318", "sentry_dsn": secret})
    assert not [f for f in diagnose(seen(), SETTINGS, PLACE) if f.check == "telemetry"], "nothing is set"
    found = [f for f in diagnose(seen(), told, PLACE) if f.check == "telemetry"]
    assert [f.level for f in found] == [Level.OK, Level.OK]
    assert "example.org" not in repr(found)
    monkeypatch.setattr(telemetry, "find_spec", lambda name: None)
    missing = [f for f in diagnose(seen(), told, PLACE) if f.check == "telemetry"]
    assert [f.level for f in missing] == [Level.BROKEN, Level.BROKEN]
    names = ("OTEL_ENDPOINT", "otel"), ("SENTRY_DSN", "sentry")
    for finding, (name, extra) in zip(missing, names, strict=True):
        assert f"ROLLO_{name} is set, and the extra {extra} is not installed" in finding.says
        assert f"rollotape[{extra}]" in finding.remedy
