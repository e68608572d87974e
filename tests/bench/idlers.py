"""Clients of the stream that never read, and some that read slowly, until standard input ends.

    python -m bench.idlers HOST PORT KEY NEVER SLOW
"""

import select
import socket
import sys
import time
from base64 import b64encode
from contextlib import suppress
from os import urandom

from bench.watchers import masked

SLOWLY = 4_096
"""Bytes a second."""
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
    connection = socket.create_connection((host, port), 10)
    head = (
        f"GET /api/stream HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {b64encode(urandom(16)).decode()}\r\n"
        f"X-API-Key: {key}\r\n\r\n"
    )
    connection.sendall(head.encode() + masked(_SUBSCRIBE))
    connection.setblocking(False)
    return connection


if __name__ == "__main__":
    main()
