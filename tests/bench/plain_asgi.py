"""A measure for the gateway: an application that does nothing but answer, on the gateway's own server.

    python -m bench.plain_asgi PORT FILE

Every request is answered by the same headers and the bytes of the file; none is looked at.
"""

import asyncio
import gc
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn

from api_gateway import main as gateway

HEADERS = [
    (b"cache-control", b"private, max-age=30"),
    (b"vary", b"Accept, Accept-Encoding, Authorization"),
    (b"etag", b'W/"0123456789abcdef01234567"'),
    (b"content-type", b"application/json"),
    (b"x-request-id", b"0123456789abcdef0123456789abcdef"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"ratelimit-policy", b'"key";q=1000000;w=60'),
    (b"x-ratelimit-limit", b"1000000"),
    (b"ratelimit", b'"key";r=654321;t=31'),
    (b"x-ratelimit-remaining", b"654321"),
    (b"x-ratelimit-reset", b"31"),
]
"""As many as the gateway's, and as long."""


class Plain:
    def __init__(self, body: bytes) -> None:
        self._start = {
            "type": "http.response.start",
            "status": 200,
            "headers": [*HEADERS, (b"content-length", str(len(body)).encode())],
        }
        self._end = {"type": "http.response.body", "body": body}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        await send(self._start)
        await send(self._end)


async def _live(receive: Any, send: Any) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def main(port: int, body: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=2_048)
    await uvicorn.Server(gateway.config(Plain(body))).serve([listener])


if __name__ == "__main__":
    gc.set_threshold(50_000, 20, 20)  # as the gateway does
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
