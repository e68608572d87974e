"""The client says what the gateway's OpenAPI document says: shapes of answers, paths and parameters."""

import inspect
import re
from typing import Any

import pytest

from api_gateway.app import describe
from rollotape.client import analyses, answers, calls
from support.questions_of_clients import QUESTIONS

SHAPES = {
    name: shape
    for module in (answers, analyses)
    for name, shape in vars(module).items()
    if inspect.isclass(shape) and issubclass(shape, answers.Shape) and shape is not answers.Shape
}
_WORDS = {"title", "description", "default", "additionalProperties"}
"""What explains a schema, and what closes it: the client is open to what a newer gateway adds."""


IN_THE_PATH = {"symbol", "pattern_id", "trade_id", "pattern_type"}
OF_SOMEBODY = {"watchlist_id", "scan_id", "market"}
"""They name what somebody has made or told first."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe()


def plain(schema: Any) -> Any:
    """A schema without its words and bounds: what values there are, and of which type."""
    if isinstance(schema, list):
        return [plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(said := schema.get("$ref"), str):
        return said.rpartition("/")[2]
    bounds = {"minimum", "maximum"}
    kept = {n: plain(v) for n, v in schema.items() if n not in _WORDS | bounds or n == "properties"}
    if isinstance(schema.get("additionalProperties"), dict):
        kept["values"] = plain(schema["additionalProperties"])
    return kept


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_that_of_the_document(document: dict[str, Any], name: str) -> None:
    declared = document["components"]["schemas"].get(name)
    if declared is None:  # a base of others
        assert any(issubclass(other, SHAPES[name]) for other in SHAPES.values() if other is not SHAPES[name])
        return
    ours = SHAPES[name].model_json_schema(mode="serialization")
    known = declared["properties"]
    for field, schema in ours["properties"].items():
        said = plain(schema)
        if field not in declared["required"]:
            said = said["anyOf"][0]  # absent there is None here
        expected = plain(known[field])
        if "anyOf" in expected:
            expected.pop("format", None)  # words about a text, put beside it by hand
        assert said == expected, field
    assert set(ours.get("required", [])) <= set(declared["required"]) | {"display"}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_has_a_path_and_parameters_of_the_document(document: dict[str, Any], name: str) -> None:
    call = QUESTIONS[name]
    [template] = [p for p in document["paths"] if _is_of(p, call.path)][:1]
    operation = document["paths"][template]["get"]
    declared = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"}

    assert set(inspect.signature(getattr(calls, name)).parameters) <= declared | IN_THE_PATH
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    shapes = [s["$ref"].rpartition("/")[2] for s in schema.get("anyOf", [schema])]
    assert call.shape.__name__ in shapes


def _is_of(template: str, path: str) -> bool:
    return bool(re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path))


def test_every_question_is_asked_with_all_that_it_takes() -> None:
    functions = inspect.getmembers(calls, inspect.isfunction)
    made = {name: f for name, f in functions if f.__module__ == calls.__name__ and name[0] != "_"}

    assert {name for name in made if not name.startswith("send_")} == set(QUESTIONS)
    for name, call in QUESTIONS.items():
        given = {parameter for parameter, _ in call.parameters}
        missing = set(inspect.signature(made[name]).parameters) - given
        assert missing <= IN_THE_PATH | OF_SOMEBODY, name
