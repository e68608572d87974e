"""What a live feed sends of what it hears, when it looks again, and whose turn it is."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from rollotape import calendars
from rollotape.errors import Refused, Unavailable
from rollotape.producers.feeds.again import AskedAgain
from rollotape.producers.feeds.closing import end_us, next_look_us
from rollotape.producers.feeds.history import CatchUp
from rollotape.producers.feeds.said import BY_HAND, LATEST, Known, Said, revision, weight
from rollotape.producers.feeds.sending import Polls, sessions_of
from rollotape.producers.feeds.standing import Standing
from rollotape.producers.feeds.turns import Lost, Turn, together
from rollotape.producers.keeper import Request
from support.clocks import Clock
from support.live import Heard, Tape, outgoing_to
from support.waiting import eventually

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
OPEN = datetime(2026, 3, 4, 14, 30, tzinfo=UTC)  # a Wednesday


def us(when: datetime) -> int:
    return round(when.timestamp() * 1e6)


def said(ts_us: int, close: float = 100.0, *, symbol: str = "AAPL", revision: int = 0) -> Said:
    return Said(symbol, "1m", ts_us, 100.0, 102.0, 98.0, close, 1_000.0, revision)


class TestWeight:
    @pytest.mark.parametrize(
        ("after_s", "expected"), [(-40, 0), (0, 0), (0.9, 0), (30, 30), (3_599, 3_599), (90_000, LATEST)]
    )
    def test_it_is_the_age_of_what_is_said_up_to_an_hour(self, after_s: float, expected: int) -> None:
        assert weight(us(OPEN), us(OPEN) + int(after_s * SECOND_US)) == expected

    @pytest.mark.parametrize(
        ("known", "close", "told", "expected"),
        [
            (None, 100.0, 30, 30),
            (Known(0, said(0).content), 100.0, 30, None),
            (Known(0, said(0).content), 101.0, 30, 30),
            (Known(30, said(0).content), 101.0, 30, 31),
            (Known(LATEST, said(0).content), 101.0, LATEST, LATEST + 1),
            (Known(BY_HAND, said(0).content), 101.0, LATEST, None),
        ],
        ids=["new", "the same", "restated", "as early", "after an hour", "corrected by hand"],
    )
    def test_a_bar_with_other_numbers_outweighs_what_is_known_of_it(
        self, known: Known | None, close: float, told: int, expected: int | None
    ) -> None:
        assert revision(said(0, close, revision=told), known) == expected

    @pytest.mark.parametrize(("told", "expected"), [(1, None), (2, 2), (3, 3)])
    def test_revisions_that_a_source_numbers_itself_are_never_raised(
        self, told: int, expected: int | None
    ) -> None:
        bar = said(0, 101.0, revision=told)._replace(is_fixed=True)
        assert revision(bar, Known(2, said(0).content)) == expected


class TestLooking:
    @pytest.mark.parametrize(
        ("timeframe", "now", "expected"),
        [
            ("1m", "2026-03-04T14:35:10Z", "2026-03-04T14:36:00Z"),
            ("5m", "2026-03-04T14:35:00Z", "2026-03-04T14:40:00Z"),
            ("5m", "2026-03-04T21:23:00Z", "2026-03-04T21:25:00Z"),
            ("5m", "2026-03-04T21:25:00Z", "2026-03-05T14:35:00Z"),
            ("15m", "2026-03-06T22:00:00Z", "2026-03-09T13:45:00Z"),
            ("1h", "2026-03-04T14:35:00Z", "2026-03-04T14:45:00Z"),
            ("1d", "2026-03-04T14:35:00Z", "2026-03-04T21:00:00Z"),
            ("1d", "2026-03-04T21:00:00Z", "2026-03-04T22:00:00Z"),
            ("1d", "2026-11-27T15:00:00Z", "2026-11-27T18:00:00Z"),
            ("1w", "2026-03-04T14:35:00Z", "2026-03-07T00:00:00Z"),
            ("1w", "2026-03-07T00:00:00Z", "2026-03-14T00:00:00Z"),
        ],
    )
    def test_a_source_is_asked_when_a_bar_may_be_over(self, timeframe: str, now: str, expected: str) -> None:
        found = next_look_us(timeframe, us(datetime.fromisoformat(now)), calendars.sessions())
        assert datetime.fromtimestamp(found / 1e6, UTC) == datetime.fromisoformat(expected)

    def test_before_the_open_and_after_the_close_only_where_that_is_wanted(self) -> None:
        night = us(datetime(2026, 3, 5, 1, 30, tzinfo=UTC))
        found = [
            next_look_us("1m", at, calendars.sessions(), extended=True)
            for at in (us(datetime(2026, 3, 4, 12, 0, 1, tzinfo=UTC)), night)
        ]
        assert found[0] == us(datetime(2026, 3, 4, 12, 1, tzinfo=UTC))
        assert found[1] == us(datetime(2026, 3, 5, 9, 1, tzinfo=UTC))

    def test_a_day_is_over_with_its_session(self) -> None:
        day = us(datetime(2026, 11, 27, tzinfo=UTC))
        assert end_us("1d", day, calendars.sessions()) == us(datetime(2026, 11, 27, 18, tzinfo=UTC))


class TestOutgoing:
    async def test_a_restated_bar_goes_out_once_and_weighs_more(self) -> None:
        tape, standing = Tape(), Standing()
        outgoing = outgoing_to(tape, standing)
        first, later = said(us(OPEN)), said(us(OPEN), 101.5, revision=30)
        for bar in (first, first, later, later):
            await outgoing.tell([bar])
        assert tape.closes("AAPL") == [("14:30", 100.0, 0), ("14:30", 101.5, 30)]
        assert (standing.sent, standing.restated, standing.same) == (2, 1, 2)

    async def test_what_could_not_be_sent_is_sent_when_it_is_said_again(self) -> None:
        tape = Tape(away=Unavailable("redis"))
        outgoing = outgoing_to(tape)
        with pytest.raises(Unavailable):
            await outgoing.tell([said(us(OPEN))])
        tape.away = None
        await outgoing.tell([said(us(OPEN))])
        assert tape.closes("AAPL") == [("14:30", 100.0, 0)]

    async def test_a_row_and_its_correction_in_one_batch_are_both_told_in_their_order(self) -> None:
        tape = Tape()
        await outgoing_to(tape).tell([said(us(OPEN)), said(us(OPEN), 99.0)])
        assert tape.closes("AAPL") == [("14:30", 100.0, 0), ("14:30", 99.0, 1)]


class Past:
    """A history of minutes, which remembers what it was asked."""

    def __init__(self, *bars: Said) -> None:
        self.kept = list(bars)
        self.asked: list[tuple[tuple[str, ...], int]] = []

    async def bars(
        self, timeframe: str, symbols: Sequence[str], first_us: int, last_us: int
    ) -> AsyncIterator[list[Said]]:
        self.asked.append((tuple(symbols), first_us))
        for bar in self.kept:
            if bar.symbol in symbols and first_us <= bar.ts_us <= last_us:
                yield [bar]


def catch_up(past: Past, tape: Tape, now_us: int, *, again: bool = False) -> CatchUp:
    since_us = us(OPEN) - 600 * MINUTE_US
    return CatchUp(
        past, tape, outgoing_to(tape),
        since_us=lambda _: since_us, now_us=lambda: now_us, again=again,
    )  # fmt: skip


class TestCatchingUp:
    async def test_each_symbol_goes_on_some_bars_before_its_newest_stored_one(self) -> None:
        tape, start = Tape(), us(OPEN)
        bars = [said(start + i * MINUTE_US, 100 + i / 100) for i in range(20)]
        await outgoing_to(tape).tell(bars[:10])
        tape.payloads.clear()
        past = Past(*bars)
        heard = await catch_up(past, tape, start + 60 * MINUTE_US).run("1m", ["AAPL", "NEW"])
        assert [row["ts"][14:16] for row in tape.rows] == [f"{30 + i}" for i in range(10, 20)]
        assert past.asked == [(("NEW", "AAPL"), start - 600 * MINUTE_US)]
        assert heard == {"AAPL"}

    async def test_a_bar_that_still_runs_is_left_for_later(self) -> None:
        tape, start = Tape(), us(OPEN)
        past = Past(said(start), said(start + MINUTE_US))
        now_us = start + 2 * MINUTE_US - 1
        await catch_up(past, tape, now_us).run("1m", ["AAPL"])
        assert tape.closes("AAPL") == [("14:30", 100.0, 0)]

    async def test_what_was_restated_meanwhile_is_sent_and_the_rest_is_not(self) -> None:
        tape, start = Tape(), us(OPEN)
        bars = [said(start + i * MINUTE_US) for i in range(10)]
        await outgoing_to(tape).tell(bars)
        tape.payloads.clear()
        restated = {i: said(start + i * MINUTE_US, 99.5, revision=400) for i in (1, 5, 9)}
        past = Past(*(restated.get(i, bar) for i, bar in enumerate(bars)))
        await catch_up(past, tape, start + 10 * MINUTE_US).run("1m", ["AAPL"])
        assert tape.closes("AAPL") == [("14:35", 99.5, 400), ("14:39", 99.5, 400)]  # and 14:31 is too old

    async def test_again_compares_everything_once_and_leaves_what_a_hand_corrected(self) -> None:
        tape, start = Tape(), us(OPEN)
        fixed = said(start, 100.5, revision=BY_HAND)._replace(is_fixed=True)
        await outgoing_to(tape).tell([fixed, *(said(start + i * MINUTE_US) for i in range(1, 30))])
        tape.payloads.clear()
        split = [said(start + i * MINUTE_US, 99.0, revision=LATEST) for i in range(30)]
        job = catch_up(Past(*split), tape, start + 60 * MINUTE_US, again=True)
        await job.run("1m", ["AAPL"])
        assert len(tape.rows) == 29
        assert {row["revision"] for row in tape.rows} == {LATEST}
        await job.run("1m", ["AAPL"])
        assert len(tape.rows) == 29


class TestPolls:
    async def test_a_history_is_asked_a_moment_after_each_bar_and_not_at_night(self) -> None:
        now, asked = [OPEN + timedelta(hours=6, minutes=52)], list[datetime]()

        async def sleep(seconds: float) -> None:
            now[0] += timedelta(seconds=seconds)
            if len(asked) == 8:
                raise asyncio.CancelledError

        class Watching(CatchUp):
            async def run(self, timeframe: str, symbols: Sequence[str]) -> set[str]:
                asked.append(now[0])
                return await super().run(timeframe, symbols)

        def now_us() -> int:
            return us(now[0])

        tape = Tape()
        job = Watching(
            Past(said(us(OPEN))), tape, outgoing_to(tape),
            since_us=lambda _: us(OPEN), now_us=now_us,
        )  # fmt: skip
        polls = Polls(
            job, ["AAPL"], calendars.sessions(), Heard(), Standing(),
            delay_s=20, now_us=now_us, sleep=sleep,
        )  # fmt: skip
        with pytest.raises(asyncio.CancelledError):
            await polls.follow("5m")
        assert [f"{when:%d %H:%M:%S}" for when in asked] == [
            "04 21:25:20", "05 14:35:20", "05 14:40:20", "05 14:45:20", "05 14:50:20", "05 14:55:20",
            "05 15:00:20", "05 15:05:20",
        ]  # fmt: skip
        assert tape.closes("AAPL") == [("14:30", 100.0, 0)]

    async def test_a_history_that_is_away_is_asked_again_and_the_session_goes_on(self) -> None:
        now, pauses, heard = [OPEN + timedelta(minutes=1)], list[float](), Heard()

        class Away(Past):
            async def bars(
                self, timeframe: str, symbols: Sequence[str], first_us: int, last_us: int
            ) -> AsyncIterator[list[Said]]:
                if len(pauses) < 3:
                    raise Unavailable("500")
                yield self.kept

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            now[0] += timedelta(seconds=seconds)
            if tape.payloads:
                raise asyncio.CancelledError

        tape = Tape()
        job = CatchUp(
            Away(said(us(OPEN))), tape, outgoing_to(tape),
            since_us=lambda _: us(OPEN), now_us=lambda: us(now[0]),
        )  # fmt: skip
        polls = Polls(
            job, ["AAPL"], calendars.sessions(), heard, Standing(),
            delay_s=5, now_us=lambda: us(now[0]), sleep=sleep,
        )  # fmt: skip
        with pytest.raises(asyncio.CancelledError):
            await polls.follow("1m")
        assert 0.5 <= pauses[1] <= 1 <= pauses[2] <= 2
        assert len(heard.said("asked_later")) == 2
        assert heard.said("asked_later")[0].startswith("1m: 500; asking again in ")
        assert tape.closes("AAPL") == [("14:30", 100.0, 0)]


class Rows:
    """The lease table of a feed, for any number of processes."""

    def __init__(self) -> None:
        self.owner: str | None = None
        self.away = False
        self.asked = 0


class Owner:
    def __init__(self, rows: Rows, name: str) -> None:
        self._rows = rows
        self._name = name

    async def renew(self) -> set[int]:
        self._rows.asked += 1
        if self._rows.away:
            raise Unavailable("postgres")
        return {0} if self._rows.owner == self._name else set()

    async def grab(self, partitions: int, most: int) -> set[int]:
        if self._rows.owner is None:
            self._rows.owner = self._name
        return await self.renew()

    async def retire(self) -> None:
        if self._rows.owner == self._name:
            self._rows.owner = None


class TestTurns:
    async def test_a_second_process_waits_and_takes_over(self) -> None:
        rows, why = Rows(), list[str]()
        first, second = (Turn(Owner(rows, name), 0.04) for name in ("first", "second"))
        await first.wait()
        waiting = asyncio.create_task(second.wait(why.append))
        await eventually(lambda: asyncio.sleep(0, bool(why)))
        assert not waiting.done()
        await first.leave()
        await asyncio.wait_for(waiting, 5)
        assert rows.owner == "second"
        with pytest.raises(Lost, match="taken over"):
            await asyncio.wait_for(first.keep(), 5)

    async def test_without_postgres_it_is_given_up_when_the_lease_is_over_and_not_before(self) -> None:
        rows, clock = Rows(), Clock()
        turn = Turn(Owner(rows, "me"), 0.04, clock=clock)
        await turn.wait()
        rows.away = True
        keeping = asyncio.create_task(turn.keep())
        await eventually(lambda: asyncio.sleep(0, rows.asked >= 5))
        assert not keeping.done()
        clock.now += 1.0
        with pytest.raises(Lost, match="ran out"):
            await asyncio.wait_for(keeping, 5)

    async def test_of_parts_side_by_side_the_first_error_ends_all(self) -> None:
        ended = asyncio.Event()

        async def endless() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async def refused() -> None:
            raise Refused("bad key")

        with pytest.raises(Refused, match="bad key"):
            await together(endless(), refused())
        assert ended.is_set()


class TestSessions:
    async def test_pauses_grow_while_sessions_fail_and_are_short_again_after_a_good_one(self) -> None:
        clock, pauses, heard = Clock(), list[float](), Heard()

        async def session(live: object) -> None:
            if len(pauses) == 4:
                assert callable(live)
                live()
                clock.now += 3_600
            if len(pauses) == 6:
                raise Refused("enough")
            raise Unavailable("cut off")

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)

        with pytest.raises(Refused):
            await sessions_of(session, "test", heard, Standing(), sleep=sleep, clock=clock)
        for pause, most in zip(pauses, (1, 2, 4, 8, 1, 2), strict=True):
            assert most / 2 <= pause <= most
        assert heard.said("interrupted")[0].startswith("cut off; trying again in ")


class TestAskedAgain:
    @pytest.mark.parametrize(
        ("tells", "minute", "expected"),
        [(True, 1, ["14:31"]), (False, 1, ["14:31"]), (True, 5, []), (False, 5, None), (True, 9, [])],
        ids=["had", "had far back", "nothing traded", "cannot tell", "still running"],
    )
    async def test_the_history_tells_what_it_has_of_a_span(
        self, tells: bool, minute: int, expected: list[str] | None
    ) -> None:
        start = us(OPEN)
        past = Past(*(said(start + i * MINUTE_US) for i in (0, 1, 2, 9)))
        now_us = start + 10 * MINUTE_US - 1
        source = AskedAgain("test", catch_up(past, Tape(), now_us), ["AAPL"], ["1m"], tells=lambda _: tells)
        at_us = start + minute * MINUTE_US
        found = await source.again(Request("AAPL", "1m", at_us, at_us, 1))
        assert (None if found is None else [ts[11:16] for ts in found.ts]) == expected

    async def test_what_is_refused_cannot_be_told(self) -> None:
        class Refusing(Past):
            async def bars(
                self, timeframe: str, symbols: Sequence[str], first_us: int, last_us: int
            ) -> AsyncIterator[list[Said]]:
                raise Refused("no such symbol")
                yield []

        source = AskedAgain("test", catch_up(Refusing(), Tape(), us(OPEN)), ["AAPL"], ["1m"])
        assert await source.again(Request("AAPL", "1m", 0, 0, 1)) is None
