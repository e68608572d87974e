"""Valkey or Redis in one of its two roles."""

import socket
from typing import IO, Literal

from rollotape.embedded.children import Child
from rollotape.embedded.programs import choose, redis_programs
from rollotape.embedded.server import Server, Terms, write_private

Role = Literal["streams", "cache"]

POLICY: dict[Role, dict[str, str]] = {
    "streams": {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"},
    "cache": {"appendonly": "no", "maxmemory-policy": "allkeys-lru", "maxmemory": "512mb"},
}


class Valkey(Server):
    """What must not vanish lives in `streams`; what can be recomputed lives in `cache`."""

    def __init__(self, role: Role, terms: Terms) -> None:
        program = choose(redis_programs(), "Valkey or Redis 7.0 or newer", remembered=terms.program)
        super().__init__(role, terms, program)
        self.role = role
        self.folder = terms.data / f"redis-{role}"

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def _spawn(self, log: IO[bytes]) -> Child:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        configuration = self.folder / "redis.conf"
        write_private(configuration, "".join(f"{key} {value}\n" for key, value in self._options().items()))
        return self._children.spawn([self.program.path, configuration], log=log, cwd=self.folder)

    def _options(self) -> dict[str, str]:
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "dir": f'"{self.folder}"',
            "save": '""',
            "set-proc-title": "no",  # the command line tells a later start whose process this is
        } | POLICY[self.role]
        return options if self.durable else options | {"appendfsync": "no"}

    def _ready(self, child: Child) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"AUTH %b\r\nPING\r\n" % self.password.encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (more := connection.recv(256)):
                    answer += more
        except OSError:
            return False
        return answer.endswith(b"+PONG\r\n")  # else it is still loading
