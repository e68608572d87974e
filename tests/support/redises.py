"""Redis of several servers on this machine, whose servers can be killed and whose slots can be moved."""

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import redis
from redis.crc import key_slot

from rollotape.embedded import Children
from rollotape.embedded.children import Child
from rollotape.embedded.programs import redis_programs
from rollotape.embedded.server import free_port
from support.folders import open_folder
from support.waiting import eventually_sync

PASSWORD = "pass-word"
SERVICE = "tape"
"""What Sentinels call the primary."""
SILENT_MS = 2_000
"""A server that is unheard of for longer is replaced."""
READY_S = 60.0
_LASTING = {"appendonly": "yes", "appendfsync": "no", "maxmemory-policy": "noeviction"}


class Server:
    """One process, which keeps its port and its data when it is killed."""

    def __init__(
        self, children: Children, folder: Path, options: Mapping[str, str], *, sentinel: bool = False
    ) -> None:
        self.port = free_port()
        self._children, self._sentinel = children, sentinel
        self._folder = folder / str(self.port)
        self._folder.mkdir()
        self._child: Child | None = None
        self._paused = False
        given = {"port": str(self.port), "bind": "127.0.0.1", "dir": f'"{self._folder}"', "save": '""'}
        if sentinel:
            del given["save"]
        lines = [f"{name} {value}" for name, value in {**given, **options}.items()]
        (self._folder / "redis.conf").write_text("\n".join(lines) + "\n")

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.alive and not self._paused

    def start(self) -> None:
        """Harmless when it runs; returns when it answers. One that is paused goes on."""
        if self._paused:
            self.resume()
        if self.running:
            return
        command = [redis_programs()[0].path, self._folder / "redis.conf"]
        with (self._folder / "log").open("ab") as log:
            self._child = self._children.spawn(
                [*command, "--sentinel"] if self._sentinel else command, log=log, cwd=self._folder
            )
        eventually_sync(self._answers, within_s=READY_S, what=f"a server on {self.port}")

    def kill(self) -> None:
        if self._child:
            self._children.kill(self._child)
            self._child, self._paused = None, False

    def pause(self) -> None:
        assert self._child
        self._child.send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        assert self._child
        self._child.send_signal(signal.SIGCONT)
        self._paused = False

    def ask(self, *command: str | int | bytes) -> Any:
        """What it says, in bytes and lists."""
        password = None if self._sentinel else PASSWORD
        with redis.Redis(port=self.port, password=password, socket_timeout=10, protocol=2) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def _answers(self) -> bool:
        with suppress(redis.RedisError):
            return bool(self.ask("PING"))
        return False


class Redises(ABC):
    """A Redis of several servers. Entering starts it and waits until it may be used."""

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None) -> None:
        self._folder, self._options = folder, options or {}
        self._children = Children(folder / "children.json")
        self.servers: list[Server] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._children.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._children.close()

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def primary(self, key: str) -> Server | None:
        """Who takes writes of a key, as those who run say; None while they do not agree."""

    @abstractmethod
    def primaries(self) -> Sequence[Server]: ...

    def deafen(self, key: str) -> None:
        """Whoever follows the primary of a key hears nothing of it any more; see `hear`."""
        of = eventually_sync(lambda: self.primary(key), within_s=READY_S, what="a primary")
        assert of
        for server in self.servers:
            if server is not of:
                server.ask("CONFIG", "SET", "masterauth", "wrong")
        of.ask("CLIENT", "KILL", "TYPE", "replica")

    def hear(self) -> None:
        for server in self.servers:
            if server.running:
                server.ask("CONFIG", "SET", "masterauth", PASSWORD)

    def replace(self, key: str, *, paused: bool = False) -> Server:
        """Kill or pause the primary of a key and wait until another has taken its place; the dead one."""
        dead = eventually_sync(lambda: self.primary(key), within_s=READY_S, what="a primary")
        assert dead
        if paused:
            dead.pause()
        else:
            dead.kill()
        self.hear()
        others = {None, dead}
        eventually_sync(lambda: self.primary(key) not in others, within_s=READY_S, what="another primary")
        return dead

    def wait_for_replicas(self) -> None:
        """Until what was written is at a replica of every primary, too."""
        eventually_sync(
            lambda: all(s.ask("WAIT", 1, 100) for s in self.primaries()), within_s=READY_S, what="replicas"
        )

    def revive(self) -> None:
        """Start whoever is dead; returns when all of them are in step again."""
        for server in self.servers:
            server.start()
        eventually_sync(self._settled, within_s=READY_S, what="servers that agree")

    @abstractmethod
    def _settled(self) -> bool: ...

    def _by_port(self, port: object) -> Server:
        return next(server for server in self.servers if server.port == int(str(port)))


