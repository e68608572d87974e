"""The compose file run for real: the image built, everything started, scaled, hurt, and proved.

Only where ROLLO_TEST_DOCKER=1 says so, for it takes minutes and builds an image. What that needs of the
network (ROLLO_BUILD_NETWORK, PIP_INDEX_URL, proxies) is taken from the environment, and so is which Compose
to use (ROLLO_TEST_COMPOSE=docker-compose for 1.29).
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rollotape import calendars
from rollotape.embedded.server import free_port
from support import promql
from support.waiting import eventually_sync

ROOT = Path(__file__).parents[2]
OURS = ("detector", "rs-worker", "cache-builder", "api-gateway")
SYMBOLS, DAYS = 40, 400
HEADER = "symbol,date,open,high,low,close,volume"


def _compose() -> list[str]:
    """The one that is asked for, else Compose 2, or 1.29 where that is all there is."""
    if os.environ.get("ROLLO_TEST_DOCKER") != "1":
        pytest.skip("not asked for: set ROLLO_TEST_DOCKER=1")
    if not shutil.which("docker") or not _succeeds("docker", "info"):
        pytest.skip("no Docker answers here")
    asked = os.environ.get("ROLLO_TEST_COMPOSE")
    for program in [asked] if asked else ["docker compose", "docker-compose"]:
        command = program.split()
        if shutil.which(command[0]) and _succeeds(*command, "version"):
            return command
    pytest.skip(f"no {asked or 'Compose'} here")


@dataclass
class Deployment:
    """One project of Compose, with its own secrets, volumes and port."""

    compose: list[str]
    folder: Path
    ports: tuple[int, int]
    """Two that follow each other: of two gateways."""
    prometheus_port: int

    def __call__(self, *arguments: str, code: int = 0, within_s: float = 120) -> str:
        """What Compose printed; what it says of its own work is left out."""
        done = subprocess.run(
            [*self.compose, "--project-name", "rollo-test", *arguments], cwd=ROOT,
            env={**os.environ, **self.settings}, capture_output=True, text=True, timeout=within_s,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    @property
    def settings(self) -> dict[str, str]:
        return {
            "ROLLO_IMAGE": "rollotape:test",
            "ROLLO_PUBLISH": "127.0.0.1:{}-{}".format(*self.ports),
            "ROLLO_PROMETHEUS_PUBLISH": f"127.0.0.1:{self.prometheus_port}",
            "ROLLO_SECRETS": str(self.folder / "secrets"),
            "ROLLO_FILES": str(self.folder / "files"),
        }

    def rollo(self, *arguments: str, code: int = 0) -> str:
        """A command as operators run it, by who owns the files."""
        who = f"{os.getuid()}:{os.getgid()}"
        return self("run", "--rm", "-T", "--user", who, "rollo", *arguments, code=code, within_s=300)

    def begun(self, *arguments: str) -> "subprocess.Popen[str]":
        """A command that goes on beside the test."""
        who = f"{os.getuid()}:{os.getgid()}"
        command = [*self.compose, "--project-name", "rollo-test", "run", "--rm", "-T", "--user", who, "rollo"]
        return subprocess.Popen(
            [*command, *arguments], cwd=ROOT, env={**os.environ, **self.settings},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def containers(self, service: str) -> list[str]:
        return self("ps", "-q", service).split()

    def is_healthy(self, service: str) -> bool:
        found = self.containers(service)
        return bool(found) and all(_inspect(c, "{{.State.Health.Status}}") == "healthy" for c in found)

    def get(self, path: str, key: str = "") -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        [gateway] = self.containers("api-gateway")
        published = _docker("port", gateway, "8080")
        request = urllib.request.Request(f"http://{published}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("compose")
    folder.chmod(0o711)
    for name in ("secrets", "files"):
        (folder / name).mkdir()
    for name in ("postgres", "redis"):
        (folder / "secrets" / f"{name}_password").write_text(os.urandom(12).hex() + "\n")
    deployed = Deployment(_compose(), folder, _two_ports(), free_port())
    try:
        deployed("up", "--detach", "--build", within_s=900)
        _eventually(lambda: all(map(deployed.is_healthy, OURS)))
        yield deployed
    finally:
        deployed("--profile", "observability", "down", "--volumes", "--remove-orphans", "--timeout", "30")


def test_everything_runs_confined(deployment: Deployment) -> None:
    for service in (*OURS, "redis-streams", "redis-cache", "postgres"):
        for container in deployment.containers(service):
            told = json.loads(_inspect(container, "{{json .HostConfig}}"))
            assert told["ReadonlyRootfs"] is True
            assert told["CapDrop"] == ["ALL"] and not told["CapAdd"] and not told["Privileged"]
            status = _docker("exec", container, "cat", "/proc/1/status")
            facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
            assert facts["NoNewPrivs"] == "1"
            assert "0" not in facts["Uid"].split(), f"{service} runs as root"


def test_strangers_are_not_let_in_and_a_key_is(deployment: Deployment) -> None:
    assert deployment.get("/readyz")[0] == 200
    assert deployment.get("/api/symbols")[0] == 401
    key = deployment.rollo("key", "create", "--scope", "read", "--name", "test").split()[0]
    assert deployment.get("/api/symbols", key)[0] == 200


def test_scaled_and_hurt_while_importing_it_ends_in_the_same_database(deployment: Deployment) -> None:
    _write_bars(deployment.folder / "files" / "bars.csv")
    deployment("up", "--detach", "--no-recreate", "--scale", "detector=3")
    _eventually(lambda: len(deployment.containers("detector")) == 3 and deployment.is_healthy("detector"))
    victim, *_ = deployment.containers("detector")
    [redis] = deployment.containers("redis-streams")
    before = _inspect(redis, "{{.State.StartedAt}}")

    deployment.rollo("import", "bars.csv")
    for container in (victim, redis):
        _crash(container)
    _eventually(lambda: _inspect(redis, "{{.State.StartedAt}}") != before)
    _eventually(lambda: deployment.is_healthy("redis-streams") and deployment.is_healthy("detector"))

    deployment.rollo("import", "bars.csv", "--wait")
    said = deployment.rollo("verify")
    assert said.startswith("0 differences over "), said
    assert f"({SYMBOLS * DAYS:,} bars" in said, said


@pytest.fixture(scope="module")
def prometheus(deployment: Deployment) -> Callable[..., Any]:
    """Asks Prometheus, whose image is that of the compose file, or of ROLLO_PROMETHEUS_IMAGE."""
    [named] = re.findall(
        r"\$\{ROLLO_PROMETHEUS_IMAGE:-([^}]+)\}", (ROOT / "docker-compose.yml").read_text("utf-8")
    )
    image = os.environ.get("ROLLO_PROMETHEUS_IMAGE", named)
    if not _succeeds("docker", "image", "inspect", image):
        pytest.skip(f"no image {image} here")

    def asked(path: str, **said: str) -> Any:
        url = f"http://127.0.0.1:{deployment.prometheus_port}/api/v1/{path}?{urllib.parse.urlencode(said)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    _scaled(deployment, detector=3)
    _eventually(lambda: deployment.is_healthy("prometheus"))
    return asked


def _scaled(deployment: Deployment, **replicas: int) -> None:
    scales = [f"--scale={name.replace('_', '-')}={count}" for name, count in replicas.items()]
    deployment("--profile=observability", "up", "--detach", "--no-recreate", *scales, *OURS, "prometheus")


def _scraped(asked: Callable[..., Any]) -> dict[str, int]:
    found = asked("query", query="count by (job) (up == 1)")["result"]
    return {one["metric"]["job"]: int(one["value"][1]) for one in found}


def _answers_every_dashboard(asked: Callable[..., Any]) -> None:
    for question in promql.of_dashboards():
        asked("query", query=question.expression)


def test_prometheus_finds_every_replica_and_answers_every_dashboard(prometheus: Callable[..., Any]) -> None:
    _eventually(lambda: _scraped(prometheus) == dict.fromkeys(OURS, 1) | {"detector": 3, "prometheus": 1})
    _eventually(lambda: bool(prometheus("query", query="rollo:stream_lag_entries:by_kind")["result"]))
    _answers_every_dashboard(prometheus)
    rules = [rule for group in prometheus("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    _eventually(lambda: prometheus("alerts")["alerts"] == [])


def test_killed_at_random_under_a_steady_feed_nothing_is_lost_and_no_alert_stays(
    deployment: Deployment, prometheus: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    """Containers of all kinds, servers too, for a minute, or for ten with --long."""
    random, seconds = Random(8), 600.0 if request.config.getoption("--long") else 60.0
    _scaled(deployment, detector=4, rs_worker=2, api_gateway=2)
    replicas = {"detector": 4, "rs-worker": 2, "cache-builder": 1, "api-gateway": 2}
    _eventually(lambda: _scraped(prometheus) == replicas | {"prometheus": 1})
    victims = (*OURS, "redis-streams", "redis-cache", "postgres")
    days, written, killed = _days(), 0, Counter[str]()
    path = deployment.folder / "files" / "live.csv"
    path.write_text(HEADER + "\n")
    feeding = deployment.begun("feed", "csv", "live.csv", "--follow", "--name", "live", "--data", "journal")
    try:
        with path.open("a") as file:
            ends, next_death = time.monotonic() + seconds, time.monotonic() + 10
            while time.monotonic() < ends:
                file.write("".join(f"{line}\n" for line in _lines("F", next(days), written)))
                file.flush()
                written += SYMBOLS
                if time.monotonic() >= next_death:
                    next_death += random.uniform(3, 12)
                    service = random.choice(victims)
                    if running := [c for c in deployment.containers(service) if _pid(c)]:
                        _crash(random.choice(running))
                        killed[service] += 1
                time.sleep(1.0)  # the pace of the feed: a day of market time a second
        _eventually(lambda: all(map(deployment.is_healthy, (*OURS, "redis-streams", "postgres"))))
        _eventually(lambda: _stored(deployment, "F") == written)
    finally:
        feeding.send_signal(signal.SIGINT)
        told = feeding.communicate(timeout=60)
    print(f"killed {dict(killed)}; {written:,} bars; {told}")
    assert sum(killed.values()) >= seconds / 15
    said = deployment.rollo("verify")
    assert said.startswith("0 differences over "), said
    _answers_every_dashboard(prometheus)
    eventually_sync(lambda: prometheus("alerts")["alerts"] == [], within_s=900)


def test_what_is_stored_outlives_a_stop_and_the_containers(deployment: Deployment) -> None:
    before = deployment.rollo("verify")
    for ending in (["stop"], ["down"]):
        deployment(*ending)
        deployment("up", "--detach")
        _eventually(lambda: all(map(deployment.is_healthy, OURS)))
    assert deployment.rollo("verify") == before
    assert deployment.rollo("dlq", "list")


@pytest.mark.parametrize(
    ("variable", "value", "service", "says"),
    [
        ("ROLLO_DATABASE_URL", "", "detector", "detector: ROLLO_DATABASE_URL is not set"),
        ("ROLLO_DATABASE_URL", "nonsense", "rs-worker", "rs-worker: ROLLO_DATABASE_URL is no URL like"),
        ("ROLLO_REDIS_URL", "nonsense", "cache-builder", "cache-builder: ROLLO_REDIS_URL is no URL like"),
        ("ROLLO_REDIS_URL", "redis://redis-cache:6379/0", "detector", "ROLLO_REDIS_URL names a Redis whose"),
        ("ROLLO_DATABASE_PASSWORD_FILE", "/nowhere", "api-gateway", "ROLLO_DATABASE_PASSWORD_FILE: /nowhere"),
        ("ROLLO_AUTH", "off", "api-gateway", "ROLLO_AUTH=off anybody could"),
        ("ROLLO_LEASE_S", "soon", "detector", "detector: ROLLO_LEASE_S: "),
    ],
)
def test_a_wrong_or_missing_setting_stops_a_service_with_a_sentence(
    variable: str, value: str, service: str, says: str, deployment: Deployment
) -> None:
    done = subprocess.run(
        [*deployment.compose, "--project-name", "rollo-test", "run", "--rm", "-T", "--no-deps",
         "-e", f"{variable}={value}", service],
        cwd=ROOT, env={**os.environ, **deployment.settings}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert says in said and "Traceback" not in said


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def _inspect(container: str, form: str) -> str:
    return _docker("inspect", "--format", form, container)


def _crash(container: str) -> None:
    """As a crash, not as an operator: `docker kill` would not start it again."""
    os.kill(int(_inspect(container, "{{.State.Pid}}")), signal.SIGKILL)


def _eventually(holds: Callable[[], bool]) -> None:
    eventually_sync(holds, within_s=180)


def _pid(container: str) -> int:
    """0 while it is down."""
    return int(_inspect(container, "{{.State.Pid}}"))


def _two_ports() -> tuple[int, int]:
    """Free ones that follow each other."""
    while True:
        first = free_port()
        with socket.socket() as other, suppress(OSError, OverflowError):
            other.bind(("127.0.0.1", first + 1))
            return first, first + 1


def _stored(deployment: Deployment, prefix: str) -> int:
    """Bars of symbols that begin so."""
    [postgres] = deployment.containers("postgres")
    query = f"SELECT count(*) FROM bars WHERE symbol LIKE '{prefix}%'"
    done = subprocess.run(
        ["docker", "exec", postgres, "psql", "-U", "rollo", "-Atc", query], capture_output=True, text=True
    )
    return int(done.stdout) if done.returncode == 0 else -1


def _days() -> Iterator[str]:
    """Trading days one after the other, so that the auditor of gaps finds none."""
    for number in calendars.sessions().days:
        day = date(1970, 1, 1) + timedelta(int(number))
        if day.year >= 2010:
            yield day.isoformat()


def _write_bars(path: Path) -> None:
    days = (time.strftime("%Y-%m-%d", time.gmtime(1_577_836_800 + day * 86_400)) for day in range(DAYS))
    rows = (line for day, named in enumerate(days) for line in _lines("S", named, day))
    path.write_text("\n".join([HEADER, *rows]) + "\n")


def _lines(prefix: str, named: str, day: int) -> Iterator[str]:
    """Of every symbol the bar of a day."""
    for number in range(SYMBOLS):
        level = 50 + (day * 7 + number * 13) % 41
        high, low, close = level + 1 + day % 3, level - 1 - number % 2, level + (day % 5 - 2) / 4
        volume = 1_000 + (day * number) % 977 * 10
        yield f"{prefix}{number:02},{named},{level},{high},{low},{close},{volume}"
