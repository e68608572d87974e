"""Bodies of single things, read strictly: nothing unknown, nothing twice, no number that is none."""

import json
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from api_gateway import ingest
from api_gateway.problems import UNSUPPORTED_MEDIA_TYPE, FieldError, Problem, invalid, short
from rollotape import wording

_FAILED = "must be JSON"

B = TypeVar("B", bound=BaseModel)


async def read(request: Request, model: type[B]) -> B:
    """The body.

    Raises:
        Problem: 408, 413, 415, or 422 that names every fault.
    """
    if ingest.media_type(request) != "application/json":
        reason = f"must be application/json, got {short(request.headers['content-type'])}"
        errors = [FieldError("header", "content-type", reason)]
        taken = {"Accept": "application/json"}
        raise Problem(UNSUPPORTED_MEDIA_TYPE, f"content-type: {reason}", errors=errors, headers=taken)
    content = await ingest.body(request)
    try:
        said = json.loads(content.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise _malformed(f"must be UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise _malformed(f"{_FAILED}, and not nested that deeply") from None
    except ValueError as error:
        raise _malformed(f"{_FAILED}: {error}") from None
    try:
        return model.model_validate(said)
    except ValidationError as error:
        raise invalid(_fault(detail) for detail in error.errors(include_url=False)) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{short(name)} is given twice")
        found[name] = value
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _fault(detail: Any) -> FieldError:
    field = ".".join(short(str(part)) for part in detail["loc"]) or "body"
    return FieldError("body", field, wording.reason(detail))


def _malformed(reason: str) -> Problem:
    return invalid([FieldError("body", "body", reason)])
