"""Clients of the stream that never read, and some that read slowly, until standard input ends.

    python -m bench.idlers HOST PORT KEY NEVER SLOW

`ready` is printed when all of them were told that they are subscribed to everything.
"""

import select
import socket
import sys
import time
from contextlib import suppress

from bench.watchers import masked, upgrade

SLOWLY = 4_096
"""Bytes a second."""
_PATIENCE_S = 10.0
_SUBSCRIBE = b'{"action":"subscribe","patterns":["*"],"vsa":["*"],"wyckoff":["*"]}'


def main() -> None:
    host, port, key, never, slow = sys.argv[1:]
    opened = [_opened(host, int(port), key) for _ in range(int(never) + int(slow))]
    print("ready", flush=True)
    readers = opened[int(never) :]
    while not select.select([sys.stdin], [], [], 0)[0]:
        for reader in readers:
            with suppress(OSError):
                reader.recv(SLOWLY)
        time.sleep(1)


def _opened(host: str, port: int, key: str) -> socket.socket:
    connection = socket.create_connection((host, port), _PATIENCE_S)
    connection.sendall(upgrade(host, port, key))
    _read_to(connection, b"\r\n\r\n")  # what is sent before would be lost
    connection.sendall(masked(_SUBSCRIBE))
    _read_to(connection, b'"T":"subscription"')
    connection.setblocking(False)
    return connection


def _read_to(connection: socket.socket, words: bytes) -> None:
    heard = b""
    while words not in heard:
        part = connection.recv(SLOWLY)
        if not part:
            raise SystemExit(f"a client was sent away: {heard.decode('latin-1')}")
        heard += part


if __name__ == "__main__":
    main()
