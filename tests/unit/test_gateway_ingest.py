"""Bodies of what comes in over HTTP: taken apart without changing what the stream will judge."""

import tracemalloc
from collections.abc import AsyncIterator, Iterable

import orjson
import pytest

from api_gateway import ingest
from api_gateway.problems import Problem
from rollotape import signals
from rollotape.events import MAX_PAYLOAD_BYTES


def _payloads(content: bytes) -> list[bytes]:
    return [offer.payload for offer in ingest.offers(content)]


async def _parts(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def _lines(*parts: bytes) -> list[bytes]:
    return [line async for lines in ingest.batches(_parts(parts)) for line in lines]


def test_elements_keep_every_byte_that_their_sender_wrote() -> None:
    content = b'{ "bars" : [ {"a":1e999, "a":1.10} ,\n[1, 2],"x" , {"n":123456789012345678901234567890}]}'

    assert _payloads(content) == [
        b'{"a":1e999, "a":1.10}',
        b"[1, 2]",
        b'"x"',
        b'{"n":123456789012345678901234567890}',
    ]


async def test_lines_that_are_empty_do_not_count() -> None:
    assert await _lines(b'\n{"a":1}\r\n\n{"b":2}\n') == [b'{"a":1}\r', b'{"b":2}']


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1_000])
async def test_lines_are_the_same_however_they_are_cut_on_their_way(size: int) -> None:
    content = '{"a":"ä"}\n\n{"b":2}\r\n{"c":3}'.encode()
    cut = [content[i : i + size] for i in range(0, len(content), size)]

    assert await _lines(*cut) == ['{"a":"ä"}'.encode(), b'{"b":2}\r', b'{"c":3}']


async def test_lines_come_by_the_thousand_and_by_two_megabytes() -> None:
    long = b"x" * 500_000 + b"\n"

    by_count = [len(lines) async for lines in ingest.batches(_parts([b"1\n" * 2_500]))]
    by_bytes = [len(lines) async for lines in ingest.batches(_parts([long] * 10))]

    assert (by_count, by_bytes) == ([1_000, 1_000, 500], [5, 5])


async def test_a_line_without_end_takes_no_more_memory_than_the_longest_one_may() -> None:
    part = b"x" * 65_536
    tracemalloc.start()
    try:
        [line] = await _lines(*[part] * 1_600)  # a hundred megabytes
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(line) == MAX_PAYLOAD_BYTES + 1
    assert most < 8 * MAX_PAYLOAD_BYTES


def test_what_is_too_long_for_a_stream_is_refused_alone() -> None:
    event = {
        "event": "opened", "source": "desk-2", "symbol": "AAPL", "timeframe": "1d", "direction": "long",
        "generated_at": "2024-01-02T00:00:00Z", "stop": 180.5,
    }  # fmt: skip
    long = event | {"exit_reason": "x" * MAX_PAYLOAD_BYTES}
    kind = ingest.Kind("signals", ingest.judge_events(signals.read))

    judged = ingest._judged(kind, ingest._offers(map(orjson.dumps, (long, event)), 7), 1_800_000_000_000)

    assert judged.symbols == {8: "AAPL"}
    assert judged.refused == {7: [{"field": "json", "reason": "must be at most 524,288 bytes"}]}


def test_an_answer_lists_the_first_thousand_and_counts_them_all() -> None:
    account = ingest.Account()
    for first in range(0, 3_000, 600):
        account.accept([{"index": first + n} for n in range(600)])
        account.refuse([{"index": first + n} for n in range(600)])

    said = orjson.loads(account.answer().body)

    assert (said["accepted"]["count"], said["refused_count"]) == (3_000, 3_000)
    assert [e["index"] for e in said["accepted"]["entries"]] == list(range(1_000))
    assert [e["index"] for e in said["refused"]] == list(range(1_000))


def test_a_symbol_in_lower_case_is_raised_and_nothing_else_changes() -> None:
    [offer] = ingest.offers(b'{"bars":[{"symbol":"brk.b","open":100.1,"note":"\xc3\xa4"}]}')

    assert offer.symbol == "BRK.B"
    assert orjson.loads(offer.payload) == {"symbol": "BRK.B", "open": 100.1, "note": "ä"}


@pytest.mark.parametrize("symbol", ["straße", "ſpy", "ıbm"])
def test_letters_whose_capital_is_another_symbol_are_left_to_be_refused(symbol: str) -> None:
    [offer] = ingest.offers(orjson.dumps({"bars": [{"symbol": symbol}]}))

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
        ingest.offers(content)

    assert raised.value.kind.status == 422
    assert raised.value.errors


def test_the_judge_names_the_faults_of_each_and_refuses_frames() -> None:
    good: dict[str, object] = {"symbol": "A", "timeframe": "1d", "ts": "2024-01-02T00:00:00Z"}
    good |= {"open": 1.0, "high": 2.0, "low": 1.0, "close": 1.5, "volume": 1.0}
    bars = [good, good | {"high": 0.5}, {"timeframe": "1d", "frame": {}}, 3, good | {"symbol": "a b"}]

    judged = ingest.judge_bars(ingest.offers(orjson.dumps({"bars": bars})), 1_800_000_000_000)

    refused = judged.refused
    assert sorted(refused) == [1, 2, 3, 4]
    assert {fault["field"] for fault in refused[1]} == {"high"}
    assert [fault["field"] for fault in refused[2]] == ["frame"]
    assert [fault["field"] for fault in refused[4]] == ["symbol"]
