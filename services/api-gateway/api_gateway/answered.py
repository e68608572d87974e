"""Examples for the OpenAPI document: what a gateway answered, recorded by a test that holds it to them.

`make docs` writes `answered.json` anew, from requests to a gateway over rows that are always the same.
"""

from functools import cache
from importlib.resources import files
from typing import Any

import orjson

from api_gateway.problems import MEDIA_TYPE

_WRITING = frozenset({"foreign-origin", "conflict", "limit-reached", "precondition-failed", "body-too-slow"})
"""Problems that only what changes something meets."""


@cache
def recorded() -> dict[str, Any]:
    """By id of the operation what was asked and answered, and every problem by its name."""
    said: dict[str, Any] = orjson.loads(files("api_gateway").joinpath("answered.json").read_bytes())
    return said


def problems() -> dict[str, Any]:
    """An example of every problem, for the components of the document."""
    return {
        slug: {"summary": f"{met['method']} {met['target']}", "value": met["answer"]}
        for slug, met in recorded()["problems"].items()
    }


def illustrate(operation: dict[str, Any], method: str) -> None:
    """Put the recorded examples where they belong."""
    for status, answer in operation["responses"].items():
        if MEDIA_TYPE in answer.get("content", ()):
            met = [
                slug
                for slug, said in recorded()["problems"].items()
                if str(said["answer"]["status"]) == str(status) and (slug not in _WRITING or method != "get")
            ]
            found = {slug: {"$ref": f"#/components/examples/{slug}"} for slug in met}
            answer["content"][MEDIA_TYPE]["examples"] = found
    for met in recorded()["operations"].get(operation["operationId"].removesuffix("_v1"), ()):
        content = operation["responses"][str(met["status"])]["content"][met["media_type"]]
        content.pop("example", None)
        content.setdefault("examples", {})[met["name"]] = {
            "summary": f"{met['method']} {met['target']}",
            "value": met["answer"],
        }
        _illustrate_request(operation, met)


def _illustrate_request(operation: dict[str, Any], met: dict[str, Any]) -> None:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None and met.get("body") is not None:
        body.pop("example", None)
        body.setdefault("examples", {})[met["name"]] = {"value": met["body"]}
