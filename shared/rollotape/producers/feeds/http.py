"""One request over HTTP, with what a service says of its limits."""

import asyncio
import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from rollotape.errors import Unavailable

ANSWER_S = 15.0
"""A process that is told to stop waits for it no longer."""
LONGEST = 64 * 1024 * 1024
TOO_MANY = 429
LONGEST_PAUSE_S = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Stay(HTTPRedirectHandler):
    """A key goes to the address that was named, and to no other."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


_OPENER = build_opener(_Stay)


async def get(url: str, headers: Mapping[str, str]) -> Answer:
    """The answer, whatever its status.

    Raises:
        Unavailable: none came, or one without end.
    """
    return await asyncio.to_thread(_get, url, headers)


def _get(url: str, headers: Mapping[str, str]) -> Answer:
    request = Request(url, headers=dict(headers))  # noqa: S310 - the scheme was looked at with the setting
    try:
        with _OPENER.open(request, timeout=ANSWER_S) as answer:
            body = answer.read(LONGEST + 1)
            status, told = answer.status, answer.headers
    except HTTPError as error:
        with error:
            body, status, told = error.read(LONGEST + 1), error.code, error.headers
    except (URLError, OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise Unavailable(f"{Request(url).host}: {type(error).__name__}: {reason}") from None  # noqa: S310
    if len(body) > LONGEST:
        raise Unavailable(f"{request.host}: an answer of more than {LONGEST:,} bytes")
    return Answer(status, {name.lower(): value for name, value in told.items()}, body)


def pause_s(answer: Answer, now_s: float) -> float:
    """How long to wait before the next request, as the service says it."""
    after, reset = answer.headers.get("retry-after", ""), answer.headers.get("x-ratelimit-reset", "")
    if after.isdecimal():
        seconds = float(after)
    elif reset.isdecimal():
        seconds = int(reset) - now_s
    else:
        seconds = 10.0
    return min(max(seconds, 1.0), LONGEST_PAUSE_S)
