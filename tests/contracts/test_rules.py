"""The rules that hold everywhere, each held against every operation that the OpenAPI document has.

Whatever is added is under them from its first day: no list of paths is kept here.
"""

import csv
import gzip
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import brotli
import httpx
import orjson
import pytest
from backports import zstd

from api_gateway.app import describe
from api_gateway.responses import VARY
from support.populated import tidy
from support.surface import V1, Operation, Surface, operations

DATA = "private, max-age=60, stale-while-revalidate=300"
SCANS = "private, max-age=30"
EACH_TIME = "private, no-cache"
"""Of figures that are being added up anew."""
NO_STORE = "no-store"

_ALL = [o for o in operations(describe()) if not o.streams]
_ASKED = [o for o in _ALL if o.method == "GET"]
_DATA = [o for o in _ASKED if "304" in o.said["responses"]]
_LISTS = [o for o in _ASKED if "text/csv" in o.content(200)]
_PAGED = [o for o in _LISTS if "page_token" in o.parameters()]
_NUMBERED = [o for o in _PAGED if "per_page" in o.parameters()]

each = pytest.mark.parametrize("operation", _ALL, ids=str)
each_asked = pytest.mark.parametrize("operation", _ASKED, ids=str)
each_of_data = pytest.mark.parametrize("operation", _DATA, ids=str)
each_list = pytest.mark.parametrize("operation", _LISTS, ids=str)
each_paged = pytest.mark.parametrize("operation", _PAGED, ids=str)


@pytest.fixture(autouse=True)
def _tidied(surface: Surface) -> Iterator[None]:
    yield
    tidy(surface.settings)


async def _send(surface: Surface, operation: Operation, target: str, **more: Any) -> httpx.Response:
    """Held against the document, whatever the answer is."""
    body = operation.body()
    if body is not None:
        more["json"] = body
    answer = await surface.client.request(operation.method, target, **more)
    path = target.partition("?")[0]
    surface.judge.conforms(operation.method, path, answer.status_code, answer.headers, answer.content)
    return answer


def _wide(operation: Operation, **query: object) -> str:
    """With as much in its answer as there is."""
    return operation.target(**({"days": "all"} if "days" in operation.parameters() else {}) | query)


def _kinds(schema: dict[str, Any]) -> set[str]:
    return {option.get("type", "") for option in (schema, *schema.get("anyOf", ()))}


def _bounds(schema: dict[str, Any]) -> Iterator[tuple[float, float]]:
    for option in (schema, *schema.get("anyOf", ())):
        if "minimum" in option:
            yield option["minimum"], option["minimum"] - 1
        if "maximum" in option:
            yield option["maximum"], option["maximum"] + 1


def _refused(answer: httpx.Response, field: str, where: str = "query") -> None:
    assert answer.status_code == 422, f"{answer.request.url}: {answer.text[:200]}"
    said = answer.json()
    assert said["type"] == "urn:rollotape:problem:invalid-request"
    assert (where, field) in [(e["in"], e["field"]) for e in said["errors"]], said["errors"]
    assert field in said["detail"]


# ---- parameters


@each
async def test_an_unknown_parameter_is_refused_by_its_name(surface: Surface, operation: Operation) -> None:
    _refused(await _send(surface, operation, operation.target(nonsense="1")), "nonsense")


@each_asked
async def test_what_is_out_of_range_is_refused_by_its_name(surface: Surface, operation: Operation) -> None:
    """Beyond each bound, what is no number, what is not among the words."""
    for name, schema in operation.parameters().items():
        kinds = _kinds(schema)
        wrong: list[str] = []
        if kinds & {"number", "integer"}:
            wrong += ["nan", "NaN", "inf", "-inf", "Infinity", "1e999", "", "x", "0x1", "1_0", "+1"]
            wrong += [f"{beyond}" for _, beyond in _bounds(schema)]
            if "number" not in kinds:
                wrong.append("1.5")
        if "boolean" in kinds:
            wrong += ["", "1", "yes", "TRUE"]
        if "enum" in schema or schema.get("format") == "uuid":
            wrong += ["", "nonsense"]
        if "array" in kinds:
            wrong += ["", ",", "\x00"]
        for value in wrong:
            _refused(await _send(surface, operation, operation.target(**{name: value})), name)


