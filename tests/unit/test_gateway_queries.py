"""Query strings and page tokens: strict, and refused by name."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pydantic import TypeAdapter

from api_gateway import cursors, queries
from api_gateway.problems import Problem
from api_gateway.routes.analytics import TradesQuery
from api_gateway.routes.bars import BarsQuery
from api_gateway.routes.patterns import ScanQuery
from api_gateway.routes.vsa import KINDS, VsaQuery
from rollotape.domain.bars import TIMEFRAMES


def _bars(text: str) -> BarsQuery:
    return queries.parse(BarsQuery, parse_qsl(text, keep_blank_values=True))


def _refused(text: str, model: type[queries.Query] = BarsQuery) -> list[str]:
    with pytest.raises(Problem) as raised:
        queries.parse(model, parse_qsl(text, keep_blank_values=True))
    assert raised.value.kind.status == 422
    return [error.field for error in raised.value.errors]


def test_symbols_come_by_comma_and_by_repetition_in_either_case() -> None:
    asked = _bars("symbols=msft,aapl&symbols=BTC/USD&symbols=AAPL")

    assert asked.symbols == ["AAPL", "BTC/USD", "MSFT"]


@pytest.mark.parametrize("text", ["1d", "1Day"])
def test_both_spellings_mean_the_same_timeframe(text: str) -> None:
    assert _bars(f"symbols=A&timeframe={text}").timeframe == "1d"


def test_every_documented_timeframe_is_read_as_one_of_ours() -> None:
    [said] = [p for p in queries.parameters(BarsQuery) if p["name"] == "timeframe"]

    read = {_bars(f"symbols=A&timeframe={name}").timeframe for name in said["schema"]["enum"]}

    assert read == set(TIMEFRAMES)


@pytest.mark.parametrize("model", [BarsQuery, VsaQuery, ScanQuery, TradesQuery])
def test_bounds_are_described_in_words_of_json_schema(model: type[queries.Query]) -> None:
    for parameter in queries.parameters(model):
        assert not {"ge", "le", "gt", "lt"} & parameter["schema"].keys(), parameter


def test_a_date_is_its_whole_day_at_either_end() -> None:
    asked = _bars("symbols=A&start=2024-01-02&end=2024-01-02")

    assert asked.first == datetime(2024, 1, 2, tzinfo=UTC)
    assert asked.last == datetime(2024, 1, 2, 23, 59, 59, 999_999, tzinfo=UTC)


def test_times_of_any_zone_become_utc() -> None:
    asked = _bars("symbols=A&start=2024-01-02T00:30:00.25%2B01:00")

    assert asked.first == datetime(2024, 1, 1, 23, 30, 0, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        pytest.param("", "symbols", id="missing"),
        pytest.param("symbols=", "symbols", id="empty"),
        pytest.param("symbols=A,,B", "symbols", id="empty element"),
        pytest.param("symbols=A%00B", "symbols", id="NUL"),
        pytest.param("symbols=" + "A" * 21, "symbols", id="21 characters"),
        pytest.param("symbols=straße", "symbols", id="letter whose capital is two letters"),
        pytest.param("symbols=ſPY", "symbols", id="letter whose capital is plain"),
        pytest.param("symbols=" + ",".join(f"S{n}" for n in range(1_001)), "symbols", id="1,001 symbols"),
        pytest.param("symbols=A&limit=0", "limit", id="limit 0"),
        pytest.param("symbols=A&limit=-0", "limit", id="limit -0"),
        pytest.param("symbols=A&limit=10001", "limit", id="limit above"),
        pytest.param("symbols=A&limit=5.0", "limit", id="limit 5.0"),
        pytest.param("symbols=A&limit=%2B5", "limit", id="limit +5"),
        pytest.param("symbols=A&limit=1_0", "limit", id="limit 1_0"),
        pytest.param("symbols=A&limit=nan", "limit", id="limit nan"),
        pytest.param("symbols=A&limit=٥", "limit", id="limit in other digits"),
        pytest.param("symbols=A&limit=" + "9" * 5_000, "limit", id="limit of 5,000 digits"),
        pytest.param("symbols=A&timeframe=1M", "timeframe", id="a month"),
        pytest.param("symbols=A&timeframe=1day", "timeframe", id="third spelling"),
        pytest.param("symbols=A&start=yesterday", "start", id="word"),
        pytest.param("symbols=A&start=2024-02-30", "start", id="no such day"),
        pytest.param("symbols=A&start=2024-01-02T00:00:00", "start", id="no zone"),
        pytest.param("symbols=A&start=2024-01-02T00:00:60Z", "start", id="leap second"),
        pytest.param("symbols=A&start=2024-01-02T00:00:00.1234567Z", "start", id="100 ns"),
        pytest.param("symbols=A&start=0001-01-01T00:00:00%2B14:00", "start", id="before year 1"),
        pytest.param("symbols=A&end=9999-12-31T23:59:59-14:00", "end", id="after year 9999"),
        pytest.param("symbols=A&start=20240102", "start", id="basic format"),
        pytest.param("symbols=A&start=2024-W01-1", "start", id="week date"),
        pytest.param("symbols=A&start=2024-01-03&end=2024-01-02", "end", id="reversed"),
        pytest.param("symbols=A&sort=ASC", "sort", id="case of a word"),
        pytest.param("symbols=A&format=xml", "format", id="format"),
        pytest.param("symbols=A&limit=5&limit=6", "limit", id="repeated"),
        pytest.param("symbols=A&limit=5&limit=5", "limit", id="repeated alike"),
        pytest.param("symbols=A&symbol=B", "symbol", id="unknown"),
        pytest.param("symbols=A&Limit=5", "Limit", id="case of a name"),
    ],
)
def test_what_is_wrong_is_refused_by_name(text: str, field: str) -> None:
    assert _refused(text) == [field]


def test_every_fault_of_a_query_is_named_at_once() -> None:
    assert sorted(_refused("limit=0&limit=0&foo=1&start=x&end=y")) == [
        "end",
        "foo",
        "limit",
        "limit",
        "start",
        "symbols",
    ]


def test_a_kind_that_the_rule_set_does_not_know_is_refused_instead_of_never_found() -> None:
    assert _refused("kinds=upthrust", VsaQuery) == ["kinds"]
    assert _refused("rule_set=seed-2&kinds=no_demand", VsaQuery) == ["rule_set"]


def test_the_documented_rule_sets_are_those_of_the_domain() -> None:
    [said] = [p for p in queries.parameters(VsaQuery) if p["name"] == "rule_set"]

    assert said["schema"]["enum"] == [*KINDS, "all"]


_WHERE: TypeAdapter[tuple[str, int]] = TypeAdapter(tuple[str, int])


def test_a_token_leads_back_to_its_position() -> None:
    assert cursors.unseal(["q"], cursors.seal(["q"], ["AAPL", 7]), _WHERE) == ("AAPL", 7)


def _spoilt(token: str) -> list[tuple[str, Any]]:
    forged = cursors.seal(["q"], {"no": "position"})
    return [
        ("another query", (["other"], token)),
        ("one character less", (["q"], token[:-1])),
        ("one character more", (["q"], token + "A")),
        ("one character other", (["q"], ("B" if token[0] == "A" else "A") + token[1:])),
        ("another spelling of the same bytes", (["q"], token + "=")),
        ("not base64", (["q"], "%%%")),
        ("not ASCII", (["q"], "ü")),
        ("NUL", (["q"], "\x00")),
        ("a well sealed position of another shape", (["q"], forged)),
    ]


@pytest.mark.parametrize(("question", "token"), [p for _, p in _spoilt(cursors.seal(["q"], ["AAPL", 7]))])
def test_a_token_that_we_did_not_give_out_for_this_query_is_a_bad_cursor(question: Any, token: str) -> None:
    with pytest.raises(Problem) as raised:
        cursors.unseal(question, token, _WHERE)

    assert raised.value.kind.status == 400


def test_no_single_character_of_a_token_can_be_changed() -> None:
    token = cursors.seal(["q"], ["AAPL", 7])
    for place in range(len(token)):
        for other in "Aa0-_":
            changed = token[:place] + other + token[place + 1 :]
            if changed != token:
                with pytest.raises(Problem):
                    cursors.unseal(["q"], changed, _WHERE)
