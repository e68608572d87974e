"""Alpaca's protocols, spoken with a server that speaks them: sessions, restated minutes, pages, errors."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from rollotape import calendars
from rollotape.errors import Refused, Unavailable
from rollotape.producers.feeds import http
from rollotape.producers.feeds.alpaca import history, protocol
from rollotape.producers.feeds.alpaca.history import Account, AlpacaHistory
from rollotape.producers.feeds.alpaca.live import connected
from rollotape.producers.feeds.alpaca.protocol import Strange, Subscribed, Trouble
from rollotape.producers.feeds.alpaca.session import AlpacaSession
from rollotape.producers.feeds.history import CatchUp
from rollotape.producers.feeds.http import Answer
from rollotape.producers.feeds.said import Said
from rollotape.producers.feeds.sending import Polls, sessions_of
from rollotape.producers.feeds.standing import Standing
from rollotape.producers.keeper import Request
from support.alpaca import KEY, SECRET, FakeAlpaca, fake_alpaca, minute, past
from support.live import Heard, Tape, outgoing_to
from support.waiting import eventually

OPEN = datetime(2026, 3, 4, 14, 30, tzinfo=UTC)
LATER = OPEN + timedelta(hours=1)
SYMBOLS = ("AAPL", "MSFT")


def us(when: datetime) -> int:
    return round(when.timestamp() * 1e6)


def at(minutes: int) -> datetime:
    return OPEN + timedelta(minutes=minutes)


class TestWords:
    def test_a_minute_is_labelled_by_its_start_and_weighs_nothing_when_it_is_new(self) -> None:
        text = (
            '[{"T":"b","S":"AAPL","o":1.5,"h":2,"l":1,"c":1.75,"v":100.5,'
            '"t":"2026-03-04T14:30:00Z","n":3,"vw":1.6}]'
        )
        [word] = protocol.read(text, us(at(1)) + 80_000)
        assert word == Said("AAPL", "1m", us(OPEN), 1.5, 2.0, 1.0, 1.75, 100.5, 0)

    @pytest.mark.parametrize(("clock_s", "expected"), [(30, 30), (-5, 1)], ids=["in time", "clock behind"])
    def test_a_restated_minute_always_weighs_more_than_its_first_telling(
        self, clock_s: int, expected: int
    ) -> None:
        item = minute("AAPL", OPEN, kind="u")
        [word] = protocol.read(orjson.dumps([item]), us(at(1)) + clock_s * 1_000_000)
        assert isinstance(word, Said)
        assert word.revision == expected

    def test_subscriptions_and_errors_are_told_apart_and_other_channels_passed_by(self) -> None:
        text = (
            '[{"T":"subscription","bars":["A"],"updatedBars":["A"],"trades":[]},'
            '{"T":"error","code":405,"msg":"symbol limit exceeded"},{"T":"q","S":"A"},{"T":"d","S":"A"}]'
        )
        assert protocol.read(text, 0) == [
            Subscribed(frozenset("A"), frozenset("A")),
            Trouble(405, "symbol limit exceeded"),
        ]

    @pytest.mark.parametrize(
        "text",
        ["no json", "{}", "[5]", '[{"T":5}]', '[{"T":"b","S":"A"}]', '[{"T":"b","S":"A","t":"never"}]',
         '[{"T":"b","S":"A","t":"2026-03-04T14:30:00Z","o":1,"h":1,"l":1,"c":null,"v":1}]'],
    )  # fmt: skip
    def test_what_the_protocol_does_not_have_is_strange_and_no_bar(self, text: str) -> None:
        [word] = protocol.read(text, 0)
        assert isinstance(word, Strange)

    def test_many_symbols_are_subscribed_to_in_messages_that_add_up(self) -> None:
        symbols = [f"S{i}" for i in range(1_100)]
        parts = [orjson.loads(text) for text in protocol.subscribe(symbols)]
        assert [len(part["bars"]) for part in parts] == [500, 500, 100]
        assert [s for part in parts for s in part["updatedBars"]] == symbols


class TestHistory:
    async def test_pages_are_followed_to_the_end(self) -> None:
        async with fake_alpaca(page_bars=3) as fake:
            for symbol in SYMBOLS:
                fake.keeps("1Min", symbol, [past(at(i), 100 + i / 100) for i in range(4)])
            parts = [part async for part in past_of(fake).bars("1m", SYMBOLS, us(OPEN), us(at(10)))]
        assert [len(part) for part in parts] == [3, 3, 2]
        assert {bar.symbol for part in parts for bar in part} == set(SYMBOLS)
        asked = fake.questions[0]
        assert asked["adjustment"] == "split"
        assert (asked["feed"], asked["symbols"], asked["start"]) == (
            "iex", "AAPL,MSFT", "2026-03-04T14:30:00Z",
        )  # fmt: skip
        assert [question.get("page_token") for question in fake.questions] == [None, "3", "6"]

    @pytest.mark.parametrize("midnight", ["2026-03-04T05:00:00Z", "2026-07-01T04:00:00Z"])
    async def test_a_day_is_labelled_by_new_yorks_midnight_and_becomes_its_date(self, midnight: str) -> None:
        day = datetime.fromisoformat(midnight)
        async with fake_alpaca() as fake:
            fake.keeps("1Day", "AAPL", [past(day)])
            start = day.replace(hour=0)
            [[bar]] = [part async for part in past_of(fake).bars("1d", ["AAPL"], us(start), us(start))]
        assert bar.ts_us == us(start)

    async def test_the_delayed_source_asks_for_nothing_that_it_may_not_see(self) -> None:
        async with fake_alpaca(sources=("sip",)) as fake:
            job = past_of(fake, source="delayed_sip", now=at(30))
            async for _ in job.bars("1m", SYMBOLS, us(OPEN), us(at(30))):
                pass
        assert (fake.questions[0]["feed"], fake.questions[0]["end"]) == ("sip", "2026-03-04T14:44:00Z")

        request = Request("AAPL", "1m", us(at(20)), us(at(20)), 1)
        assert not job.tells(request)
        assert past_of(fake, now=at(30)).tells(request)

    async def test_a_limit_is_waited_for_as_long_as_it_is_said(self) -> None:
        pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)

        async with fake_alpaca() as fake:
            fake.keeps("1Min", "AAPL", [past(OPEN)])
            reset = str(int(at(60).timestamp()) + 7)
            fake.refusals = [
                (429, {"X-RateLimit-Reset": reset}, "too many"), (429, {"Retry-After": "3"}, "too many"),
            ]  # fmt: skip
            job = past_of(fake, sleep=sleep)
            assert [part async for part in job.bars("1m", ["AAPL"], us(OPEN), us(at(5)))]
        assert pauses == [7.0, 3.0]

    @pytest.mark.parametrize(
        ("status", "body", "kind", "says"),
        [
            (403, '{"message": "forbidden."}', Refused, "ROLLO_ALPACA_KEY"),
            (
                403,
                '{"message": "subscription does not permit querying recent SIP data"}',
                Refused,
                "--source",
            ),
            (400, '{"message": "invalid symbol: A/B"}', Refused, "invalid symbol: A/B: see to --symbols"),
            (500, "<html>", Unavailable, "500 <html>"),
            (200, '{"bars": 5}', Unavailable, "no page of bars"),
            (200, "nothing", Unavailable, "no page of bars"),
        ],
    )
    async def test_what_is_wrong_is_said_with_what_to_do(
        self, status: int, body: str, kind: type[Exception], says: str
    ) -> None:
        async with fake_alpaca() as fake:
            fake.refusals = [(status, {}, body)]
            with pytest.raises(kind, match=says) as error:
                [part async for part in past_of(fake).bars("1m", ["AAPL"], us(OPEN), us(at(5)))]
        assert SECRET not in str(error.value)

    async def test_a_server_that_is_away_is_tried_again_later_and_no_key_follows_a_redirect(self) -> None:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            await http.get("http://127.0.0.1:1/", {})
        async with fake_alpaca() as fake:
            fake.refusals = [(302, {"Location": f"{fake.data_url}/v2/stocks/bars?other"}, "")]
            answer = await http.get(f"{fake.data_url}/v2/stocks/bars", {"APCA-API-KEY-ID": KEY})
        assert answer.status == 302
        assert len(fake.questions) == 1

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [({"retry-after": "0"}, 1.0), ({"retry-after": "9999"}, 120.0), ({"x-ratelimit-reset": "1060"}, 60.0),
         ({"x-ratelimit-reset": "7"}, 1.0), ({"retry-after": "Wed"}, 10.0), ({}, 10.0)],
    )  # fmt: skip
    def test_pauses_are_bounded(self, headers: dict[str, str], expected: float) -> None:
        assert http.pause_s(Answer(429, headers, b""), 1_000.0) == expected


class TestConnecting:
    async def test_what_comes_before_the_subscription_is_not_lost(self) -> None:
        async with fake_alpaca() as fake, connected(account(fake), fake.stream_url, SYMBOLS) as minutes:
            listening = asyncio.create_task(minutes.listen())
            await fake.say(minute("AAPL", OPEN), minute("ZZZ", OPEN))
            bars = await asyncio.wait_for(minutes.next(), 5)
            listening.cancel()
        assert [bar.symbol for bar in bars] == ["AAPL"]

    @pytest.mark.parametrize(
        ("about", "change", "says"),
        [
            ({}, {"secret": "wrong"}, "402 auth failed: the key and its secret are rejected"),
            ({"sources": ("sip",)}, {}, "409 insufficient subscription: .* include --source iex"),
            ({"symbols_limit": 1}, {}, "405 symbol limit exceeded: --symbols names 2, more"),
        ],
        ids=["bad key", "no such data", "too many symbols"],
    )
    async def test_what_will_not_pass_ends_the_feed_with_a_sentence(
        self, about: dict[str, object], change: dict[str, str], says: str
    ) -> None:
        async with fake_alpaca(**about) as fake:
            with pytest.raises(Refused, match=says) as error:
                async with connected(replace(account(fake), **change), fake.stream_url, SYMBOLS):
                    pass
        assert SECRET not in str(error.value)

    @pytest.mark.parametrize("code", [401, 404, 406, 407, 500])
    async def test_what_passes_is_tried_again(self, code: int) -> None:
        async with fake_alpaca() as fake:
            fake.greetings = [{"T": "error", "code": code, "msg": "so"}]
            with pytest.raises(Unavailable, match=f"{code} so"):
                async with connected(account(fake), fake.stream_url, SYMBOLS):
                    pass
            async with connected(account(fake), fake.stream_url, SYMBOLS):
                pass

    async def test_a_server_that_says_nothing_is_not_waited_for_without_end(self) -> None:
        writers: list[asyncio.StreamWriter] = []
        silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
        url = f"ws://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        with pytest.raises(Unavailable):
            async with connected(Account(KEY, SECRET, "iex", ""), url, SYMBOLS, greeting_s=0.2):
                pass
        for writer in writers:
            writer.close()
        silent.close()

    def test_the_secret_is_not_shown(self) -> None:
        told = repr(Account(KEY, SECRET, "iex", ""))
        assert SECRET not in told
        assert KEY not in told


@dataclass
class Running:
    """A feed at work beside a test."""

    fake: FakeAlpaca
    tape: Tape
    heard: Heard
    standing: Standing
    task: "asyncio.Task[object]"

    async def is_live(self) -> bool:
        return self.standing.phase == "live"

    async def interrupted(self, times: int) -> None:
        await eventually(lambda: asyncio.sleep(0, self.standing.interruptions >= times))

    async def sent(self, count: int) -> list[tuple[str, float, int]]:
        """The bars of AAPL, when there are so many."""

        async def enough() -> bool:
            assert not self.task.done(), self.task.exception()
            return len(self.tape.closes("AAPL")) >= count

        await eventually(enough, what=f"{count} bars of AAPL")
        return self.tape.closes("AAPL")


@asynccontextmanager
async def running(fake: FakeAlpaca, now: Callable[[], datetime], *timeframes: str) -> AsyncIterator[Running]:
    tape, heard, standing, sessions = Tape(), Heard(), Standing(), calendars.sessions()
    outgoing = outgoing_to(tape, standing)
    late = asyncio.Event()

    async def until_told(seconds: float) -> None:
        await late.wait()

    async def soon(seconds: float) -> None:
        await asyncio.sleep(0)

    def now_us() -> int:
        return us(now())

    past = AlpacaHistory(account(fake), sessions, now_us=now_us)
    catch_up = CatchUp(past, tape, outgoing, since_us=lambda _: us(OPEN) - 2 * 86_400_000_000, now_us=now_us)
    polls = Polls(catch_up, SYMBOLS, sessions, heard, standing, delay_s=5, now_us=now_us, sleep=until_told)
    session = AlpacaSession(
        account(fake), fake.stream_url, SYMBOLS, timeframes, outgoing, polls, heard, standing, now_us=now_us
    )
    task = asyncio.create_task(sessions_of(session, "test", heard, standing, sleep=soon))
    try:
        yield Running(fake, tape, heard, standing, task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class TestSession:
    async def test_the_past_goes_first_then_minutes_as_they_close_and_as_they_are_restated(self) -> None:
        async with fake_alpaca() as fake:
            fake.keeps("1Min", "AAPL", [past(at(i), 100 + i / 100) for i in range(3)])
            fake.gate.clear()
            now = [at(3)]
            async with running(fake, lambda: now[0], "1m") as feed:
                await eventually(lambda: asyncio.sleep(0, fake.questions))
                now[0] = at(4)
                await fake.say(minute("AAPL", at(3), 100.03))  # while the past is being asked for
                fake.gate.set()
                await feed.sent(4)
                now[0] = at(4) + timedelta(seconds=30)
                await fake.say(minute("AAPL", at(3), 100.5, 1_200.5, "u"))
                sent = await feed.sent(5)
        assert sent == [
            ("14:30", 100.0, 120), ("14:31", 100.01, 60), ("14:32", 100.02, 0), ("14:33", 100.03, 0),
            ("14:33", 100.5, 30),
        ]  # fmt: skip
        assert feed.heard.said("caught_up") == [
            "1m: 3 bars were missing; of 1 symbols the source has none of that time: MSFT"
        ]

    async def test_after_a_cut_what_was_said_meanwhile_is_asked_for_restated_minutes_too(self) -> None:
        async with fake_alpaca() as fake:
            now = [at(1)]
            async with running(fake, lambda: now[0], "1m") as feed:
                await eventually(feed.is_live)
                await fake.say(minute("AAPL", at(0), 100.0))
                await feed.sent(1)
                now[0] = at(4)
                fake.keeps("1Min", "AAPL", [past(at(0), 99.5), *(past(at(i)) for i in (1, 2, 3))])
                await fake.drop()
                sent = await feed.sent(5)
                await eventually(feed.is_live)
                await fake.say(minute("AAPL", at(4), 101.0))
                sent = await feed.sent(6)
        assert sent == [
            ("14:30", 100.0, 0), ("14:30", 99.5, 180), ("14:31", 100.0, 120), ("14:32", 100.0, 60),
            ("14:33", 100.0, 0), ("14:34", 101.0, 0),
        ]  # fmt: skip
        assert fake.opened >= 2
        assert feed.standing.interruptions == fake.opened - 1

    async def test_cut_off_again_and_again_it_ends_with_what_the_source_says(self) -> None:
        """Of 50 minutes some are restated half a minute later, and every few the connection is cut."""
        chance, now = random.Random(1), [OPEN]
        async with fake_alpaca() as fake, running(fake, lambda: now[0], "1m") as feed:
            for i in range(50):
                if chance.random() < 0.9:  # or nobody was there to hear it
                    await eventually(feed.is_live)
                now[0] = at(i + 1)
                for symbol in SYMBOLS:
                    close = round(chance.uniform(99, 101), 2)
                    fake.keeps("1Min", symbol, [past(at(i), close)])
                    await fake.say(minute(symbol, at(i), close))
                if chance.random() < 0.4 and fake.connections:
                    cuts = feed.standing.interruptions
                    await fake.drop()
                    await feed.interrupted(cuts + 1)
                if chance.random() < 0.5:
                    now[0] += timedelta(seconds=30)
                    symbol, close = chance.choice(SYMBOLS), round(chance.uniform(99, 101), 2)
                    fake.history["1Min", symbol][-1] = past(at(i), close)
                    await fake.say(minute(symbol, at(i), close, kind="u"))
            await fake.drop()
            await eventually(lambda: asyncio.sleep(0, feed.tape.winners() == fake.closes()))
        assert feed.standing.interruptions > 10

    async def test_a_second_connection_with_the_same_key_waits_for_the_first_to_end(self) -> None:
        async with fake_alpaca() as fake, connected(account(fake), fake.stream_url, SYMBOLS):
            now = [at(1)]
            async with running(fake, lambda: now[0], "1m") as feed:
                await eventually(lambda: asyncio.sleep(0, feed.heard.said("interrupted")))
                assert "406 connection limit exceeded: another program" in feed.heard.said("interrupted")[0]
                fake.connections_limit = 2
                await eventually(feed.is_live)

    async def test_days_alone_need_no_connection(self) -> None:
        async with fake_alpaca() as fake:
            fake.keeps("1Day", "AAPL", [past(datetime(2026, 3, 3, 5, tzinfo=UTC))])
            fake.keeps("1Day", "AAPL", [past(datetime(2026, 3, 4, 5, tzinfo=UTC))])  # it still runs
            async with running(fake, lambda: at(60), "1d") as feed:
                await eventually(feed.is_live)
                assert [row["ts"] for row in feed.tape.rows] == ["2026-03-03T00:00:00Z"]
        assert fake.opened == 0


def account(fake: FakeAlpaca, source: str = "iex") -> Account:
    return Account(KEY, SECRET, source, fake.data_url)


def past_of(
    fake: FakeAlpaca,
    *,
    source: str = "iex",
    now: datetime = LATER,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AlpacaHistory:
    return AlpacaHistory(
        account(fake, source), calendars.sessions(), get=http.get, now_us=lambda: us(now), sleep=sleep
    )


def test_the_questions_carry_no_key() -> None:
    told = history.question(Account(KEY, SECRET, "iex", "http://h/"), "1m", ["A"], 0, 0, None)
    assert told.startswith("http://h/v2/stocks/bars?symbols=A&timeframe=1Min&")
    assert SECRET not in told
    assert KEY not in told
