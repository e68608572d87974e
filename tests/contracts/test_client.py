"""The client can ask for everything that the gateway's OpenAPI document has, in its words."""

import inspect
import re
import typing
from typing import Any

import orjson
import pytest

from api_gateway import subscriptions
from api_gateway.app import describe
from rollotape import answers
from rollotape.client import asking, calls, following
from rollotape.client.questions import BASE, Call, Listing, Sending
from support.questions_of_clients import ALL

IN_THE_PATH = {
    "symbol", "pattern_id", "trade_id", "pattern_type", "key", "watchlist_id", "scan_id",
    "webhook_id",
}  # fmt: skip
OF_THE_CLIENT = {"page_token", "format"}
"""They are said where pages are followed, and where CSV is asked for."""
OTHER_NAMES = {"detection_phase", "timeframe"}
"""Of parameters that go by a second one, too."""
NO_QUESTIONS = {("GET", "/docs"), ("GET", asking.EVENTS)}
"""A page for people, and the stream, which is followed."""
FUNCTIONS = {
    name: function
    for name, function in inspect.getmembers(calls, inspect.isfunction)
    if function.__module__ == calls.__name__ and not name.startswith("_")
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe()


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """By method and path; what is under `/api` is under `/api/v1` as well."""
    return {
        (method.upper(), path): operation
        for path, found in document["paths"].items()
        if path.startswith(BASE) or not path.startswith("/api")
        for method, operation in found.items()
    }


def of(document: dict[str, Any], call: Call[Any]) -> tuple[tuple[str, str], dict[str, Any]]:
    """The operation that a call asks for: of several templates the one with the fewest blanks."""
    found = [
        (name, operation)
        for name, operation in operations(document).items()
        if name[0] == call.method and _is_of(name[1], call.path)
    ]
    return min(found, key=lambda one: one[0][1].count("{"))


def _is_of(template: str, path: str) -> bool:
    return bool(re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path))


def sent() -> list[Call[Any]]:
    made = [function([{}]) for name, function in FUNCTIONS.items() if name.startswith("send_")]
    assert all(isinstance(sending, Sending) for sending in made)
    return [call for sending in made for _, call in sending.calls()]


def test_no_operation_is_forgotten(document: dict[str, Any]) -> None:
    asked = {of(document, call)[0] for call in [*ALL.values(), *sent()]}

    assert asked | NO_QUESTIONS == operations(document).keys()
    assert not asked & NO_QUESTIONS


def test_every_function_is_tried() -> None:
    assert {name for name in FUNCTIONS if not name.startswith("send_")} == ALL.keys()


@pytest.mark.parametrize("name", ALL)
def test_a_question_takes_all_that_its_operation_takes_and_answers_in_its_shape(
    document: dict[str, Any], name: str
) -> None:
    call = ALL[name]
    (method, _), operation = of(document, call)
    declared = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"}
    taken = parameters(FUNCTIONS[name])
    if method == "GET":
        assert declared - OF_THE_CLIENT - OTHER_NAMES <= taken or name == "trade"
        assert taken - declared <= IN_THE_PATH
        assert {parameter for parameter, _ in call.parameters} <= declared
    assert ("page_token" in declared) is isinstance(call, Listing) or name == "trade"
    good = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
    schema = good.get("content", {}).get("application/json", {}).get("schema", {})
    shapes = [s["$ref"].rpartition("/")[2] for s in schema.get("anyOf", [schema]) if "$ref" in s]
    assert call.shape.__name__ in shapes or not shapes


def parameters(function: Any) -> set[str]:
    """By name, those in `**asked` among them."""
    found: set[str] = set()
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            [asked] = typing.get_args(parameter.annotation)
            found |= asked.__annotations__.keys()
        else:
            found.add(name)
    return found


def test_shapes_are_described_as_closed_and_read_as_open(document: dict[str, Any]) -> None:
    shapes: dict[str, Any] = {n: shape for n, shape in vars(answers).items() if _is_shape(shape)}
    described = document["components"]["schemas"].keys() & shapes.keys()

    assert len(described) > 80
    for name in described:
        assert document["components"]["schemas"][name]["additionalProperties"] is False, name
        assert shapes[name].model_config["extra"] == "ignore"


def _is_shape(found: Any) -> bool:
    return inspect.isclass(found) and issubclass(found, answers.Shape)


def test_a_subscription_has_every_channel_and_every_filter() -> None:
    assert following.Channels.__annotations__.keys() == set(subscriptions.CHANNELS)
    assert following.StreamFilters.__annotations__.keys() == set(subscriptions.FILTERS) - OTHER_NAMES


@pytest.mark.parametrize(
    "name",
    [
        "make_watchlist", "replace_watchlist", "save_scan", "replace_scan", "make_webhook", "replace_webhook",
    ],
)  # fmt: skip
def test_what_is_kept_is_said_in_the_fields_of_its_body(document: dict[str, Any], name: str) -> None:
    call, schemas = ALL[name], document["components"]["schemas"]
    _, operation = of(document, call)
    [model] = re.findall(r"\w+$", operation["requestBody"]["content"]["application/json"]["schema"]["$ref"])
    said = orjson.loads(call.content or b"")

    assert said.keys() == schemas[model]["properties"].keys()
    if "filters" in said:
        known = schemas["ScanFilters"]["properties"]
        assert parameters(FUNCTIONS[name]) - {"name", "key", "scan_id", "version"} == known.keys()
        assert {n for n in known if known[n].get("type") == "array"} >= {
            n for n, value in said["filters"].items() if isinstance(value, list)
        }
