"""The servers of one data directory: two Valkey or Redis and one PostgreSQL, unless given."""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from rollotape.embedded.children import Children, running
from rollotape.embedded.postgres import Postgres
from rollotape.embedded.server import Server, Terms, write_private
from rollotape.embedded.valkey import Role, Valkey
from rollotape.errors import Refused

MAKERS: dict[str, Callable[[Terms], Server]] = {
    "streams": partial(Valkey, "streams"),
    "cache": partial(Valkey, "cache"),
    "postgres": Postgres,
}
VARIABLES = {"streams": "ROLLO_REDIS_URL", "cache": "ROLLO_CACHE_URL", "postgres": "ROLLO_DATABASE_URL"}
PREDECESSOR_S = 20.0
"""How long a start waits for the servers of a predecessor that was killed to end."""


@dataclass(frozen=True, slots=True)
class Urls:
    """Where the servers answer. They hold passwords: keep them out of logs."""

    redis_url: str
    cache_url: str
    database_url: str

    def environment(self) -> dict[str, str]:
        """The variables from which every service reads them."""
        return {f"ROLLO_{name.upper()}": url for name, url in asdict(self).items()}


@dataclass(slots=True)
class Memory:
    """What a second start on the same data has to know, in `<data>/servers.json`."""

    password: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    ports: dict[str, int] = field(default_factory=dict)
    programs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Memory":
        return cls(**json.loads(path.read_text("utf-8"))) if path.exists() else cls()

    def write(self, path: Path) -> None:
        write_private(path, json.dumps(asdict(self), indent=1))


class Servers:
    """Starts on entering or `start()`, stops on leaving or `stop()`.

    Everything is under `data`, on 127.0.0.1, behind a password, and ends with this process, whatever ends
    it. What `environ` (the environment) names by ROLLO_REDIS_URL, ROLLO_CACHE_URL or ROLLO_DATABASE_URL is
    taken as it is. `durable=False` spares the fsync: right where processes die, never the machine.
    (`synchronous_commit` stays on: without it a crash of PostgreSQL alone would lose acknowledged commits.)

    Raises:
        Refused: another stack runs on `data`, a program is missing, or a server does not start.
    """

    def __init__(
        self, data: Path, *, durable: bool = True, environ: Mapping[str, str] | None = None
    ) -> None:
        self.data = data.absolute()
        self.durable = durable
        self.notices: list[str] = []
        """Sentences for the operator, known after `start()`."""
        environ = os.environ if environ is None else environ
        self._given = {name: environ[v] for name, v in VARIABLES.items() if environ.get(v)}
        self._ours: dict[str, Server] = {}
        self._lock: int | None = None
        self._children: Children | None = None

    def start(self) -> Urls:
        """Start what is not given and return when all of it answers."""
        (self.data / "logs").mkdir(parents=True, exist_ok=True)
        if self.data.stat().st_uid == os.geteuid():
            self.data.chmod(0o711)  # PostgreSQL may have to pass as another user; secrets are in 0600 files
        self._lock = lock(self.data / "lock")
        try:
            self._children = Children(self.data / "children.json", keep_open=[self._lock])
            self._start_all(self.data / "servers.json")
        except BaseException:
            self.stop()
            raise
        return self.urls

    def stop(self) -> None:
        """Stop in the reverse order of starting; harmless when nothing runs."""
        for server in reversed(self._ours.values()):
            server.stop()
        self._ours.clear()
        if self._children:
            self._children.close()
            self._children = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "Servers":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def children(self) -> Children:
        """Further processes started through it end when we do, too."""
        assert self._children, "not started"
        return self._children

    @property
    def urls(self) -> Urls:
        return Urls(*(self._given.get(name) or self._ours[name].url for name in VARIABLES))

    @property
    def pids(self) -> dict[str, int]:
        """Process numbers of our servers that run now, by "streams", "cache" and "postgres"."""
        return {name: server.pid for name, server in self._ours.items() if server.pid is not None}

    @property
    def summary(self) -> str:
        """What runs where, without passwords: "Valkey 9.1.2 on 127.0.0.1:40001 (streams), ..."."""
        urls = dict(zip(VARIABLES, asdict(self.urls).values(), strict=True))
        places = {name: urlsplit(url).netloc.rpartition("@")[2] for name, url in urls.items()}
        programs = {name: server.program.title for name, server in self._ours.items()}
        return ", ".join(f"{programs.get(n, 'given server')} on {place} ({n})" for n, place in places.items())

    def revive(self) -> list[str]:
        """Start those of ours that have ended by themselves; their names."""
        ended = [name for name, server in self._ours.items() if server.pid is None]
        for name in ended:
            self._ours[name].start()
        return ended

    def kill_redis(self, role: Role = "streams") -> None:
        """SIGKILL, as a crash would."""
        self._server(role).kill()

    def start_redis(self, role: Role = "streams") -> None:
        """Start again on the same data (and port, unless somebody took it); returns when it answers."""
        self._server(role).start()

    def kill_postgres(self) -> None:
        """An immediate shutdown: no checkpoint, open transactions are lost, the next start recovers."""
        self._server("postgres").kill()

    def start_postgres(self) -> None:
        """Start again on the same data (and port, unless somebody took it); returns when it answers."""
        self._server("postgres").start()

    def _start_all(self, path: Path) -> None:
        memory = Memory.read(path)
        memory.write(path)  # the password first: the data are made with it
        for name in VARIABLES:
            if name in self._given:
                continue
            known = memory.ports.get(name), memory.programs.get(name)
            terms = Terms(self.data, self.children, memory.password, *known, self.durable)
            self._ours[name] = server = MAKERS[name](terms)
            server.start()
            memory.ports[name], memory.programs[name] = server.port, str(server.program.path)
            self.notices.extend(server.notices)
        memory.write(path)

    def _server(self, name: str) -> Server:
        if name not in self._ours:
            raise Refused(f"{name} is not ours: {VARIABLES[name]} named it, or it was never started")
        return self._ours[name]


def lock(path: Path) -> int:
    """A descriptor that holds the only lock on `path`, with our process number in the file.

    Raises:
        Refused: another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _acquire(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + PREDECESSOR_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode()
        # The guardian of a dead owner keeps the lock for the moment it needs to end the servers.
        if (owner.isdigit() and running(int(owner))) or time.monotonic() > deadline:
            raise Refused(
                f"another stack (process {owner or 'unknown'}) runs on {path.parent}:"
                " stop it, or choose another directory with --data"
            )
        time.sleep(0.1)
