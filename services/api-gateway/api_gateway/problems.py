"""Errors as answers: `application/problem+json` (RFC 9457) with every field and the request's id."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from urllib.parse import quote

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from rollotape.errors import RolloError, Unavailable
from rollotape.wording import must

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
_LONGEST_NAME = 60

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the catalogue below; `slug` is what programs compare, so it never changes."""

    status: int
    slug: str
    title: str


BAD_CURSOR = Kind(400, "bad-cursor", "The page token does not belong to this query")
UNAUTHORIZED = Kind(401, "unauthorized", "A key is needed, and this one will not do")
FORBIDDEN = Kind(403, "forbidden", "This key may not do that")
NOT_FOUND = Kind(404, "not-found", "There is nothing here")
METHOD_NOT_ALLOWED = Kind(405, "method-not-allowed", "This path does not answer that method")
BODY_TOO_SLOW = Kind(408, "body-too-slow", "The body did not arrive in time")
CONFLICT = Kind(409, "conflict", "It does not go with what is there")
PRECONDITION_FAILED = Kind(412, "precondition-failed", "It has changed in the meantime")
TOO_LARGE = Kind(413, "too-large", "The body is too large")
UNSUPPORTED_MEDIA_TYPE = Kind(415, "unsupported-media-type", "The body is of a type that is not taken here")
MISDIRECTED = Kind(421, "misdirected", "This gateway does not go by that name")
INVALID_REQUEST = Kind(422, "invalid-request", "The request does not say what it has to say")
TOO_MANY_REQUESTS = Kind(429, "too-many-requests", "This key has asked too often")
HEAD_TOO_LARGE = Kind(431, "head-too-large", "The headers are too many or too large")
DEFECT = Kind(500, "defect", "The gateway failed; this is a bug")
UNAVAILABLE = Kind(503, "unavailable", "A server that this answer needs is away")

CATALOGUE = {
    kind.status: kind
    for kind in (
        BAD_CURSOR,
        UNAUTHORIZED,
        FORBIDDEN,
        NOT_FOUND,
        METHOD_NOT_ALLOWED,
        BODY_TOO_SLOW,
        CONFLICT,
        PRECONDITION_FAILED,
        TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        MISDIRECTED,
        INVALID_REQUEST,
        TOO_MANY_REQUESTS,
        HEAD_TOO_LARGE,
        DEFECT,
        UNAVAILABLE,
    )
}

MALFORMED = Kind(400, "malformed-http", "The request is not HTTP/1.1")
FOREIGN_ORIGIN = Kind(403, "foreign-origin", "Pages from there may not write here")
LIMIT_REACHED = Kind(409, "limit-reached", "There are as many as there may be")
HEAD_TOO_SLOW = Kind(408, "head-too-slow", "The headers did not arrive in time")
TOO_MANY_CONNECTIONS = Kind(503, "too-many-connections", "The gateway has no connection left")
"""Those that share a status with one of the catalogue."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong: `location` is path, query, header or body."""

    location: str
    field: str
    reason: str


class Problem(RolloError):
    """Raised by whoever cannot go on; the handlers below turn it into the answer."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.errors, self.headers = kind, detail, tuple(errors), dict(headers or {})


class Interrupted(HTTPException):
    """A problem met while a body is read; FastAPI would make a 400 of any other exception there."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.kind.status, problem.detail)
        self.problem = problem


def invalid(errors: Iterable[FieldError]) -> Problem:
    """422 whose detail reads as one sentence and whose `errors` name every field."""
    found = tuple(errors)
    return Problem(INVALID_REQUEST, "; ".join(f"{e.field}: {e.reason}" for e in found), errors=found)


def unavailable(what: str) -> Problem:
    """503 naming the server that is away; why it is away is for the log, not for strangers."""
    detail = f"Away or too slow to answer: {what}. The same request may succeed in a moment."
    return Problem(UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_AFTER_S)})


def short(name: str) -> str:
    """A name as its sender wrote it, made printable and cut where the sender might be hostile."""
    text = name if name.isprintable() else ascii(name)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."


def document(problem: Problem, *, instance: str, request_id: str) -> bytes:
    """The body of a problem."""
    return orjson.dumps(
        {
            "type": f"urn:rollotape:problem:{problem.kind.slug}",
            "title": problem.kind.title,
            "status": problem.kind.status,
            "detail": printable(problem.detail),
            "instance": instance,
            "request_id": request_id,
            "errors": [_field_error(e) for e in problem.errors],
        }
    )


def printable(text: str) -> str:
    """Lone surrogates cannot be written as UTF-8; they are shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _field_error(error: FieldError) -> dict[str, str]:
    said = {name: printable(value) for name, value in asdict(error).items()}
    return {"in": said["location"], "field": said["field"], "reason": said["reason"]}


def answer(request: Request, problem: Problem) -> Response:
    """The answer to a request that ended in a problem. Never cached: the next try may go well."""
    instance = quote(request.scope["path"], safe="/:@!$&'()*+,;=~-._")
    body = document(problem, instance=instance, request_id=request_id(request))
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(body, problem.kind.status, headers, MEDIA_TYPE)


def request_id(request: Request) -> str:
    """The id given to this request by `Envelope`, the outermost layer."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def handle_all(app: FastAPI) -> None:
    """Answer every error that leaves a route; what is left is a bug, and answered by `Envelope`."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(Interrupted, _on_interrupted)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Unavailable, _on_unavailable)
    app.add_exception_handler(HTTPException, _on_http)


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer(request, error)


async def _on_interrupted(request: Request, error: Exception) -> Response:
    assert isinstance(error, Interrupted)
    return answer(request, error.problem)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = []
    for detail in error.errors():
        location, *rest = map(str, detail["loc"])
        found.append(FieldError(location, short(".".join(rest) or location), must(detail)))
    return answer(request, invalid(found))


async def _on_unavailable(request: Request, error: Exception) -> Response:
    log.warning("unavailable", request_id=request_id(request), error=str(error))
    return answer(request, unavailable("A server that this answer needs"))


async def _on_http(request: Request, error: Exception) -> Response:
    """What the framework raises itself: no such path, no such method."""
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    slug = phrase.lower().replace(" ", "-")
    kind = CATALOGUE.get(error.status_code, Kind(error.status_code, slug, phrase))
    headers = dict(error.headers or {})
    if kind is METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))
        return answer(request, Problem(kind, f"This path answers {headers['Allow']}.", headers=headers))
    detail = f"{request.method} {short(request.scope['path'])}: {phrase}."
    return answer(request, Problem(kind, detail, headers=headers))


def _methods(request: Request) -> list[str]:
    """Methods of every route of this path: the framework itself names those of the first one only."""
    path = getattr(request.scope.get("route"), "path", None)
    of_path = [route for route in request.app.routes if getattr(route, "path", None) == path]
    found = {method for route in of_path for method in route.methods}
    return sorted(found | ({"HEAD"} if "GET" in found else set()))
