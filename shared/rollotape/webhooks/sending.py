"""One POST to an address that was looked at, over a connection of its own, to the end of the answer's head.

Nothing between the look and the connection can change where it leads: the name is resolved once, and the
connection is made to the very address that was judged. No redirect is followed and no proxy asked.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import NamedTuple

import h11

from rollotape import __version__
from rollotape.webhooks.addresses import Forbidden, Policy, Target, Wrong
from rollotape.webhooks.signing import signature

WITHIN_S = 10.0
"""From the question for the address to the head of the answer."""
CONNECT_S = 3.0
"""Then the next address of the host is tried, where it has several."""
_HEAD_BYTES = 64 * 1_024
_READ_BYTES = 16 * 1_024
_LONGEST_ERROR = 200

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses of a host."""


class Outcome(NamedTuple):
    """What came of an attempt: the status of the answer, or else why there is none."""

    status: int | None
    error: str | None

    @property
    def went_well(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


async def resolve(host: str, port: int) -> list[str]:
    """As this machine does.

    Raises:
        OSError: there is no such host, or nobody can tell now.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Sender:
    """Sends, as far as a policy lets it."""

    def __init__(self, policy: Policy, resolve: Resolve = resolve, *, within_s: float = WITHIN_S) -> None:
        self._policy, self._resolve, self._within_s = policy, resolve, within_s

    async def send(self, url: str, secret: bytes, body: bytes, named: Sequence[tuple[str, str]]) -> Outcome:
        """One attempt; `named` are headers that say what this is."""
        try:
            async with asyncio.timeout(self._within_s):
                target = self._policy.target(url)
                addresses = await self._resolve(target.host, target.port)
                judged = [str(self._policy.judge(address)) for address in addresses]  # all of them, or none
                if not judged:
                    return Outcome(None, "the host has no address")
                timestamp = int(time.time())
                headers = [
                    ("Host", target.authority),
                    ("User-Agent", f"rollotape/{__version__}"),
                    ("Content-Type", "application/json"),
                    ("Content-Length", str(len(body))),
                    ("Connection", "close"),
                    *named,
                    ("Rollo-Timestamp", str(timestamp)),
                    ("Rollo-Signature", signature(secret, timestamp, body)),
                ]
                status = await _post(target, judged, headers, body)
        except TimeoutError:
            return Outcome(None, f"no answer within {self._within_s:g} s")
        except (Forbidden, Wrong) as error:
            return Outcome(None, f"not sent: {error}")
        except (OSError, ssl.SSLError, h11.RemoteProtocolError, EOFError) as error:
            return Outcome(None, (str(error) or type(error).__name__)[:_LONGEST_ERROR])
        return Outcome(status, None if 200 <= status < 300 else f"answered {status}")


async def _post(
    target: Target, addresses: Sequence[str], headers: Sequence[tuple[str, str]], body: bytes
) -> int:
    """
    Raises:
        OSError, h11.RemoteProtocolError: nobody listens, or what listens does not speak HTTP.
    """
    reader, writer = await _connected(target, addresses)
    try:
        wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        request = h11.Request(method="POST", target=target.path, headers=list(headers))
        parts = (wire.send(event) for event in (request, h11.Data(data=body), h11.EndOfMessage()))
        writer.write(b"".join(part for part in parts if part))
        return await _status(wire, reader)  # who answers before he has read everything has answered
    finally:
        writer.transport.abort()  # what else it has to say is of no use to us


async def _connected(
    target: Target, addresses: Sequence[str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first address that takes a connection: often one of two kinds leads nowhere from here.

    Raises:
        OSError: what the last one said.
    """
    *others, last = addresses
    for address in others:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                return await _open(target, address)
    return await _open(target, last)


async def _open(target: Target, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        address,
        target.port,
        ssl=_tls() if target.secure else None,
        server_hostname=target.host if target.secure else None,
    )


async def _status(wire: h11.Connection, reader: asyncio.StreamReader) -> int:
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            part = await reader.read(_READ_BYTES)
            if not part:
                raise EOFError("the connection was closed without an answer")
            wire.receive_data(part)
        elif isinstance(event, h11.Response):
            return event.status_code
        else:
            assert isinstance(event, h11.InformationalResponse), "nothing else comes before the response"


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
