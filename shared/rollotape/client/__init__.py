"""A client of the gateway: questions as values (`calls`), asked with or without an event loop.

It takes the extra `client`: pip install 'rollotape[client]'.
"""

try:
    import httpx  # noqa: F401 - so that its absence is said in words
except ModuleNotFoundError as missing:
    wanted = "rollotape.client needs httpx: install it with `pip install 'rollotape[client]'`"
    raise ModuleNotFoundError(wanted) from missing

from rollotape import answers
from rollotape.client import calls, errors
from rollotape.client.attempts import Patience
from rollotape.client.clients import AsyncClient, AsyncStream, Client, Stream
from rollotape.client.errors import ClientError, Refusal, Unreachable
from rollotape.client.following import Gap, NewestBar, NewestScores, Update

__all__ = [
    "AsyncClient", "AsyncStream", "Client", "ClientError", "Gap", "NewestBar", "NewestScores", "Patience",
    "Refusal", "Stream", "Unreachable", "Update", "answers", "calls", "errors",
]  # fmt: skip