@each_asked
async def test_bounds_themselves_are_taken(surface: Surface, operation: Operation) -> None:
    for name, schema in operation.parameters().items():
        for bound, _ in _bounds(schema):
            answer = await _send(surface, operation, operation.target(**{name: f"{bound}"}))
            assert answer.status_code == 200, f"{name}={bound}: {answer.text[:200]}"


@each_asked
async def test_a_parameter_that_is_no_list_comes_once(surface: Surface, operation: Operation) -> None:
    for name, schema in operation.parameters().items():
        if "array" not in _kinds(schema):
            _refused(await _send(surface, operation, operation.target(**{name: ["1", "1"]})), name)


@each_asked
async def test_lists_are_separated_by_commas_or_repeated_and_in_either_case(
    surface: Surface, operation: Operation
) -> None:
    words = {
        "symbols": ("AAPL", "MSFT"), "pattern_types": ("SPRING", "SOS"), "sectors": ("Energy", "Utilities"),
    }  # fmt: skip
    for name in words.keys() & operation.parameters().keys():
        one, other = words[name]
        bodies = []
        for said in (f"{one},{other}", [one, other], [other, one], f"{one.lower()},{other.lower()}"):
            answer = await _send(surface, operation, _wide(operation, **{name: said}))
            assert answer.status_code == 200, answer.text[:200]
            bodies.append(_rows(answer.json()))
        assert all(body == bodies[0] for body in bodies), name


@each_asked
async def test_reversed_ranges_are_refused(surface: Surface, operation: Operation) -> None:
    names = operation.parameters()
    if "start" in names:
        target = operation.target(start="2024-02-01", end="2024-01-01")
        _refused(await _send(surface, operation, target), "end")
    if "rsi_range" in names:
        for said in ("70,30", "nan,50", "0,inf", "-1,50", "50,101", "50"):
            _refused(await _send(surface, operation, operation.target(rsi_range=said)), "rsi_range")


# ---- answers


@each
async def test_every_answer_has_the_id_of_its_request(surface: Surface, operation: Operation) -> None:
    for target in (operation.target(), operation.target(nonsense="1")):
        given = await _send(surface, operation, target, headers={"X-Request-Id": "mine-1.a"})
        assert given.headers["x-request-id"] == "mine-1.a"
        made = {(await _send(surface, operation, target)).headers["x-request-id"] for _ in range(2)}
        assert len(made) == 2
        hostile = await _send(surface, operation, target, headers={"X-Request-Id": "a b"})
        assert re.fullmatch("[0-9a-f]{32}", hostile.headers["x-request-id"])
        if given.headers.get("content-type") == "application/problem+json":
            assert given.json()["request_id"] == "mine-1.a"


@each
async def test_errors_are_problems_with_every_field(surface: Surface, operation: Operation) -> None:
    said = (await _send(surface, operation, operation.target(nonsense="1"))).json()

    assert list(said) == ["type", "title", "status", "detail", "instance", "request_id", "errors"]
    assert said["instance"] == operation.target().partition("?")[0]


def _expected(operation: Operation) -> str:
    if operation not in _DATA or operation.path.startswith("/api/users/"):
        return NO_STORE
    return SCANS if operation.path in ("/api/patterns/scan", "/api/patterns/summary") else DATA


@each_asked
async def test_each_kind_says_how_long_it_may_be_kept(surface: Surface, operation: Operation) -> None:
    answer = await _send(surface, operation, operation.target())

    stale = operation in _DATA and answer.json().get("stale", False)
    assert answer.headers["cache-control"] in ({EACH_TIME} if stale else set()) | {_expected(operation)}
    if operation in _DATA:
        assert answer.headers["vary"] == VARY
    refused = await _send(surface, operation, operation.target(nonsense="1"))
    assert refused.headers["cache-control"] == NO_STORE


