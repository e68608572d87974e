"""TLS in front of servers that have none: what comes in by TLS goes on as it is."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support.waiting import eventually_sync


def certificate(folder: Path) -> Path:
    """One of 127.0.0.1 that has signed itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    place = folder / "server.pem"
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    place.write_bytes(made.public_bytes(pem) + secret)
    return place


@contextmanager
def in_front_of(*servers: tuple[int, Callable[[], int]], pem: Path) -> Iterator[None]:
    """Listen on each first port by TLS, and pass on to the second one, asked for when somebody comes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    listening, over = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def listen() -> None:
        opened = [
            await asyncio.start_server(_passing(to), "127.0.0.1", port, ssl=context) for port, to in servers
        ]
        listening.set()
        await over.wait()
        for server in opened:
            server.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(listen())

    thread = threading.Thread(target=run, name="tls", daemon=True)
    thread.start()
    eventually_sync(lambda: listening.is_set() or not thread.is_alive(), what="TLS")
    try:
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)


def _passing(
    to: Callable[[], int],
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", to())
        await asyncio.gather(_copy(reader, here), _copy(there, writer))

    return pass_on


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.CancelledError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
