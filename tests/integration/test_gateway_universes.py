"""Scans of a universe: its members are in memory, and a change of them is heeded."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from api_gateway.app import create_app
from api_gateway.problems import Problem
from api_gateway.universes import FRESH_S, OLD_S, Universes
from rollotape.errors import Unavailable
from rollotape.postgres.universes import Universe
from rollotape.settings import Settings
from support.closed_trades import Trade, insert_trades, roll_up
from support.databases import execute
from support.gateway import Setup, build_model, insert_patterns


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://g") as opened:
        yield opened
    await app.state.servers.close()


async def _symbols(client: httpx.AsyncClient, query: str) -> list[str]:
    answer = await client.get(f"/api/patterns/scan?{query}")
    assert answer.status_code == 200, answer.text
    return [item["symbol"] for item in answer.json()["patterns"]]


def _have(settings: Settings, *symbols: str) -> None:
    execute(
        settings.database_url,
        f"UPDATE universes SET symbols = '{{{','.join(symbols)}}}', changed_at = now() WHERE key = 'sp500'",
    )


async def test_a_scan_of_a_universe_is_of_its_members_alone(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    setups = [Setup(n, symbol=s) for n, s in enumerate(("AAPL", "CVX", "MSFT", "XOM", "ZZZ"), 1)]
    await insert_patterns(settings.database_url, setups)
    await build_model(settings)
    _have(settings, "AAPL", "MSFT", "XOM")
    execute(settings.database_url, "INSERT INTO exchanges VALUES ('ZZZ', 'NYSE'), ('XOM', 'NYSE')")
    by_symbol = "sort_by=symbol&sort_order=asc"

    found = {
        query: await _symbols(client, f"{by_symbol}&{query}")
        for query in (
            "universe=sp500", "universe=SP500&symbols=XOM,ZZZ", "universe=sp500&symbols=ZZZ",
            "universe=sector:energy", "universe=exchange:nyse", "universe=leaders", "limit=9",
        )
    }  # fmt: skip

    assert found == {
        "universe=sp500": ["AAPL", "MSFT", "XOM"],
        "universe=SP500&symbols=XOM,ZZZ": ["XOM"],
        "universe=sp500&symbols=ZZZ": [],
        "universe=sector:energy": ["CVX", "XOM"],
        "universe=exchange:nyse": ["XOM", "ZZZ"],
        "universe=leaders": [],
        "limit=9": ["AAPL", "CVX", "MSFT", "XOM", "ZZZ"],
    }
    cached = await client.get(f"/api/v1/patterns/scan?{by_symbol}&universe=sp500")
    again = await client.get(f"/api/v1/patterns/scan?{by_symbol}&universe=sp500")
    assert again.json()["cache_info"]["cached"] is True
    assert again.headers["etag"] == cached.headers["etag"]


async def test_a_change_of_members_is_heeded_and_pages_go_on(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    setups = [Setup(n, symbol=s) for n, s in enumerate(("AAPL", "CVX", "MSFT", "XOM"), 1)]
    await insert_patterns(settings.database_url, setups)
    await build_model(settings)
    _have(settings, "AAPL", "MSFT")
    query = "/api/patterns/scan?universe=sp500&sort_by=symbol&sort_order=asc&limit=1"
    first = (await client.get(query)).json()
    _have(settings, "AAPL", "XOM")

    deadline = time.monotonic() + 3 * FRESH_S + 10
    while await _symbols(client, "universe=sp500&sort_by=symbol&sort_order=asc") != ["AAPL", "XOM"]:
        assert time.monotonic() < deadline, "the change was never heeded"
        await asyncio.sleep(0.1)  # between two looks

    token = first["pagination"]["next_page_token"]
    second = (await client.get(f"{query}&page_token={token}")).json()
    assert [item["symbol"] for item in second["patterns"]] == ["XOM"]


@pytest.mark.parametrize("key", ["nothing", "exchange:lse", "a%20b", "", "x" * 90])
async def test_a_universe_that_is_none_is_refused_by_name(
    client: httpx.AsyncClient, settings: Settings, key: str
) -> None:
    await build_model(settings)
    answer = await client.get(f"/api/patterns/scan?universe={key}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "universe")


# ---- in memory


class Source:
    """What PostgreSQL would say; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = self.silent = False
        self.symbols: tuple[str, ...] = ("A",)

    async def load(self) -> list[Universe]:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        if self.silent:
            await asyncio.Event().wait()
        return [Universe("x", "X", "index", self.symbols, ",".join(self.symbols))]


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def _settle() -> None:
    """Let what was begun beside us end."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_nobody_waits_while_members_are_read_again() -> None:
    source, clock = Source(), Clock()
    universes = Universes(source.load, clock)
    assert (await universes.members("x")).symbols == ("A",)
    for _ in range(100):
        await universes.members("x")
    assert source.asked == 1

    source.symbols = ("B",)
    clock.now += FRESH_S
    assert (await universes.members("x")).symbols == ("A",), "read again beside the answer"
    await _settle()
    assert (await universes.members("x")).symbols == ("B",)
    assert source.asked == 2

    source.symbols = ("C",)
    clock.now += OLD_S
    assert (await universes.members("x")).symbols == ("C",), "what is old is waited for"


async def test_while_postgresql_is_away_members_stay_as_they_were() -> None:
    source, clock = Source(), Clock()
    universes = Universes(source.load, clock)
    source.away = True
    with pytest.raises(Problem) as raised:
        await universes.all()
    assert raised.value.kind.status == 503
    source.away = False
    clock.now += FRESH_S
    assert not (await universes.all()).stale

    source.away = True
    clock.now += OLD_S
    held: Any = await universes.all()
    assert (held.stale, held.by_key["x"].symbols) == (True, ("A",))
    source.away, source.silent = False, True
    clock.now += OLD_S
    async with asyncio.timeout(1):
        assert (await universes.all()).stale, "nobody waits for a server that is known to be away"
    source.silent = False
    await universes.close()
    clock.now += FRESH_S
    await universes.all()
    await _settle()
    assert not (await universes.all()).stale


# ---- analytics


async def test_analytics_of_a_universe_are_of_the_trades_of_its_members(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    trades = [Trade(1, 1.0), Trade(2, 2.0, symbol="XOM"), Trade(3, -1.0, symbol="ZZZ"), Trade(4, None)]
    await insert_trades(settings.database_url, trades)
    await roll_up(settings)
    _have(settings, "AAPL", "ZZZ")

    async def count(query: str, at: str = "pattern-performance") -> int:
        answer = await client.get(f"/api/analytics/{at}?days=all&{query}")
        assert answer.status_code == 200, answer.text
        said = answer.json()
        return int(said["pagination"]["total"] if at == "trades" else said["total"]["trade_count"])

    wanted = {
        "universe=sp500": 2,
        "universe=SP500&symbols=XOM,ZZZ": 1,
        "universe=sp500&symbols=XOM": 0,
        "universe=sector:energy": 1,
        "universe=sector:energy&sectors=Financials": 0,
        "universe=sector:utilities": 0,
        "universe=leaders": 0,
        "symbols=AAPL,XOM,ZZZ": 3,
    }
    for at in ("pattern-performance", "sector-breakdown", "trades"):
        assert {query: await count(query, at) for query in wanted} == wanted, at


async def test_trades_of_a_universe_are_read_page_by_page(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await insert_trades(settings.database_url, [Trade(n, 1.0, days_ago=n) for n in range(1, 6)])
    await roll_up(settings)
    _have(settings, "AAPL")
    at, seen = "/api/analytics/trades?days=all&universe=sp500&limit=2", []
    said = (await client.get(at)).json()
    while True:
        seen += [trade["id"] for trade in said["trades"]]
        token = said["pagination"]["next_page_token"]
        if token is None:
            break
        said = (await client.get(f"{at}&page_token={token}")).json()
    assert seen == [str(Trade(n, 1.0).id) for n in range(1, 6)]
    other = await client.get(f"{at.replace('sp500', 'leaders')}&page_token={(await _token(client, at))}")
    assert other.status_code == 400


async def _token(client: httpx.AsyncClient, at: str) -> str:
    return str((await client.get(at)).json()["pagination"]["next_page_token"])
