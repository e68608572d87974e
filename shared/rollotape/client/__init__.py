"""A client of the gateway: questions as values (`calls`), asked with or without an event loop.

It takes the extra `client`: pip install 'rollotape[client]'.
"""

from rollotape.client import calls, errors
from rollotape.client.attempts import Patience
from rollotape.client.clients import AsyncClient, AsyncStream, Client, Stream
from rollotape.client.errors import ClientError, Refusal, Unreachable
from rollotape.client.following import Gap, Update

__all__ = [
    "AsyncClient", "AsyncStream", "Client", "ClientError", "Gap", "Patience", "Refusal", "Stream",
    "Unreachable", "Update", "calls", "errors",
]  # fmt: skip