@each_of_data
async def test_what_a_client_has_is_304_without_a_body(surface: Surface, operation: Operation) -> None:
    answer = await _send(surface, operation, _wide(operation))
    etag = answer.headers["etag"]
    assert re.fullmatch('W/"[0-9a-f]+"', etag)

    for known in (etag, f'"x", {etag}', etag.removeprefix("W/"), "*"):
        again = await _send(surface, operation, _wide(operation), headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        for name in ("cache-control", "vary"):
            assert again.headers[name] == answer.headers[name]
    other = await _send(surface, operation, _wide(operation), headers={"If-None-Match": 'W/"0"'})
    assert other.status_code == 200


@each_of_data
async def test_data_say_how_new_they_are(surface: Surface, operation: Operation) -> None:
    if operation.is_open:
        return
    said = (await _send(surface, operation, _wide(operation))).json()

    assert isinstance(said["stale"], bool)
    assert said["as_of"] is None or said["as_of"].endswith("Z")


_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": zstd.decompress,
}


@each_of_data
async def test_long_bodies_are_packed_as_the_client_likes(surface: Surface, operation: Operation) -> None:
    target = _wide(operation)
    plain = await _raw(surface, target, "identity")
    for name, unpack in _UNPACK.items():
        packed = await _raw(surface, target, name)
        if len(plain.content) < 1_000:
            continue
        assert packed.headers["content-encoding"] == name
        body = b"".join([part async for part in packed.aiter_raw()]) if not packed.is_stream_consumed else b""
        assert _steady(unpack(body)) == _steady(plain.content)


async def _raw(surface: Surface, target: str, encoding: str) -> httpx.Response:
    request = surface.client.build_request("GET", target, headers={"Accept-Encoding": encoding})
    answer = await surface.client.send(request, stream=True)
    if encoding == "identity":
        await answer.aread()
    return answer


def _steady(body: bytes) -> Any:
    """Without what every answer has anew."""
    said = orjson.loads(body)
    if isinstance(said, dict):
        said.pop("cache_info", None)
    return said


# ---- lists


def _rows(said: dict[str, Any]) -> list[str]:
    """Everything in the lists of an answer, in their order."""
    found: list[str] = []
    for name, value in said.items():
        if name in ("filters", "counts", "pagination", "bars") and not _is_bars(name, value):
            continue
        if isinstance(value, dict) and _is_bars(name, value):
            found += [orjson.dumps([key, row]).decode() for key, rows in value.items() for row in rows]
        elif isinstance(value, list):
            found += [orjson.dumps([name, row]).decode() for row in value]
    return found


def _is_bars(name: str, value: Any) -> bool:
    return name == "bars" and isinstance(value, dict) and all(isinstance(v, list) for v in value.values())


@each_list
async def test_every_list_is_there_as_csv_in_the_same_order(surface: Surface, operation: Operation) -> None:
    by_name = await _send(surface, operation, _wide(operation, format="csv"))
    by_header = await _send(surface, operation, _wide(operation), headers={"Accept": "text/csv"})
    said = (await _send(surface, operation, _wide(operation, format="json"))).json()

    assert by_name.headers["content-type"] == "text/csv; charset=utf-8"
    assert by_header.content == by_name.content
    columns, *table = csv.reader(io.StringIO(by_name.text, newline=""))
    assert len(set(columns)) == len(columns)
    assert all(len(row) == len(columns) for row in table)
    rows = [orjson.loads(row)[1] for row in _rows(said)]
    shared = [c for c in columns if rows and isinstance(rows[0], dict) and c in rows[0]]
    if len({orjson.loads(row)[0] for row in _rows(said)}) > 1:  # several lists in one table, by their time
        assert len(table) >= len(rows) > 0
        return
    assert len(table) in (len(rows), len(rows) + 1)  # figures end with a row of the whole
    for row, item in zip(table, rows, strict=False):
        for column in shared:
            assert row[columns.index(column)] == _cell(item[column]), column


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


