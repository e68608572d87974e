"""OpenAPI where it has to be said by hand: problem documents, CSV, headers, bodies that we read ourselves."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api_gateway import answered, problems
from api_gateway.bodies import SavedScanBody, ScanFilters, WatchlistBody, WebhookBody
from api_gateway.paths import is_open
from rollotape.events import Bar, PatternEvent, SignalEvent

_REF = "#/components/schemas/{model}"

Responses = dict[int | str, dict[str, Any]]

HEADERS: dict[str, Any] = {
    "X-Request-Id": {
        "description": "The client's own id where it is 1 to 64 of A-Z a-z 0-9 . _ -, else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "Cache-Control": {"required": True, "schema": {"type": "string"}},
    "ETag": {"required": True, "schema": {"type": "string", "pattern": '^W/"[0-9a-f]+"$'}},
    "Vary": {"required": True, "schema": {"type": "string"}},
    "Link": {"description": 'rel="next": the next page, where there is one.', "schema": {"type": "string"}},
    "Retry-After": {"required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}},
    "WWW-Authenticate": {"required": True, "schema": {"type": "string"}},
    "RateLimit-Policy": {
        "description": "How many requests (q) a key has in a window of so many seconds (w).",
        "schema": {"type": "string", "pattern": '^"key";q=[0-9]+;w=[0-9]+$'},
    },
    "RateLimit": {
        "description": "How many of them remain (r), and the seconds until the window ends (t).",
        "schema": {"type": "string", "pattern": '^"key";r=[0-9]+;t=[0-9]+$'},
    },
    "X-RateLimit-Limit": {"description": "The same q.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
    "X-RateLimit-Remaining": {
        "description": "The same r.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "X-RateLimit-Reset": {"description": "The same t.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
    "Allow": {"required": True, "schema": {"type": "string"}},
}
_ASKING, _LATER = ("WWW-Authenticate",), ("Retry-After",)
_ALSO: dict[int, tuple[str, ...]] = {401: _ASKING, 405: ("Allow",), 429: _LATER, 503: _LATER}
"""Headers of problems, by status."""
_SCHEMES: dict[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key made by `rollo key create` (read for GET, write for the rest), or a token (JWT)"
        " where the gateway takes them.",
    },
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}
_ALWAYS = ("X-Request-Id", "Cache-Control")
_LIMITED = (
    "RateLimit-Policy", "RateLimit", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
)  # fmt: skip


def headers(*names: str) -> dict[str, Any]:
    """References to the headers of an answer; two of them are on every answer."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*_ALWAYS, *names)}


UNCHANGED = {"description": "The client has this answer already", "headers": headers("ETag", "Vary")}


def listed(*statuses: int) -> Responses:
    """Answers of a list: JSON by the route's model, CSV beside it, 304, and its problems."""
    csv = {"text/csv": {"schema": {"type": "string"}}}
    good = {"headers": headers("ETag", "Vary", "Link"), "content": csv}
    return failing(400, 422, 503, *statuses) | {200: good, 304: UNCHANGED}


def tabled(*statuses: int) -> Responses:
    """Answers of rows that come all at once: as of a list, without pages."""
    csv = {"text/csv": {"schema": {"type": "string"}}}
    good = {"headers": headers("ETag", "Vary"), "content": csv}
    return failing(422, 503, *statuses) | {200: good, 304: UNCHANGED}


def single(*statuses: int) -> Responses:
    """Answers of one thing made of stored data."""
    return failing(422, 503, *statuses) | {200: {"headers": headers("ETag", "Vary")}, 304: UNCHANGED}


def plain(*statuses: int) -> Responses:
    """Answers of a route whose only good answer is 200."""
    return failing(422, *statuses) | {200: {"headers": headers()}}


def failing(*statuses: int) -> Responses:
    """Problems of a route, those that any route may have included."""
    return {status: _problem(problems.CATALOGUE[status]) for status in sorted({*statuses, 405, 500})}


def _problem(kind: problems.Kind) -> dict[str, Any]:
    extra = _ALSO.get(kind.status, ())
    schema = {"$ref": _REF.format(model="Problem")}
    return {
        "description": f"{kind.title} (`{kind.slug}`)",
        "headers": headers(*extra),
        "content": {problems.MEDIA_TYPE: {"schema": schema}},
    }


def completed(document: dict[str, Any], *, keys: bool) -> dict[str, Any]:
    """The framework's document with the components that only this module refers to.

    `keys` says whether this gateway asks for them; their schemes are described either way.
    """
    components = document.setdefault("components", {})
    components["headers"] = HEADERS
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = _schema(ProblemDocument, schemas)
    schemas["Bar"] = _schema(Bar, schemas)
    schemas["PatternEvent"] = _schema(PatternEvent, schemas)
    schemas["SignalEvent"] = _schema(SignalEvent, schemas)
    for model in (WatchlistBody, ScanFilters, SavedScanBody, WebhookBody):
        schemas[model.__name__] = _schema(model, schemas)
    components["securitySchemes"] = _SCHEMES
    of_all, of_those_asked = _REFUSALS
    limited = {name: {"$ref": f"#/components/headers/{name}"} for name in _LIMITED}
    components["examples"] = answered.problems()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"] |= _refusals(of_all)
        for operation in () if is_open(path) else operations.values():
            operation["responses"] |= _refusals(of_those_asked)
            for answer in operation["responses"].values():
                answer["headers"] = answer.get("headers", {}) | limited
            if keys:
                operation["security"] = [{name: []} for name in _SCHEMES]
        for method, operation in operations.items():
            answered.illustrate(operation, method)
    return document


_REFUSALS = (
    (problems.TOO_LARGE, problems.UNSUPPORTED_MEDIA_TYPE, problems.MISDIRECTED, problems.HEAD_TOO_LARGE),
    (problems.UNAUTHORIZED, problems.FORBIDDEN, problems.TOO_MANY_REQUESTS),
)
"""Whatever is asked for; and where keys are asked for."""


def _refusals(kinds: tuple[problems.Kind, ...]) -> dict[str, Any]:
    """Made anew for each operation, whose examples are its own."""
    return {str(kind.status): _problem(kind) for kind in kinds}


def _schema(model: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of a model, the models within it put beside it."""
    said: dict[str, Any] = model.model_json_schema(ref_template=_REF)
    schemas |= said.pop("$defs", {})
    return said


class FieldErrorItem(BaseModel):
    """One thing that is wrong."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    location: Literal["path", "query", "header", "body"] = Field(alias="in")
    field: str
    reason: str


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[FieldErrorItem]