class LoneServer(Redises):
    """One server, as most have it."""

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.servers[0].port}/0"

    def _start(self) -> None:
        options = {**_LASTING, "requirepass": PASSWORD, **self._options}
        self.servers.append(Server(self._children, self._folder, options))
        self.servers[-1].start()

    def primary(self, key: str) -> Server | None:
        return self.servers[0]

    def primaries(self) -> Sequence[Server]:
        return self.servers

    def _settled(self) -> bool:
        return True


class ClusterOfServers(Redises):
    """Three primaries and a replica of each."""

    @property
    def url(self) -> str:
        return f"redis+cluster://:{PASSWORD}@{','.join(f'127.0.0.1:{s.port}' for s in self.servers[:3])}"

    def _start(self) -> None:
        for _ in range(6):
            options = {
                **_LASTING, "requirepass": PASSWORD, "masterauth": PASSWORD, "cluster-enabled": "yes",
                "cluster-port": str(free_port()), "cluster-node-timeout": str(SILENT_MS),
                "cluster-replica-validity-factor": "0", "repl-diskless-sync-delay": "0",
            }  # fmt: skip
            self.servers.append(Server(self._children, self._folder, {**options, **self._options}))
            self.servers[-1].start()
        first, *others = self.servers
        for n, server in enumerate(self.servers[:3]):
            server.ask("CLUSTER", "ADDSLOTSRANGE", 16_384 * n // 3, 16_384 * (n + 1) // 3 - 1)
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for server in others:
            bus = server.ask("CONFIG", "GET", "cluster-port")[1]
            first.ask("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        for replica, of in zip(self.servers[3:], self.servers[:3], strict=True):
            eventually_sync(partial(_follows, replica, of), within_s=READY_S, what="a replica")
        eventually_sync(self._settled, within_s=READY_S, what="a cluster")

    def primary(self, key: str) -> Server | None:
        return self._owner(key_slot(key.encode()))

    def _owner(self, slot: int) -> Server | None:
        said = {self._said(server, slot) for server in self.servers if server.running}
        return self._by_port(said.pop()) if len(said) == 1 and None not in said else None

    def _said(self, server: Server, slot: int) -> int | None:
        if b"cluster_state:ok" not in server.ask("CLUSTER", "INFO"):
            return None
        ranges = server.ask("CLUSTER", "SLOTS")
        return next((place[1] for first, last, place, *_ in ranges if first <= slot <= last), None)

    def primaries(self) -> Sequence[Server]:
        ports = {place[1] for _, _, place, *_ in self._anybody().ask("CLUSTER", "SLOTS")}
        return [self._by_port(port) for port in sorted(ports)]

    def move(self, key: str) -> None:
        """Move the slot of a key, with everything in it, to another primary."""
        list(self.moving(key))

    def moving(self, key: str) -> Iterator[str]:
        """The same step by step; the name of the last one."""
        slot = key_slot(key.encode())
        source = eventually_sync(lambda: self._owner(slot), within_s=READY_S, what="an owner")
        assert source
        to = next(server for server in self.primaries() if server is not source)
        ids = {server: server.ask("CLUSTER", "MYID") for server in (source, to)}
        yield "before"
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
        yield "begun"
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
            _carry(source, to, keys)
        yield "carried"
        for server in (to, source):
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[to])
        yield "done"

    def move_one(self, key: str) -> None:
        """Carry one key of a slot that is being moved."""
        nodes = self.primaries()
        source = next(s for s in nodes if key.encode() in s.ask("KEYS", "*"))
        to = next(s for s in nodes if b"-<-" in s.ask("CLUSTER", "NODES"))
        _carry(source, to, [key.encode()])

    def _settled(self) -> bool:
        """All know the same owners, and every replica has what its primary has."""
        with suppress(redis.RedisError):
            whole = all(self._owner(slot) for slot in (0, 8_000, 16_383))
            return whole and all(_in_step(server) for server in self.servers)
        return False

    def _anybody(self) -> Server:
        return next(server for server in self.servers if server.running)


class WatchedServers(Redises):
    """A primary, two replicas, and three Sentinels."""

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, options)
        self.sentinels: list[Server] = []

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{PASSWORD}@{places}/{SERVICE}"

    def _start(self) -> None:
        for n in range(3):
            options = {"requirepass": PASSWORD, "masterauth": PASSWORD, "repl-diskless-sync-delay": "0"}
            if n:
                options["replicaof"] = f"127.0.0.1 {self.servers[0].port}"
            given = {**_LASTING, **options, **self._options}
            self.servers.append(Server(self._children, self._folder, given))
            self.servers[-1].start()
        eventually_sync(lambda: all(map(_in_step, self.servers)), within_s=READY_S, what="replicas")
        for _ in range(3):
            watch = {
                f"sentinel monitor {SERVICE}": f"127.0.0.1 {self.servers[0].port} 2",
                f"sentinel auth-pass {SERVICE}": PASSWORD,
                f"sentinel down-after-milliseconds {SERVICE}": str(SILENT_MS),
                f"sentinel failover-timeout {SERVICE}": "6000",
            }
            self.sentinels.append(Server(self._children, self._folder, watch, sentinel=True))
            self.sentinels[-1].start()
        eventually_sync(self._settled, within_s=READY_S, what="Sentinels that know each other")

    def primary(self, key: str) -> Server | None:
        said = {_told(sentinel) for sentinel in self.sentinels if sentinel.running}
        if len(said) != 1:
            return None
        server = self._by_port(said.pop())
        with suppress(redis.RedisError):
            return server if not server.running or server.ask("ROLE")[0] == b"master" else None
        return None

    def primaries(self) -> Sequence[Server]:
        server = eventually_sync(lambda: self.primary(""), within_s=READY_S, what="a primary")
        assert server
        return [server]

    def _settled(self) -> bool:
        with suppress(redis.RedisError):
            known = all(self._knows_all(sentinel) for sentinel in self.sentinels)
            return known and self.primary("") is not None and all(map(_in_step, self.servers))
        return False

    def _knows_all(self, sentinel: Server) -> bool:
        others = sentinel.ask("SENTINEL", "SENTINELS", SERVICE)
        replicas = sentinel.ask("SENTINEL", "REPLICAS", SERVICE)
        return len(others) == len(self.sentinels) - 1 and len(replicas) == len(self.servers) - 1


