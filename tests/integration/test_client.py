"""`rollotape.client` against a gateway: every question, every page, everything in, every kind of error."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from redis.asyncio import Redis

from api_gateway.app import create_app
from rollotape import keys
from rollotape.client import AsyncClient, Patience, calls, errors
from rollotape.embedded.server import free_port
from rollotape.settings import Settings
from support.closed_trades import Trade, insert_trades, roll_up
from support.databases import execute
from support.gateway import (
    Event,
    Score,
    Setup,
    build_model,
    day,
    insert_days,
    insert_events,
    insert_patterns,
    insert_scores,
)
from support.questions_of_clients import QUESTIONS

NOT_LONG = Patience(tries=2, first_s=0.01)
AS_CSV = (
    "scan", "pattern_summary", "symbols", "detections", "bars", "vsa", "markers", "strength", "leaders",
    "strength_history", "performance", "sectors", "trend", "trades", "vsa_metrics",
    "preliminary_events", "universes", "universe", "watchlists", "saved_scans", "webhooks",
)  # fmt: skip
OF_THE_GATEWAY = {"alive", "openapi", "asyncapi", "dashboard", "discovery_performance"}
"""It answers these from itself, or says in the answer what is away."""


@pytest.fixture
async def rollo(settings: Settings, database_url: str) -> AsyncIterator[AsyncClient]:
    await insert_days(database_url, "AAPL", 250, evaluable_from=20)
    await insert_days(database_url, "BTC/USD", 3)
    await insert_scores(database_url, [Score(s, n, n / 7) for n in range(30) for s in ("AAPL", "MSFT")])
    setups = [Setup(n, f"S{n % 7}", detected_at=day(n % 20)) for n in range(1, 231)]
    await insert_patterns(database_url, setups)
    await insert_trades(database_url, [Trade(n, n % 5 - 1.5, pattern=1) for n in range(1, 131)])
    await insert_events(database_url, "AAPL", [Event(21 + n) for n in range(150)])
    await roll_up(settings)
    await build_model(settings)
    app = create_app(settings)
    transport = httpx.ASGITransport(app=app)
    async with AsyncClient("http://g", patience=NOT_LONG, transport=transport) as opened:
        yield opened
    await app.state.servers.close()


async def test_every_question_is_answered_in_its_shape(rollo: AsyncClient) -> None:
    for name, call in QUESTIONS.items():
        answer = await rollo.ask(call)
        assert type(answer) is call.shape, name


async def test_pages_have_everything_once(rollo: AsyncClient) -> None:
    patterns = [item.id async for item in rollo.each(calls.scan(limit=50))]
    bars = [bar.t async for symbol, bar in rollo.each(calls.bars("AAPL", limit=60)) if symbol == "AAPL"]
    trades = [trade.id async for trade in rollo.each(calls.trades(days="all", limit=40))]
    events = [event.event_ts async for event in rollo.each(calls.vsa("AAPL", limit=70))]
    markers = [marker async for marker in rollo.each(calls.markers("AAPL", types="vsa", limit=70))]
    history = [score.as_of async for score in rollo.each(calls.strength_history("AAPL", limit=11))]

    assert sorted(patterns) == [UUID(int=n) for n in range(1, 231)]
    assert bars == [day(n) for n in range(250)]
    assert len(set(trades)) == len(trades) == 130
    assert events == [day(21 + n) for n in range(150)]
    assert len(markers) == 150
    assert history == [day(n).date() for n in reversed(range(30))]


async def test_what_is_found_is_typed(rollo: AsyncClient) -> None:
    [first, *_] = (await rollo.ask(calls.scan(symbols="S1", limit=1, display=True))).patterns
    whole = await rollo.ask(calls.pattern(first.id))
    crypto = await rollo.ask(calls.symbol("btc/usd"))
    earned = await rollo.ask(calls.performance(days="all"))

    assert (whole.symbol, whole.detected_at, first.confidence) == ("S1", first.detected_at, 0.8)
    assert first.display is not None
    assert crypto.counts.bars == {"1d": 3}
    assert (earned.total.trade_count, earned.patterns[0].pattern_type) == (130, "SPRING")


async def test_what_is_refused_has_its_own_kind_and_says_why(rollo: AsyncClient) -> None:
    with pytest.raises(errors.NotFound) as unknown:
        await rollo.ask(calls.symbol("NONE"))
    with pytest.raises(errors.Invalid) as wrong:
        await rollo.ask(calls.scan(limit=0))
    first: Any = await rollo.ask(calls.bars("AAPL", limit=1))
    following = calls.bars("MSFT", limit=1).after(first)
    assert following is not None
    with pytest.raises(errors.BadCursor):
        await rollo.ask(following)

    assert unknown.value.problem.type == "urn:rollotape:problem:not-found"
    assert wrong.value.problem.errors[0].field == "limit"


async def test_everything_is_there_as_csv_in_one_table(rollo: AsyncClient) -> None:
    for name in AS_CSV:
        listing = QUESTIONS[name]
        assert "".join([text async for text in rollo.csv(listing)]).count("\n") >= 1, name
    bars = "".join([text async for text in rollo.csv(calls.bars("AAPL", limit=60))]).splitlines()
    scan = "".join([text async for text in rollo.csv(calls.scan(limit=50))]).splitlines()

    assert (len(bars), bars[0].split(",")[:3]) == (251, ["symbol", "t", "o"])
    assert len(set(scan)) == 231


async def test_watchlists_are_made_once_changed_by_their_version_and_deleted(rollo: AsyncClient) -> None:
    wish = calls.make_watchlist("Mine", ["aapl", "NONE"])
    made = await rollo.ask(wish)
    again = await rollo.ask(wish)
    with pytest.raises(errors.Conflict) as taken:
        await rollo.ask(calls.make_watchlist("Mine", "AAPL"))
    changed = await rollo.ask(calls.replace_watchlist(made.id, "Ours", "S1", version=made.version))
    with pytest.raises(errors.Changed):
        await rollo.ask(calls.delete_watchlist(made.id, version=made.version))
    saved = await rollo.ask(calls.save_scan("Springs", watchlist_id=made.id, pattern_types="spring"))
    found = [item.symbol async for item in rollo.each(calls.scan(scan_id=saved.id))]
    other = await rollo.ask(calls.replace_scan(saved.id, "All", confidence_min=0.25, version=saved.version))
    listed = [scan async for scan in rollo.each(calls.saved_scans(limit=1))]
    await rollo.ask(calls.delete_scan(saved.id))
    await rollo.ask(calls.delete_watchlist(made.id))
    with pytest.raises(errors.NotFound):
        await rollo.ask(calls.watchlist(made.id))
    with pytest.raises(errors.NotFound):
        await rollo.ask(calls.delete_scan(saved.id))

    assert (made.symbols, made.unknown_symbols, again) == (["AAPL", "NONE"], ["NONE"], made)
    assert [(one.field, one.place) for one in taken.value.problem.errors] == [("name", "body")]
    assert (changed.symbols, changed.version) == (["S1"], 2)
    assert found and set(found) == {"S1"}
    assert (other.filters, listed) == ({"confidence_min": 0.25}, [other])


async def test_universes_and_detections_have_everything_once(rollo: AsyncClient) -> None:
    keys = [head.key for head in (await rollo.ask(calls.universes())).universes]
    members = [symbol async for symbol in rollo.each(calls.universe("leaders", limit=1))]
    detected = [one.id async for one in rollo.each(calls.detections("S1", days="all", limit=5))]

    assert {"sp500", "leaders"} <= set(keys)
    assert len(set(members)) == len(members)
    assert len(set(detected)) == len(detected) == 33


async def test_a_key_opens_what_its_scope_says_and_one_that_asks_too_often_waits(settings: Settings) -> None:
    made = {scope: keys.make() for scope in ("read", "write")}
    rows = (f"('{k.id}', 'test', '{s}', '\\x{k.hash.hex()}', 3)" for s, k in made.items())
    execute(
        settings.database_url,
        f"INSERT INTO api_keys (id, name, scope, hash, rate) VALUES {', '.join(rows)}",
    )
    app = create_app(settings.model_copy(update={"auth": "on"}))

    def client(key: str, tries: int = 1) -> AsyncClient:
        transport = httpx.ASGITransport(app=app)
        return AsyncClient("http://g", key=key, patience=Patience(tries=tries), transport=transport)

    async with client("nonsense") as nobody:
        with pytest.raises(errors.Unauthorized):
            await nobody.ask(calls.symbols())
        with pytest.raises(errors.Unauthorized):
            await anext(aiter(nobody.stream()))
    async with client(made["write"].text) as writer:
        assert (await writer.send(calls.send_bars([{}]))).refused
    async with client(made["read"].text) as reader:
        with pytest.raises(errors.Forbidden, match="write"):
            await reader.send(calls.send_bars([{}]))
        with pytest.raises(errors.TooManyRequests) as raised:
            for _ in range(4):
                await reader.ask(calls.symbols())
    assert raised.value.retry_after_s is not None
    assert 1 <= raised.value.retry_after_s <= 60
    await app.state.servers.close()


async def test_bars_patterns_and_trades_go_in_and_what_is_refused_is_named(
    rollo: AsyncClient, redis_client: Redis
) -> None:
    bar = {
        "symbol": "AAPL", "timeframe": "1d", "ts": day(1), "open": 10, "high": 12, "low": 9, "close": 11,
        "volume": 1_500,
    }  # fmt: skip
    event = {"source": "test", "symbol": "AAPL", "timeframe": "1d"}
    pattern = event | {
        "event": "detected", "pattern_type": "SPRING", "confidence": 0.5, "detected_at": day(1),
    }  # fmt: skip
    trade = event | {"event": "opened", "direction": "long", "generated_at": day(1), "stop": 90}

    bars = await rollo.send(calls.send_bars(bar | {"revision": n, "high": n} for n in range(2_100)))
    patterns = await rollo.send(calls.send_patterns([pattern, pattern | {"confidence": 2}]))
    trades = await rollo.send(calls.send_signals([trade | {"stop": 0}, trade]))

    assert (bars.accepted, [one.index for one in bars.refused]) == (2_089, list(range(11)))
    assert bars.refused[0].faults[0].field == "high"
    assert (patterns.accepted, patterns.refused[0].index) == (1, 1)
    assert (trades.accepted, trades.refused[0].faults[0].field) == (1, "stop")
    assert await redis_client.xlen("bars.12") == 2_089
    assert (await redis_client.xlen("patterns.12"), await redis_client.xlen("signals.12")) == (1, 1)


async def test_an_outage_is_an_error_and_never_an_empty_list(settings: Settings) -> None:
    away = settings.model_copy(
        update={"redis_url": f"redis://127.0.0.1:{free_port()}", "database_url": "postgresql://127.0.0.1:1/x"}
    )
    app = create_app(away)
    transport = httpx.ASGITransport(app=app)
    async with AsyncClient("http://g", patience=Patience(tries=1), transport=transport) as rollo:
        for name, call in QUESTIONS.items():
            if name in OF_THE_GATEWAY:
                await rollo.ask(call)
                continue
            with pytest.raises(errors.ServerAway) as raised:
                await rollo.ask(call)
            assert raised.value.retry_after_s == 2
            if name.endswith("health"):
                assert "checked_at" in raised.value.problem.said, name
    await app.state.servers.close()