async def _walked(surface: Surface, operation: Operation, limit: int) -> list[list[str]]:
    """Pages by their tokens; the token is also in the header `Link`."""
    pages: list[list[str]] = []
    target = _wide(operation, limit=limit)
    while True:
        answer = await _send(surface, operation, target)
        said = answer.json()
        pages.append(_rows(said))
        token = said.get("next_page_token") or (said.get("pagination") or {}).get("next_page_token")
        assert ("link" in answer.headers) is (token is not None)
        if token is None:
            return pages
        target = _wide(operation, limit=limit, page_token=token)
        assert answer.headers["link"].endswith('; rel="next"')
        linked = answer.headers["link"][1:].partition(">")[0]
        assert _rows((await _send(surface, operation, linked)).json()) == _rows(
            (await _send(surface, operation, target)).json()
        )


@each_paged
async def test_no_row_is_lost_or_twice_between_pages(surface: Surface, operation: Operation) -> None:
    most = operation.parameters()["limit"].get("maximum", 1_000)
    whole = [row for page in await _walked(surface, operation, most) for row in page]
    for limit in (7, 50):
        pages = await _walked(surface, operation, limit)
        assert sorted(row for page in pages for row in page) == sorted(whole)
        assert len(set(whole)) == len(whole)
        assert all(0 < len(page) <= limit for page in pages[:-1])


@pytest.mark.parametrize("operation", _NUMBERED, ids=str)
async def test_numbered_pages_lose_nothing_either(surface: Surface, operation: Operation) -> None:
    first = (await _send(surface, operation, _wide(operation, page=1, per_page=7))).json()["pagination"]
    rows: list[str] = []
    for page in range(1, first["pages"] + 2):
        said = (await _send(surface, operation, _wide(operation, page=page, per_page=7))).json()
        assert (said["pagination"]["total"], said["pagination"]["pages"]) == (first["total"], first["pages"])
        assert len(_rows(said)) == (
            7 if page < first["pages"] else (first["total"] - 1) % 7 + 1 if page == first["pages"] else 0
        )
        rows += _rows(said)
    assert len(rows) == len(set(rows)) == first["total"] > 7


@each_paged
async def test_a_token_of_another_query_is_refused(surface: Surface, operation: Operation) -> None:
    for other in _PAGED:
        said = (await _send(surface, other, _wide(other, limit=1))).json()
        token = said.get("next_page_token") or (said.get("pagination") or {}).get("next_page_token")
        if token and other != operation:
            answer = await _send(surface, operation, _wide(operation, page_token=token))
            assert (answer.status_code, answer.json()["type"]) == (400, "urn:rollotape:problem:bad-cursor")
    for token in ("", "x", "AAAA", "\x00", "x" * 5_000):
        answer = await _send(surface, operation, _wide(operation, page_token=token))
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:rollotape:problem:bad-cursor")


# ---- where it is


@each_asked
async def test_the_same_is_answered_under_v1(surface: Surface, operation: Operation) -> None:
    target = _wide(operation)
    under = target.replace("/api/", f"{V1}/", 1) if target.startswith("/api/") else V1 + target
    one, other = await surface.client.get(target), await surface.client.get(under)

    assert (one.status_code, one.headers["content-type"]) == (200, other.headers["content-type"])
    assert other.status_code == 200
    if operation in _DATA:
        assert one.headers["etag"] == other.headers["etag"]


def test_there_is_something_of_every_kind() -> None:
    """So that none of the tests above is about nothing."""
    assert len(_ALL) > 35
    assert (len(_DATA), len(_LISTS), len(_PAGED), len(_NUMBERED)) >= (20, 15, 12, 3)
