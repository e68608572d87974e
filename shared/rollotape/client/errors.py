"""What goes wrong is named by what can be done about it.

ClientError
├── Unreachable             no gateway answered, however often it was tried
└── Refusal                 one answered with a problem document, which is its `problem`
    ├── BadCursor           400: the page token is of another question
    ├── Unauthorized        401: no key, or one that is good no more
    ├── Forbidden           403: this key may not do that
    ├── NotFound            404
    ├── Conflict            409
    ├── Changed             412: it is not of the version that was named any more
    ├── TooLarge            413
    ├── Invalid             422: `problem.errors` names every field
    ├── TooManyRequests     429: still, after waiting as long as it said
    ├── ServerAway          503: still, after waiting as long as it said
    └── CutOff              404, 406, 407 of a stream: too late, too many connections, too slow
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from rollotape.errors import RolloError


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong; `place` is path, query, header or body."""

    place: str
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document (RFC 9457). `type` is what programs compare."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: tuple[FieldProblem, ...]
    said: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """All of it: beside the problem of an unhealthy system stand the findings."""


class ClientError(RolloError):
    """Base of every error of this client."""


class Unreachable(ClientError):
    """No gateway answered."""


class Refusal(ClientError):
    """An answer that says why there is none. `retry_after_s` is None where the gateway named no time."""

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        about = f" (request {problem.request_id})" if problem.request_id else ""
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}{about}")
        self.problem, self.retry_after_s = problem, retry_after_s


class BadCursor(Refusal):
    pass


class Unauthorized(Refusal):
    pass


class Forbidden(Refusal):
    pass


class NotFound(Refusal):
    pass


class Conflict(Refusal):
    pass


class Changed(Refusal):
    pass


class TooLarge(Refusal):
    pass


class Invalid(Refusal):
    pass


class TooManyRequests(Refusal):
    pass


class ServerAway(Refusal):
    pass


class CutOff(Refusal):
    pass


_BY_STATUS = {
    400: BadCursor,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Changed,
    413: TooLarge,
    422: Invalid,
    429: TooManyRequests,
    503: ServerAway,
}
_BY_CODE = {
    400: Invalid,
    401: Unauthorized,
    402: Unauthorized,
    404: CutOff,
    406: CutOff,
    407: CutOff,
    429: TooManyRequests,
    503: ServerAway,
}
"""Of the stream over WebSocket, where numbers are its own."""


def refusal(status: int, reason: str, body: bytes, retry_after: str | None) -> Refusal:
    """The error for an answer; a body that is no problem document, as of a proxy, is left out."""
    try:
        said: Any = orjson.loads(body)
        problem = _problem(said)
    except (ValueError, KeyError, TypeError, AttributeError):
        problem = Problem("about:blank", reason, status, "The answer has no problem document.", "", "", ())
    return _BY_STATUS.get(status, Refusal)(problem, seconds(retry_after))


def ended(item: Mapping[str, Any]) -> Refusal:
    """The error for one that came over a stream."""
    code, said = int(item["code"]), str(item["msg"])
    errors = tuple(FieldProblem("body", e["field"], e["reason"]) for e in item.get("errors", ()))
    problem = Problem("about:blank", "The stream said", code, said, "/api/stream", "", errors, item)
    return _BY_CODE.get(code, Refusal)(problem)


def _problem(said: Any) -> Problem:
    errors = tuple(FieldProblem(e["in"], e["field"], e["reason"]) for e in said["errors"])
    return Problem(
        str(said["type"]),
        str(said["title"]),
        int(said["status"]),
        str(said["detail"]),
        str(said["instance"]),
        str(said["request_id"]),
        errors,
        said,
    )


def seconds(retry_after: str | None) -> float | None:
    """`Retry-After` as seconds from now, whichever way it was written; None where it says nothing."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, when.replace(tzinfo=when.tzinfo or UTC).timestamp() - time.time())
