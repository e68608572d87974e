"""The frame of every worker, as a process: what it refuses, what it waits for, how it stops."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from rollotape.postgres import migrate
from rollotape.settings import Settings
from support.databases import execute
from support.waiting import eventually_sync

WORKER = """
import asyncio
from rollotape import service

class Handler:
    async def apply(self, entries): await asyncio.sleep(0.05)
    async def bury(self, entry, error): raise AssertionError

async def start(worker):
    worker.deliver("bars", Handler())

service.run("detector", start)
"""


class Worker:
    """A worker process; its log is read back for the port it listens on."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ROLLO_")}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WORKER], stderr=output, env=inherited | environment
            )

    def events(self) -> list[dict[str, Any]]:
        lines = self._log.read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def port(self) -> int:
        def found() -> int | None:
            return next((e["port"] for e in self.events() if e["event"] == "ops_listening"), None)

        port = eventually_sync(found, what="the port")
        assert port
        return port

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port()}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def held(self) -> int:
        lines = self.get("/metrics")[1].splitlines()
        prefix = 'rollo_leases_held_partitions{service="detector"} '
        return next((int(float(line.removeprefix(prefix))) for line in lines if line.startswith(prefix)), 0)

    def stop(self) -> float:
        """Seconds it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self._log.read_text("utf-8")
        return time.monotonic() - started

    def refusal(self) -> tuple[int, str]:
        """Exit code and last line."""
        return self.process.wait(30), self._log.read_text("utf-8").splitlines()[-1]


@pytest.fixture
def environment(settings: Settings, cache_url: str) -> dict[str, str]:
    return {
        "ROLLO_REDIS_URL": settings.redis_url,
        "ROLLO_CACHE_URL": cache_url,
        "ROLLO_DATABASE_URL": settings.database_url,
        "ROLLO_LEASE_S": "2",
    }


@pytest.fixture
def work(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def start(**changes: str) -> Worker:
        worker = Worker(tmp_path / f"worker-{len(workers)}.log", environment | changes)
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            worker.process.kill()
        worker.process.wait()


def test_a_redis_that_may_evict_is_refused_with_what_to_do(
    work: Callable[..., Worker], cache_url: str
) -> None:
    code, sentence = work(ROLLO_REDIS_URL=cache_url).refusal()
    assert code == 2
    assert "ROLLO_REDIS_URL" in sentence
    assert "allkeys-lru" in sentence
    assert "noeviction" in sentence


def test_every_wrong_setting_is_named_at_once(work: Callable[..., Worker]) -> None:
    code, sentence = work(ROLLO_PARTITIONS="0", ROLLO_LEASE_S="soon").refusal()
    assert code == 2
    assert "ROLLO_PARTITIONS" in sentence
    assert "ROLLO_LEASE_S" in sentence


@pytest.mark.parametrize("url", ["http://127.0.0.1:6379", "127.0.0.1:6379"])
def test_a_wrong_redis_url_is_refused(work: Callable[..., Worker], url: str) -> None:
    code, sentence = work(ROLLO_REDIS_URL=url).refusal()
    assert (code, "ROLLO_REDIS_URL" in sentence) == (2, True)


def test_a_taken_port_is_refused(work: Callable[..., Worker]) -> None:
    first = work()
    code, sentence = work(ROLLO_OPS_PORT=str(first.port())).refusal()
    assert (code, "ROLLO_OPS_PORT" in sentence) == (2, True)


def test_it_becomes_ready_works_and_stops_within_moments_leaving_nothing_behind(
    work: Callable[..., Worker], redis_url: str
) -> None:
    worker = work()
    eventually_sync(worker.is_ready, what="readiness")
    eventually_sync(lambda: worker.held() == 16, what="all partitions")
    with redis.Redis.from_url(redis_url) as client:
        for i in range(500):
            client.xadd(f"bars.{i % 16}", {"json": "{}"})
        assert worker.get("/livez")[0] == 200
        assert worker.stop() < 10
        assert all(client.xpending(f"bars.{p}", "detector")["pending"] == 0 for p in range(16))


def test_replicas_share_and_a_killed_one_is_replaced(work: Callable[..., Worker]) -> None:
    first, second = work(), work()
    eventually_sync(lambda: (first.held(), second.held()) == (8, 8), what="even shares")
    second.process.kill()
    eventually_sync(lambda: first.held() == 16, what="the survivor to take all")


def test_while_redis_is_away_it_waits_alive_and_not_ready(work: Callable[..., Worker]) -> None:
    worker = work(ROLLO_REDIS_URL="redis://127.0.0.1:1")
    assert worker.get("/livez")[0] == 200
    code, body = worker.get("/readyz")
    assert code == 503
    assert json.loads(body) == {"ready": False, "checks": {"phase": "starting"}}
    eventually_sync(lambda: any(e["event"] == "waiting" for e in worker.events()))
    assert worker.stop() < 5


def test_a_database_without_a_schema_is_waited_for(
    work: Callable[..., Worker], empty_database_url: str
) -> None:
    worker = work(ROLLO_DATABASE_URL=empty_database_url)
    eventually_sync(lambda: any("rollo migrate" in e.get("reason", "") for e in worker.events()))
    assert worker.stop() < 5


def test_a_database_of_an_older_version_is_waited_for_and_the_sentence_says_what_it_lacks(
    work: Callable[..., Worker], database_url: str
) -> None:
    older, newest = migrate.revisions()[-2:]
    migrate.downgrade(database_url, to=older)
    worker = work()
    lacks = f"the database has schema {older} and lacks {newest}: run `rollo migrate`"
    eventually_sync(lambda: any(lacks in e.get("reason", "") for e in worker.events()))
    assert not worker.is_ready()
    migrate.upgrade(database_url)
    eventually_sync(worker.is_ready, what="readiness once it was migrated")


def test_a_database_that_a_newer_version_has_migrated_is_worked_on(
    work: Callable[..., Worker], database_url: str
) -> None:
    execute(database_url, "UPDATE alembic_version SET version_num = '9999_far'")
    worker = work()
    eventually_sync(worker.is_ready, what="readiness")


def test_readiness_names_what_is_wrong(work: Callable[..., Worker], redis_url: str) -> None:
    worker = work()
    eventually_sync(worker.is_ready, what="readiness")
    eventually_sync(lambda: worker.held() == 16, what="all partitions")
    with redis.Redis.from_url(redis_url) as client:
        client.replicaof("127.0.0.1", "1")
        try:
            eventually_sync(lambda: not worker.is_ready(), what="the failure to be seen")
            checks = json.loads(worker.get("/readyz")[1])["checks"]
            assert "bars." in checks["groups of bars"]
            assert checks["postgres"] == "ok"
            assert worker.get("/livez")[0] == 200  # a restart would not help
        finally:
            client.replicaof("NO", "ONE")
    eventually_sync(worker.is_ready, what="readiness again")
