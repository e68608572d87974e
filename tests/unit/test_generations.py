"""Following a generation: one question for everybody, and no belief in what is old."""

import asyncio

import pytest

from rollotape.cache.generations import Generations
from rollotape.errors import Unavailable
from rollotape.postgres.generations import Moment
from support.clocks import Clock
from support.waiting import eventually

MOMENT = Moment("epoch", 1, 5, 5, "2026-11-20", None, 0)


class Source:
    """Answers what it is told to, and counts the questions."""

    def __init__(self) -> None:
        self.asked = 0
        self.moment: Moment | None = MOMENT
        self.then: Moment | None = None
        """What it is for questions to come."""
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Moment:
        self.asked += 1
        await self.gate.wait()
        said, self.moment = self.moment, self.then or self.moment
        if said is None:
            raise Unavailable("away")
        return said


async def test_everybody_who_asks_at_once_shares_one_question() -> None:
    source = Source()
    generations = Generations(source, every_s=60)

    found = await asyncio.gather(*(generations.current() for _ in range(50)))

    assert {standing.moment for standing in found} == {MOMENT}
    assert source.asked == 1
    await generations.close()


async def test_what_is_old_is_asked_for_again() -> None:
    source, clock = Source(), Clock()
    generations = Generations(source, every_s=60, fresh_s=0.9, clock=clock)
    await generations.current()
    clock.now += 0.8
    await generations.current()
    assert source.asked == 1
    clock.now += 0.2

    await generations.current()

    assert source.asked == 2
    await generations.close()


async def test_it_is_followed_while_somebody_asks_and_left_alone_after_that() -> None:
    source = Source()
    generations = Generations(source, every_s=0.001, idle_s=0.05)
    await generations.current()
    await eventually(lambda: _many(source))
    following = generations._following
    assert following
    await asyncio.wait_for(following, 60)

    asked = source.asked
    await generations.current()

    assert source.asked >= asked
    assert generations._following is not following
    await generations.close()


async def _many(source: Source) -> bool:
    return source.asked > 5


async def test_a_moment_is_another_one_when_its_name_is() -> None:
    source = Source()
    generations = Generations(source, every_s=60, fresh_s=0)
    first = await generations.current()
    source.moment = MOMENT._replace(now_us=9, waiting_us=3)
    same = await generations.current()
    source.moment = MOMENT._replace(generation=2)
    other = await generations.current()

    assert (first.serial, same.serial, other.serial) == (1, 1, 2)
    assert same.moment is not None
    assert same.moment.waiting_us == 3
    await generations.close()


@pytest.mark.parametrize("hangs", [False, True])
async def test_while_postgres_is_away_the_last_moment_is_known_and_nobody_waits_twice(hangs: bool) -> None:
    source, clock = Source(), Clock()
    generations = Generations(source, every_s=60, patience_s=0.05, clock=clock)
    first = await generations.current()
    clock.now += 1
    source.moment = None
    if hangs:
        source.gate.clear()

    away = await generations.current()
    again = await generations.current()

    assert (first.away, away.away, again.away) == (False, True, True)
    assert away.moment == MOMENT
    assert source.asked == 2
    source.gate.set()
    source.moment = MOMENT
    assert not (await generations.next()).away
    await generations.close()


async def test_next_is_not_the_answer_to_a_question_of_before() -> None:
    source = Source()
    source.gate.clear()
    generations = Generations(source, every_s=60)
    before = asyncio.create_task(generations.current())
    await eventually(lambda: _asked(source))
    answered = MOMENT._replace(generation=2)

    following = asyncio.create_task(generations.next())
    await asyncio.sleep(0)
    source.then = answered  # PostgreSQL has answered the first question, and is changed now
    source.gate.set()

    assert (await before).moment == MOMENT
    assert (await following).moment == answered
    await generations.close()


async def _asked(source: Source) -> bool:
    return source.asked > 0


async def test_before_the_first_moment_there_is_none() -> None:
    source = Source()
    source.moment = None
    generations = Generations(source, every_s=60)

    standing = await generations.current()

    assert (standing.moment, standing.away, standing.behind) == (None, True, True)
    await generations.close()


NOON_US = 1_795_194_000_000_000
"""In New York, on the day of the moments here."""


@pytest.mark.parametrize(
    ("next_exit_us", "passed_s", "moved_us"),
    [
        (None, 0.0, 0),
        (None, 0.25, 250_000),
        (NOON_US + 250_001, 0.25, 250_000),
        (NOON_US + 250_000, 0.25, 0),  # by then another trade is over
        (None, 12 * 3_600.0 - 1, 43_199_000_000),
        (None, 12 * 3_600.0, 0),  # another day
    ],
)
async def test_a_moment_moves_on_by_the_clock_while_nothing_else_changes(
    next_exit_us: int | None, passed_s: float, moved_us: int
) -> None:
    source, clock = Source(), Clock()
    source.moment = MOMENT._replace(now_us=NOON_US, next_exit_us=next_exit_us)
    generations = Generations(source, every_s=60, clock=clock)
    assert generations.moved_on(source.moment) == source.moment  # nobody knows what time it is there
    await generations.current()
    clock.now += passed_s

    assert generations.moved_on(source.moment) == source.moment._replace(now_us=NOON_US + moved_us)
    await generations.close()