def _carry(source: Server, to: Server, keys: Sequence[bytes]) -> None:
    source.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 60_000, "AUTH", PASSWORD, "KEYS", *keys)


def _told(sentinel: Server) -> str:
    port: bytes = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1]
    return port.decode()


def _follows(replica: Server, of: Server) -> bool:
    with suppress(redis.RedisError):
        return bool(replica.ask("CLUSTER", "REPLICATE", of.ask("CLUSTER", "MYID")))
    return False


def _in_step(server: Server) -> bool:
    """A primary, or a replica that is connected to one and has all that it has."""
    role = server.ask("ROLE")
    return bool(role[0] == b"master" or role[3] == b"connected")


KINDS: dict[str, type[Redises]] = {"cluster": ClusterOfServers, "sentinel": WatchedServers}


@contextmanager
def open_redises(kind: str, options: Mapping[str, str] | None = None) -> Iterator[Redises]:
    """`options` are lines of the configuration of each server that keeps anything."""
    with open_folder() as folder, (KINDS | {"server": LoneServer})[kind](folder, options) as redises:
        yield redises


def users(lines: Iterable[str]) -> dict[str, str]:
    """The same users of an ACL file, with a password and switched on, as a configuration has them."""
    split = [line.split(" off ", 1) for line in lines]
    return {name: f"on >{PASSWORD} {rights}" for name, rights in split}


def url_as(url: str, user: str) -> str:
    return url.replace(f"://:{PASSWORD}@", f"://{user}:{PASSWORD}@")
