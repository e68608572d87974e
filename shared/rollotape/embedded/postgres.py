"""PostgreSQL with its data in `<data>/postgres/cluster`."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO

from rollotape.embedded import account
from rollotape.embedded.children import Child
from rollotape.embedded.programs import Program, choose, postgres_programs
from rollotape.embedded.server import Server, Terms
from rollotape.errors import Refused

NAME = "rollo"
"""Of the database and of its owner."""

OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # their paths may be too long, and nobody needs them
    "shared_buffers": "256MB",
    "max_connections": "100",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


class Postgres(Server):
    """Run by us, or, since it refuses to be root, by another user when we are root."""

    def __init__(self, terms: Terms) -> None:
        self.account = account.for_postgres(terms.data)
        self.home, notices = account.home(terms.data / "postgres", self.account)
        self.cluster = self.home / "cluster"
        program = choose(_suitable(self.cluster), "PostgreSQL 15 or newer", remembered=terms.program)
        super().__init__("postgres", terms, program)
        self.notices.extend(notices)

    @property
    def url(self) -> str:
        return f"postgresql://{NAME}:{self.password}@127.0.0.1:{self.port}/{NAME}"

    def start(self) -> None:
        if not self.cluster.exists():
            self._initialize()
        super().start()

    def kill(self) -> None:
        """An immediate shutdown: every process quits at once, without a checkpoint.

        Killing the postmaster alone would leave its backends working for a while, which no crash does.
        """
        if self._child and self._child.alive:
            self._child.send_signal(signal.SIGQUIT)
            try:
                self._child.wait(10)
            except subprocess.TimeoutExpired:
                super().kill()
            self._children.forget(self._child)

    def _spawn(self, log: IO[bytes]) -> Child:
        self._disown_stale_pid()
        options = OPTIONS | {"port": str(self.port), "fsync": "on" if self.durable else "off"}
        settings = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        return self._children.spawn(
            [self._binary("postgres"), "-D", self.cluster, *settings], log=log, stop_signal=signal.SIGINT,
            env=_environment(), cwd=self.home, identity=account.identity(self.account),
        )  # fmt: skip

    def _ready(self, child: Child) -> bool:
        """As `pg_ctl` does: line 8 of its pid file says so."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text("utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(child.pid) and lines[7].strip() == "ready"

    def _initialize(self) -> None:
        """Make the cluster aside and move it into place, so that a half-made one is never started."""
        new = self.home / "cluster.new"
        shutil.rmtree(new, ignore_errors=True)
        secret = self.home / "password"
        secret.write_text(self.password, "utf-8")
        account.give(secret, self.account)
        self._run(
            self._binary("initdb"), "-D", new, "-U", NAME, f"--pwfile={secret}", "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale=C", "--no-instructions", *([] if self.durable else ["--no-sync"]),
        )  # fmt: skip
        self._run(
            self._binary("postgres"), "--single", "-D", new, "postgres", words=f"CREATE DATABASE {NAME}\n"
        )
        secret.unlink()
        new.rename(self.cluster)

    def _run(self, *args: str | Path, words: str = "") -> None:
        done = subprocess.run(
            args, input=words.encode(), capture_output=True, env=_environment(), cwd=self.home, check=False,
            start_new_session=True, **account.identity(self.account),
        )  # fmt: skip
        if done.returncode:
            said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
            raise Refused(f"PostgreSQL cannot be set up in {self.home}: {said[-800:]}")

    def _binary(self, name: str) -> Path:
        folder = account.reachable_copy(self.program, self.home, self.account)
        return folder / name

    def _disown_stale_pid(self) -> None:
        """Put our own number into a pid file that a crash left.

        Its number may by now belong to any process, and PostgreSQL would refuse to start. It takes its
        parent's number as stale, and still checks whether the old shared memory is in use. We hold the lock
        of the data directory, so no server of ours runs on it.
        """
        path = self.cluster / "postmaster.pid"
        try:
            lines = path.read_text("utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return
        path.write_text("".join([f"{os.getpid()}\n", *lines[1:]]), "utf-8")


def _suitable(cluster: Path) -> tuple[Program, ...]:
    """The programs that can read an existing cluster: its major version only."""
    try:
        major = int((cluster / "PG_VERSION").read_text("utf-8"))
    except FileNotFoundError:
        return postgres_programs()
    found = tuple(p for p in postgres_programs() if p.version[0] == major)
    if not found:
        raise Refused(f"{cluster} was written by PostgreSQL {major}, which is not on this machine any more")
    return found


def _environment() -> dict[str, str]:
    """Nothing of ours but PATH: PG* variables and locales of the user would change what the server does."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
