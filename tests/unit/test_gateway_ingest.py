"""Bodies of POST /api/bars: taken apart without changing what the stream will judge."""

import orjson
import pytest

from api_gateway import ingest
from api_gateway.ingest import JSON_LINES
from api_gateway.problems import Problem

JSON = "application/json"


def _payloads(content: bytes, media_type: str = JSON) -> list[bytes]:
    return [offer.payload for offer in ingest.offers(content, media_type)]


def test_elements_keep_every_byte_that_their_sender_wrote() -> None:
    content = b'{ "bars" : [ {"a":1e999, "a":1.10} ,\n[1, 2],"x" , {"n":123456789012345678901234567890}]}'

    assert _payloads(content) == [
        b'{"a":1e999, "a":1.10}',
        b"[1, 2]",
        b'"x"',
        b'{"n":123456789012345678901234567890}',
    ]


def test_lines_that_are_empty_do_not_count() -> None:
    assert _payloads(b'\n{"a":1}\r\n\n{"b":2}\n', JSON_LINES) == [b'{"a":1}\r', b'{"b":2}']


def test_a_symbol_in_lower_case_is_raised_and_nothing_else_changes() -> None:
    [offer] = ingest.offers(b'{"bars":[{"symbol":"brk.b","open":100.1,"note":"\xc3\xa4"}]}', JSON)

    assert offer.symbol == "BRK.B"
    assert orjson.loads(offer.payload) == {"symbol": "BRK.B", "open": 100.1, "note": "ä"}


@pytest.mark.parametrize("symbol", ["straße", "ſpy", "ıbm"])
def test_letters_whose_capital_is_another_symbol_are_left_to_be_refused(symbol: str) -> None:
    [offer] = ingest.offers(orjson.dumps({"bars": [{"symbol": symbol}]}), JSON)

    assert offer.symbol == symbol


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="without bars"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"bars":{}}', id="bars is an object"),
        pytest.param(b'{"bars":[1,]}', id="comma before the end"),
        pytest.param(b'{"bars":[1 2]}', id="no comma"),
        pytest.param(b'{"bars":[1]', id="cut off"),
        pytest.param(b'{"bars":[{"a":', id="cut off inside"),
        pytest.param(b'{"bars":[1]} x', id="more after the end"),
        pytest.param(b'{"bars":[1],"more":1}', id="another name"),
        pytest.param(b'{"Bars":[1]}', id="case of the name"),
        pytest.param(b'\xef\xbb\xbf{"bars":[1]}', id="byte order mark"),
        pytest.param(b'{"bars":["\xff"]}', id="not UTF-8"),
        pytest.param(b'{"bars":[' + b"[" * 100_000, id="nested a hundred thousand times"),
        pytest.param(b'{"bars":[]}', id="no bar"),
        pytest.param(b'{"bars":[' + b",".join([b"1"] * 1_001) + b"]}", id="1,001 bars"),
    ],
)
def test_a_body_that_is_not_a_list_of_bars_is_refused_as_a_whole(content: bytes) -> None:
    with pytest.raises(Problem) as raised:
        ingest.offers(content, JSON)

    assert raised.value.kind.status == 422
    assert raised.value.errors


def test_the_judge_names_the_faults_of_each_and_refuses_frames() -> None:
    good: dict[str, object] = {"symbol": "A", "timeframe": "1d", "ts": "2024-01-02T00:00:00Z"}
    good |= {"open": 1.0, "high": 2.0, "low": 1.0, "close": 1.5, "volume": 1.0}
    bars = [good, good | {"high": 0.5}, {"timeframe": "1d", "frame": {}}, 3, good | {"symbol": "a b"}]

    refused = ingest.judge(ingest.offers(orjson.dumps({"bars": bars}), JSON), 1_800_000_000_000)

    assert sorted(refused) == [1, 2, 3, 4]
    assert {fault["field"] for fault in refused[1]} == {"high"}
    assert [fault["field"] for fault in refused[2]] == ["frame"]
    assert [fault["field"] for fault in refused[4]] == ["symbol"]
