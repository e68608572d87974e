"""Strength and symbols over HTTP: the cross-section of a date, leaders, histories, and what a symbol is."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import asyncpg
import httpx
import pytest

from api_gateway.app import create_app
from rollotape.postgres import symbols
from rollotape.settings import Settings
from support.databases import execute
from support.gateway import Event, Score, day, insert_days, insert_events, insert_scores


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://g") as opened:
        yield opened
    await app.state.servers.close()


async def _get(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _names(said: Any, of: str = "scores") -> list[str]:
    return [row["symbol"] for row in said[of]]


ENERGY = ("AA", "BB", "CC", "DD", "EE", "FF")


async def _energy(database_url: str) -> None:
    """Six members of a sector, scores 1 to 6 on day 10; FF was last seen on day 7."""
    values = ", ".join(f"('{s}', '{s} Corporation', 'Energy', 'stock')" for s in ENERGY)
    execute(
        database_url, f"DELETE FROM sectors; INSERT INTO sectors (symbol, name, sector, kind) VALUES {values}"
    )
    for symbol in ENERGY:
        await insert_days(database_url, symbol, 11)
    ranked = [Score(s, 10, n + 1.0, rank=6 - n) for n, s in enumerate(ENERGY[:-1])]
    await insert_scores(database_url, [*ranked, Score("FF", 7, 6.0, rank=1), Score("AA", 9, None)])


# ---- the cross-section of a date


async def test_a_section_has_everybody_who_had_a_bar_and_who_still_has_a_score(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await _energy(database_url)

    said = await _get(client, "/api/analytics/rs")

    assert (said["date"], said["as_of"], said["stale"]) == ("2024-01-11", "2024-01-11T21:00:00Z", False)
    assert _names(said) == ["FF", "EE", "DD", "CC", "BB", "AA"]
    absent, present = said["scores"][:2]
    assert (absent["as_of"], absent["sector_rank"], absent["is_sector_leader"]) == ("2024-01-08", 1, True)
    assert (absent["rating"], present["rating"]) == (None, 50)
    assert present["excess_30d"] == present["rs_score"] == 5.0
    assert present["status"] == {
        "30d": "ok",
        "21": "ok",
        "63": "insufficient_history",
        "126": "stale",
        "252": "no_benchmark",
    }


async def test_a_date_without_bars_is_answered_by_the_one_before_and_says_so(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await _energy(database_url)

    later = await _get(client, "/api/analytics/rs?as_of=2024-02-01")
    earlier = await _get(client, "/api/analytics/rs?as_of=2024-01-10")
    before = await _get(client, "/api/analytics/rs?as_of=2020-01-01")

    assert (later["date"], earlier["date"], before["date"]) == ("2024-01-11", "2024-01-10", None)
    assert _names(earlier) == ["FF", "AA"]
    assert (before["scores"], before["as_of"]) == ([], None)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 5])
async def test_pages_of_a_section_lose_no_row_and_unknown_values_come_last(
    client: httpx.AsyncClient, database_url: str, order: str, limit: int
) -> None:
    await _energy(database_url)
    await insert_scores(database_url, [Score("UA", 10, None), Score("UB", 10, None), Score("EQ", 10, 3.0)])
    path = f"/api/analytics/rs?sort_order={order}&limit={limit}"

    pages = [await _get(client, path)]
    while token := pages[-1]["next_page_token"]:
        pages.append(await _get(client, f"{path}&page_token={token}"))

    strongest_first = ["FF", "EE", "DD", "CC", "EQ", "BB", "AA"]
    weakest_first = ["AA", "BB", "CC", "EQ", "DD", "EE", "FF"]
    expected = (strongest_first if order == "desc" else weakest_first) + ["UA", "UB"]
    assert [name for page in pages for name in _names(page)] == expected


async def test_a_section_is_filtered_by_symbols_and_sectors(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await _energy(database_url)
    await insert_scores(database_url, [Score("ZZ", 10, 9.0)])

    assert _names(await _get(client, "/api/analytics/rs?symbols=zz,aa")) == ["ZZ", "AA"]
    assert "ZZ" not in _names(await _get(client, "/api/analytics/rs?sectors=energy"))
    assert _names(await _get(client, "/api/analytics/rs?sectors=Technology")) == []


async def test_marks_that_wait_make_it_stale(client: httpx.AsyncClient, database_url: str) -> None:
    await _energy(database_url)
    execute(database_url, "INSERT INTO dirty_dates (as_of) VALUES ('2024-01-11')")

    assert (await _get(client, "/api/analytics/rs"))["stale"]
    assert not (await _get(client, "/api/analytics/rs?as_of=2024-01-10"))["stale"]
    execute(
        database_url, "INSERT INTO dirty_symbols (symbol, timeframe, first_ts) VALUES ('AA', '1d', now())"
    )
    assert (await _get(client, "/api/analytics/rs?as_of=2024-01-10"))["stale"]


async def test_leaders_are_the_best_fifth_by_sector_and_rank(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await _energy(database_url)
    execute(database_url, "UPDATE rs_scores SET is_sector_leader = true WHERE symbol = 'EE'")

    said = await _get(client, "/api/analytics/rs/leaders")
    first = await _get(client, "/api/analytics/rs/leaders?limit=1")
    second = await _get(client, f"/api/analytics/rs/leaders?limit=1&page_token={first['next_page_token']}")

    assert [(row["symbol"], row["sector_rank"]) for row in said["leaders"]] == [("FF", 1), ("EE", 2)]
    assert (_names(first, "leaders"), _names(second, "leaders")) == (["FF"], ["EE"])
    assert second["next_page_token"] is None
    assert _names(await _get(client, "/api/analytics/rs/leaders?sectors=Utilities"), "leaders") == []


# ---- the history of one stock


async def test_a_history_comes_newest_first_in_pages_and_within_its_window(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await insert_days(database_url, "AA", 30)
    await insert_scores(database_url, [Score("AA", n, float(n)) for n in range(30)])

    first = await _get(client, "/api/symbols/aa/rs?limit=20")
    second = await _get(client, f"/api/symbols/AA/rs?limit=20&page_token={first['next_page_token']}")
    window = await _get(client, "/api/symbols/AA/rs?start=2024-01-02&end=2024-01-04T00:00:00Z&sort=asc")

    assert [row["rs_score"] for row in [*first["scores"], *second["scores"]]] == [29.0 - n for n in range(30)]
    assert [row["as_of"] for row in window["scores"]] == ["2024-01-02", "2024-01-03", "2024-01-04"]
    assert window["as_of"] == "2024-01-04T21:00:00Z"
    assert (await client.get("/api/symbols/NONE/rs")).status_code == 404
    assert (await _get(client, "/api/symbols/SPY/rs"))["scores"] == []


async def test_csv_has_the_same_rows_and_statuses_as_columns(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await _energy(database_url)

    said = await _get(client, "/api/analytics/rs")
    rows = list(csv.DictReader(io.StringIO((await client.get("/api/analytics/rs?format=csv")).text)))

    assert [row["symbol"] for row in rows] == _names(said)
    assert (rows[1]["status_126"], rows[1]["rs_score"], rows[1]["is_sector_leader"]) == (
        "stale",
        "5.0",
        "false",
    )


# ---- symbols


async def test_symbols_are_those_with_bars_and_those_of_which_somebody_said_what_they_are(
    client: httpx.AsyncClient, database_url: str
) -> None:
    execute(database_url, "DELETE FROM sectors")
    execute(database_url, "INSERT INTO sectors VALUES ('SPY', 'An index fund', NULL, NULL, 'benchmark')")
    await insert_days(database_url, "AA", 3)
    await insert_days(database_url, "BTC/USD", 3, timeframe="1h")

    said = await _get(client, "/api/symbols")

    assert _names(said, "symbols") == ["AA", "BTC/USD", "SPY"]
    stock, _, fund = said["symbols"]
    assert (stock["kind"], stock["sector"], stock["exchange"], stock["rs_score"]) == (
        "stock",
        None,
        None,
        None,
    )
    assert stock["last_bar"] == {
        "timeframe": "1d", "t": "2024-01-03T00:00:00Z", "c": 11.0, "end_ts": "2024-01-03T21:00:00Z"
    }  # fmt: skip
    assert (fund["name"], fund["last_bar"], fund["active"]) == ("An index fund", None, False)


async def test_symbols_are_found_by_name_sector_kind_and_activity(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await _energy(database_url)
    execute(
        database_url, "INSERT INTO sector_mapping VALUES ('AA', 'Energy', 'XLE', '2024-01-11', 1, 6, false)"
    )
    execute(database_url, "DELETE FROM bars WHERE symbol = 'BB' AND ts > '2024-01-02'")

    async def found(query: str) -> list[str]:
        return _names(await _get(client, f"/api/symbols?{query}"), "symbols")

    assert await found("search=cc corp") == ["CC"]
    assert await found("search=a&sector=Energy&limit=2") == ["AA", "BB"]
    assert await found("active=false") == ["BB"]
    assert len(await found("active=true&kind=stock")) == 5
    assert await found("search=%25") == []
    assert await found("market=stocks") == []


async def test_pages_of_symbols_lose_none(client: httpx.AsyncClient, database_url: str) -> None:
    whole = _names(await _get(client, "/api/symbols?limit=1000"), "symbols")
    pages = [await _get(client, "/api/symbols?limit=50")]
    while token := pages[-1]["next_page_token"]:
        pages.append(await _get(client, f"/api/symbols?limit=50&page_token={token}"))

    assert [name for page in pages for name in _names(page, "symbols")] == whole
    assert len(whole) > 120


async def test_one_symbol_at_a_glance(client: httpx.AsyncClient, database_url: str) -> None:
    await _energy(database_url)
    await insert_days(database_url, "AA", 2, timeframe="1h")
    await insert_events(database_url, "AA", [Event(3), Event(4)])

    said = await _get(client, "/api/symbols/aa")

    assert (said["name"], said["sector"], said["strength"]["rs_score"]) == ("AA Corporation", "Energy", 1.0)
    assert said["counts"] == {
        "bars": {"1d": 11, "1h": 2}, "vsa_events": {"seed-1": 2}, "patterns": {"all": 0, "active": 0}
    }  # fmt: skip
    assert said["as_of"] == "2024-01-11T21:00:00Z"
    assert (await client.get("/api/symbols/NONE")).status_code == 404
    assert (await client.get("/api/symbols/AA?x=1")).status_code == 422


# ---- what the database does for it


async def test_every_query_on_strength_is_served_by_an_index(database_url: str) -> None:
    await insert_scores(database_url, [Score(f"S{n}", d, 1.0) for n in range(30) for d in range(60)])
    section = "\n".join((symbols._SQL["standing"], symbols._SQL["strength"]))
    window = ("S1", day(0), day(9), None, 5)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("ANALYZE; SET enable_seqscan = off")
        for query, arguments, index in (
            (symbols._SQL["scored_date"], (date(2024, 1, 9),), "rs_scores_pkey"),
            (section, (date(2024, 1, 9), 1.0, "rating", None, None, None, None, 9), "rs_scores_pkey"),
            (symbols._SQL["history_newest_first"], window, "idx_rs_scores_symbol_as_of"),
            (symbols._SQL["history_oldest_first"], window, "idx_rs_scores_symbol_as_of"),
            (symbols._SQL["newest_scores"], ("S1",), "idx_rs_scores_symbol_as_of"),
        ):
            plan = "\n".join(r[0] for r in await connection.fetch(f"EXPLAIN {query}", *arguments))
            assert index in plan, f"{query}:\n{plan}"
    finally:
        await connection.close()


# ---- of some alone


async def test_a_universe_and_a_watchlist_let_their_own_through(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await _energy(database_url)
    execute(
        database_url,
        "INSERT INTO universes (key, description, symbols) VALUES ('few', 'few', '{AA,EE,FF}')"
        " ON CONFLICT (key) DO UPDATE SET symbols = EXCLUDED.symbols",
    )
    made = await client.post("/api/users/watchlists", json={"name": "w", "symbols": ["EE", "BB", "FF"]})
    watchlist = made.json()["id"]

    section, leaders = "/api/analytics/rs?limit=1000&", "/api/analytics/rs/leaders?"
    assert _names(await _get(client, section + "universe=few")) == ["FF", "EE", "AA"]
    assert _names(await _get(client, f"{section}watchlist_id={watchlist}")) == ["FF", "EE", "BB"]
    both = f"universe=few&watchlist_id={watchlist}"
    assert _names(await _get(client, section + both)) == ["FF", "EE"]
    assert _names(await _get(client, f"{section}{both}&symbols=EE,CC")) == ["EE"]
    assert _names(await _get(client, f"{section}{both}&symbols=CC")) == []
    whole = _names(await _get(client, leaders), "leaders")
    assert whole
    assert _names(await _get(client, f"{leaders}universe=few"), "leaders") == [
        name for name in whole if name in ("AA", "EE", "FF")
    ]
    assert _names(await _get(client, f"{leaders}symbols=CC"), "leaders") == []

    first = await _get(client, f"/api/analytics/rs?{both}&limit=1")
    token = first["next_page_token"]
    assert _names(await _get(client, f"/api/analytics/rs?{both}&limit=1&page_token={token}")) == ["EE"]
    assert (await client.get(f"/api/analytics/rs?universe=few&page_token={token}")).status_code == 400
    assert (await client.get("/api/analytics/rs?universe=nothing")).status_code == 422
    unknown = "018f0000-0000-8000-8000-000000000000"
    assert (await client.get(f"/api/analytics/rs/leaders?watchlist_id={unknown}")).status_code == 404
