"""Replays: bars in the order of the market, at its pace, with what is quiet cut short."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pytest

from rollotape import calendars
from rollotape.errors import Refused
from rollotape.producers.csv import CsvFile, Options
from rollotape.producers.frames import Framer, Message
from rollotape.producers.replay import Choice, Position, Replay, Tape, moments, read

NOW_MS = 1_600_000_000_000
MINUTES = Options(timeframe="1m")
NO_CHOICE = Choice()
DAYS = Options()


def tape_of(
    folder: Path, rows: Sequence[str], options: Options = DAYS, choice: Choice = NO_CHOICE, header: str = ""
) -> Tape:
    path = folder / "bars.csv"
    lines = [f"symbol,ts,open,high,low,close,volume{header}", *rows]
    path.write_text("\n".join(lines))
    return read([CsvFile(path, options)], choice, calendars.sessions(), NOW_MS)


def row(symbol: str, ts: str, price: float = 10.0) -> str:
    return f"{symbol},{ts},{price},{price + 1},{price - 1},{price},1000"


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


def test_bars_come_when_they_are_over_and_not_when_they_begin(tmp_path: Path) -> None:
    rows = [
        row("B", "2018-02-05"),
        row("A", "2018-02-05"),
        "A,2018-02-05T20:58:00Z,1,1,1,1,1,1m",
        "A,2018-02-05T20:30:00Z,1,1,1,1,1,30m",
    ]
    rows[:2] = [f"{r},1d" for r in rows[:2]]
    tape = tape_of(tmp_path, rows, header=",timeframe")
    assert list(zip(tape.timeframe, tape.symbol, strict=True)) == [
        ("1m", "A"), ("1d", "A"), ("30m", "A"), ("1d", "B"),
    ]  # fmt: skip
    assert tape.due[0] == us("2018-02-05T20:59:00")
    assert set(tape.due[1:]) == {us("2018-02-05T21:00:00")}


def test_what_is_not_wanted_or_no_bar_is_left_out(tmp_path: Path) -> None:
    rows = [
        row("A", "2018-02-01"), row("A", "2018-02-05"), row("A", "2018-02-06"), row("B", "2018-02-05"),
        "A,2018-02-05,abc,1,1,1,1", "B,2018-02-05,abc,1,1,1,1", "A,2018-02-05,1,1,2,1,1",
        row("A", "2030-01-02"),
    ]  # fmt: skip
    choice = Choice("1d", {"A"}, us("2018-02-02"), us("2018-02-06"))
    tape = tape_of(tmp_path, rows, choice=choice)
    assert (len(tape), tape.text[0], tape.unusable) == (1, "2018-02-05T00:00:00Z", 2)
    assert len(tape_of(tmp_path, rows, choice=Choice(timeframe="1m"))) == 0
    with pytest.raises(Refused, match="no rows"):
        tape_of(tmp_path, [])


def test_nights_and_weekends_last_as_long_as_a_bar(tmp_path: Path) -> None:
    minutes = ("2018-02-02T20:58:00Z", "2018-02-02T20:59:00Z", "2018-02-05T14:30:00Z", "2018-02-05T14:32:00Z")
    tape = tape_of(tmp_path, [row("A", ts) for ts in minutes], MINUTES)
    assert moments(tape).tolist() == [0, 60, 120, 180]
    assert moments(tape, quiet_us=3_600_000_000).tolist() == [0, 60, 3_660, 3_780]
    days = tape_of(tmp_path, [row("A", f"2018-02-0{day}") for day in (1, 2, 5, 6)])
    assert np.diff(moments(days)).tolist() == [86_400] * 3


def test_every_symbol_and_timeframe_has_its_places(tmp_path: Path) -> None:
    rows = [row(s, f"2018-02-0{day}") for day in (1, 2) for s in "BA"]
    found = [(s, t, at.tolist()) for s, t, at in tape_of(tmp_path, rows).keys()]  # noqa: SIM118 - no mapping
    assert found == [("A", "1d", [0, 2]), ("B", "1d", [1, 3])]


class World:
    """A clock that moves when somebody sleeps, and everything that was sent with its time."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.sent: list[tuple[float, list[str]]] = []
        self.send_s = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def send(self, messages: Sequence[Message]) -> None:
        frames = [orjson.loads(payload) for _, payload in messages]
        self.sent.append((self.now, sorted(ts for f in frames for ts in f["frame"]["ts"])))
        self.now += self.send_s

    async def breathe(self, position: Position) -> None:
        pass

    def replay(self, tape: Tape, speed: float) -> Replay:
        return Replay(
            tape, self.send, Framer(4), speed=speed, breathe=self.breathe,
            clock=lambda: self.now, sleep=self.sleep,
        )  # fmt: skip


def minutes_of(tmp_path: Path, count: int) -> Tape:
    rows = [row(s, f"2018-02-05T14:{30 + i}:00Z") for s in "AB" for i in range(count)]
    return tape_of(tmp_path, rows, MINUTES)


async def test_a_minute_is_sent_every_second_at_sixtyfold_speed(tmp_path: Path) -> None:
    world = World()
    await world.replay(minutes_of(tmp_path, 3), 60).run(lambda _: None)
    assert [len(ts) for _, ts in world.sent] == [2, 2, 2]
    assert np.allclose([at for at, _ in world.sent], [1_000, 1_001, 1_002], atol=0.1)


async def test_a_pause_stops_the_clock_of_the_market(tmp_path: Path) -> None:
    world, told = World(), 0
    replay = world.replay(minutes_of(tmp_path, 3), 60)

    def progress(position: Position) -> None:
        nonlocal told
        told += 1
        if told == 1:
            replay.pause_or_go_on()
        if world.now > 1_050 and position.paused:
            replay.pause_or_go_on()

    await replay.run(progress)
    times = [at for at, _ in world.sent]
    assert 1_050 < times[1] < 1_051.2
    assert np.isclose(times[2] - times[1], 1, atol=0.1)


async def test_who_was_held_up_does_not_hurry_afterwards(tmp_path: Path) -> None:
    world = World()
    world.send_s = 5.0
    await world.replay(minutes_of(tmp_path, 4), 60).run(lambda _: None)
    assert [len(ts) for _, ts in world.sent] == [2, 2, 2, 2]


async def test_at_great_speed_much_is_sent_at_once_and_in_order(tmp_path: Path) -> None:
    world = World()
    world.send_s = 0.5
    await world.replay(minutes_of(tmp_path, 20), 600).run(lambda _: None)
    assert len(world.sent) < 10
    assert [ts for _, all_ts in world.sent for ts in all_ts] == sorted(
        f"2018-02-05T14:{30 + i}:00Z" for i in range(20) for _ in "AB"
    )


async def test_the_readers_are_waited_for(tmp_path: Path) -> None:
    world, waited = World(), asyncio.Event()

    async def breathe(position: Position) -> None:
        waited.set()

    replay = world.replay(minutes_of(tmp_path, 1), 60)
    replay._breathe = breathe
    await replay.run(lambda _: None)
    assert waited.is_set()
