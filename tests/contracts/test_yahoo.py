"""Yahoo's charts, asked for with the library yfinance from a server that has some."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from rollotape import calendars
from rollotape.errors import Refused, Unavailable
from rollotape.producers.feeds.history import CatchUp
from rollotape.producers.feeds.said import Said
from rollotape.producers.feeds.yahoo import chart as charts
from rollotape.producers.feeds.yahoo.history import YahooHistory
from rollotape.producers.feeds.yahoo.library import Library
from rollotape.producers.keeper import Request
from support.live import Tape, outgoing_to
from support.yahoo import NOT_FOUND, FakeYahoo, Inside, Row, chart, fake_yahoo

OPEN = datetime(2026, 3, 4, 14, 30, tzinfo=UTC)


def us(when: datetime) -> int:
    return round(when.timestamp() * 1e6)


def at(minutes: float) -> datetime:
    return OPEN + timedelta(minutes=minutes)


def read(rows: list[Row], timeframe: str, now: datetime, zone: str = "America/New_York") -> list[Said]:
    body = orjson.dumps(chart("AAPL", rows, zone))
    return charts.read(body, "AAPL", timeframe, us(now), calendars.sessions())


class TestCharts:
    def test_minutes_where_nothing_traded_are_no_bars_and_the_last_trade_is_none_either(self) -> None:
        rows: list[Row] = [(at(0), 100.5), (at(1), None), (at(2), 100.7), (at(2.6), 100.8)]
        bars = read(rows, "1m", at(4))
        assert [(bar.ts_us, bar.close, bar.revision) for bar in bars] == [
            (us(at(0)), 100.5, 180), (us(at(2)), 100.7, 60),
        ]  # fmt: skip

    @pytest.mark.parametrize("name", charts.NUMBERS)
    def test_a_number_that_is_missing_may_still_come_and_nothing_is_put_in_its_place(self, name: str) -> None:
        told = chart("AAPL", [(at(0), 100.5), (at(1), 100.6)])
        told["chart"]["result"][0]["indicators"]["quote"][0][name][0] = None
        [bar] = charts.read(orjson.dumps(told), "AAPL", "1m", us(at(9)), calendars.sessions())
        assert bar.ts_us == us(at(1))

    @pytest.mark.parametrize(
        ("timeframe", "when", "zone", "expected"),
        [
            ("1d", "2026-03-04T14:30:00Z", "America/New_York", "2026-03-04"),
            ("1d", "2026-03-04T00:00:00Z", "Asia/Tokyo", "2026-03-04"),
            ("1d", "2026-03-03T15:00:00Z", "Asia/Tokyo", "2026-03-04"),
            ("1w", "2026-03-02T05:00:00Z", "America/New_York", "2026-03-02"),
            ("1w", "2026-02-17T14:30:00Z", "America/New_York", "2026-02-16"),
        ],
    )
    def test_a_day_is_that_of_its_exchange_and_a_week_its_monday(
        self, timeframe: str, when: str, zone: str, expected: str
    ) -> None:
        [bar] = read([(datetime.fromisoformat(when), 100.0)], timeframe, at(0), zone)
        assert bar.ts_us == us(datetime.fromisoformat(expected).replace(tzinfo=UTC))

    def test_of_a_day_that_comes_twice_the_last_row_holds_and_a_week_waits(self) -> None:
        rows: list[Row] = [(at(0), 100.0), (at(385), 100.9)]
        assert [bar.close for bar in read(rows, "1d", at(600))] == [100.9]
        assert read(rows, "1w", at(600)) == []

    @pytest.mark.parametrize(
        ("body", "kind", "says"),
        [
            (orjson.dumps(NOT_FOUND), charts.Unknown, "AAPL: Yahoo says: No data found"),
            (
                b'{"chart":{"result":null,"error":{"code":"Bad","description":"range"}}}',
                Unavailable,
                "Bad: range",
            ),
            (b"<html>Will be right back", Unavailable, "no chart of AAPL: '<html>"),
            (b'{"chart":{"result":[]}}', Unavailable, "no chart"),
            (b'{"chart":{"result":[{"meta":{"exchangeTimezoneName":"Mars"}}]}}', Unavailable, "no chart"),
        ],
    )
    def test_what_is_no_chart_is_said(self, body: bytes, kind: type[Exception], says: str) -> None:
        with pytest.raises(kind, match=says):
            charts.read(body, "AAPL", "1m", 0, calendars.sessions())

    def test_a_symbol_without_a_bar_in_the_span_has_none(self) -> None:
        body = b'{"chart":{"result":[{"meta":{"exchangeTimezoneName":"UTC"},"indicators":{"quote":[{}]}}]}}'
        assert charts.read(body, "AAPL", "1m", 0, calendars.sessions()) == []


class TestHistory:
    async def test_what_is_unknown_is_told_once_and_the_others_do_not_wait_for_it(self) -> None:
        asked: list[str] = []
        told: list[str] = []

        async def fetch(path: str, query: Mapping[str, str]) -> bytes:
            asked.append(path.rpartition("/")[2])
            if path.endswith("NOPE"):
                return orjson.dumps(NOT_FOUND)
            if path.endswith("SLOW"):
                raise Unavailable("SLOW: 500")
            return orjson.dumps(chart("X", [(at(0), 100.0)]))

        history = YahooHistory(fetch, calendars.sessions(), unknown=told.append, now_us=lambda: us(at(60)))
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"1 of \d questions failed, the last one: SLOW: 500"):
                heard = []
                async for bars in history.bars("1m", ["AAPL", "NOPE", "SLOW", "^GSPC", "SPY"], 0, us(at(5))):
                    heard += [bar.symbol for bar in bars]
            assert sorted(heard) == ["AAPL", "SPY", "^GSPC"]
        assert len(told) == asked.count("NOPE") == 1
        assert "%5EGSPC" in asked

    async def test_where_nothing_is_known_the_feed_ends_with_a_sentence(self) -> None:
        async def fetch(path: str, query: Mapping[str, str]) -> bytes:
            return orjson.dumps(NOT_FOUND)

        history = YahooHistory(fetch, calendars.sessions())
        assert [bars async for bars in history.bars("1d", ["NOPE"], 0, us(OPEN))] == []
        with pytest.raises(Refused, match="--symbols: Yahoo knows none of them: NOPE"):
            [bars async for bars in history.bars("1d", ["NOPE"], 0, us(OPEN))]

    async def test_that_it_has_no_bars_means_no_trades_only_where_it_reaches(self) -> None:
        async def fetch(path: str, query: Mapping[str, str]) -> bytes:
            return orjson.dumps(NOT_FOUND)

        history = YahooHistory(fetch, calendars.sessions(), now_us=lambda: us(at(60)))
        ago = us(at(60)) - 8 * 86_400_000_000
        assert not history.tells(Request("AAPL", "1m", ago, ago, 1))
        assert history.tells(Request("AAPL", "5m", ago, ago, 1))
        assert history.tells(Request("AAPL", "1d", 0, 0, 1))
        assert [bars async for bars in history.bars("1d", ["AAPL"], 0, 1)] == []
        assert not history.tells(Request("AAPL", "1d", 0, 0, 1))

    async def test_no_more_is_asked_than_yahoo_has(self) -> None:
        asked: list[Mapping[str, str]] = []

        async def fetch(path: str, query: Mapping[str, str]) -> bytes:
            asked.append(query)
            return orjson.dumps(chart("X", []))

        history = YahooHistory(fetch, calendars.sessions(), extended=True, now_us=lambda: us(at(60)))
        for timeframe in ("1m", "1d"):
            async for _ in history.bars(timeframe, ["AAPL"], 0, us(at(60))):
                pass
        assert int(asked[0]["period1"]) == int(at(60).timestamp()) - 7 * 86_400
        assert (asked[0]["interval"], asked[0]["includePrePost"]) == ("1m", "true")
        assert (asked[1]["period1"], asked[1]["interval"]) == ("0", "1d")


@pytest.fixture
def without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library keeps cookies in a database of the user, and itself in a class."""
    from yfinance import cache
    from yfinance.data import YfData

    monkeypatch.setattr(cache._CookieCacheManager, "_Cookie_cache", cache._CookieCacheDummy())
    monkeypatch.setattr(type(YfData), "_instances", {})


def library(fake: FakeYahoo) -> tuple[Library, Inside]:
    session = Inside(fake.url)
    return Library(session=session), session


@pytest.mark.usefixtures("without_memory")
class TestLibrary:
    async def test_bars_of_the_past_come_through_it_and_what_was_restated_is_sent_again(self) -> None:
        async with fake_yahoo() as fake:
            fake.rows["5m", "AAPL"] = [(at(0), 100.5), (at(5), 100.6), (at(10), 100.7)]
            fetch, session = library(fake)
            tape, now = Tape(), [at(12)]
            history = YahooHistory(fetch, calendars.sessions(), now_us=lambda: us(now[0]))
            catch_up = CatchUp(
                history, tape, outgoing_to(tape),
                since_us=lambda _: us(at(-60)), now_us=lambda: us(now[0]),
            )  # fmt: skip
            await catch_up.run("5m", ["AAPL"])
            assert tape.closes("AAPL") == [("14:30", 100.5, 420), ("14:35", 100.6, 120)]
            now[0] = at(16)
            fake.rows["5m", "AAPL"][1:] = [(at(5), 100.65), (at(10), 100.7)]
            await catch_up.run("5m", ["AAPL"])
        assert tape.closes("AAPL")[2:] == [("14:35", 100.65, 360), ("14:40", 100.7, 60)]
        assert fake.questions[0][1]["crumb"] == "cr/mb"
        assert set(session.hosts) == {"fc.yahoo.com", "query1.finance.yahoo.com", "query2.finance.yahoo.com"}

    async def test_an_unknown_symbol_is_told_from_a_server_in_trouble(self) -> None:
        async with fake_yahoo() as fake:
            fetch, _ = library(fake)
            body = await fetch(charts.path("NOPE"), charts.query("1d", 0, us(OPEN), extended=False))
            assert orjson.loads(body) == NOT_FOUND
            fake.refusals = [(500, b"<html>"), (500, b"<html>")]
            with pytest.raises(Unavailable, match="Yahoo says 500"):
                await fetch(charts.path("AAPL"), charts.query("1d", 0, us(OPEN), extended=False))
            fake.refusals = [(429, b"Too Many Requests")] * 2
            with pytest.raises(Unavailable, match="429: too many questions"):
                await fetch(charts.path("AAPL"), charts.query("1d", 0, us(OPEN), extended=False))

    async def test_a_server_that_is_away_is_tried_again_later(self) -> None:
        async with fake_yahoo() as fake:
            fetch, _ = library(fake)
        with pytest.raises(Unavailable, match="Yahoo: "):
            await fetch(charts.path("AAPL"), {})


async def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yfinance.data", None)
    with pytest.raises(Refused, match=r"pip install 'rollotape\[yfinance\]'"):
        Library()
