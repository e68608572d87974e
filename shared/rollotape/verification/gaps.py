"""Missing bars once more: one expected bar after the other, from the first stored one on."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

from rollotape import calendars
from rollotape.domain.analysis import Key
from rollotape.domain.bars import TIMEFRAMES, Rows, Timeframe
from rollotape.domain.sessions import DAY_US, Sessions
from rollotape.postgres.sql import queries
from rollotape.verification import Difference, name

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = tuple[int, int, int, str]
"""First, last, bars, kind."""


class Looked(NamedTuple):
    """What is stored of the gaps of one key, and up to when they were looked for; None: never."""

    until: int | None
    gaps: list[Row]


async def read(connection: Any, key: Key) -> Looked:
    """Needs a connection with `raw_times`."""
    sql = queries("verify")
    until = await connection.fetchval(sql["audited"], *key)
    return Looked(until, [tuple(row) for row in await connection.fetch(sql["gaps"], *key)])


def differences(key: Key, looked: Looked, bars: Rows) -> Iterator[Difference]:
    expected: list[Row] = []
    if looked.until is not None:
        expected = missing(TIMEFRAMES[key[1]], calendars.sessions(), bars["ts"].tolist(), looked.until)
    for row in sorted(set(looked.gaps) ^ set(expected)):
        stored, follows = (_said(row), "") if row in looked.gaps else ("", _said(row))
        yield Difference("gaps", name(*key, row[0]), stored, follows)


def _said(row: Row) -> str:
    return f"{row[3]} of {row[2]} up to {name(row[1])}"


def missing(frame: Timeframe, sessions: Sessions, starts: Collection[int], until: int) -> list[Row]:
    """As docs/domain.md says, in its own words."""
    held, found = set(starts), list[Row]()
    run: list[tuple[int, int]] = []
    seen: list[bool] = []

    def end_of_run() -> None:
        nonlocal seen
        first, last, count = run[0][1], run[-1][1], len(run)
        if run[-1][0] - run[0][0] + 1 > 20:
            found.append((first, last, count, "pause"))
            seen = []
        else:
            if _is_unusual(frame, count, seen[-100:]):
                found.append((first, last, count, "gap"))
            seen += [False] * count
        run.clear()

    for session, start in _expected(frame, sessions, min(held, default=until), until):
        if start in held:
            if run:
                end_of_run()
            seen.append(True)
        elif seen or found:
            run.append((session, start))
    if run and run[-1][0] - run[0][0] + 1 <= 5:
        end_of_run()
    return found


def _is_unusual(frame: Timeframe, count: int, near: list[bool]) -> bool:
    if len(near) < 20:
        return False
    share = Fraction(sum(near), len(near))
    if share >= (Fraction("0.95") if frame.length_us < DAY_US else Fraction("0.5")):
        return True
    return share > 0 and (1 - share) ** count <= Fraction(1, 1_000_000)


def _expected(frame: Timeframe, sessions: Sessions, since: int, until: int) -> Iterator[tuple[int, int]]:
    """Session and start of every bar that is expected between."""
    calendar = zip(sessions.days.tolist(), sessions.opens.tolist(), sessions.closes.tolist(), strict=True)
    last_week = None
    for session, (day, opens, closes) in enumerate(calendar):
        if closes < since - 7 * DAY_US:
            continue
        if opens > until:
            return
        if frame.name == "1d":
            starts, over = [day * DAY_US], closes
        elif frame.name == "1w":
            date = (_EPOCH + timedelta(days=day)).date()
            week = day - date.weekday()
            starts, over = [week * DAY_US] if week != last_week else [], (week + 5) * DAY_US
            last_week = week
        else:
            starts, over = _of_session(frame, opens, closes), 0
        for start in starts:
            if start >= since and max(over, start + frame.length_us if not over else 0) <= until:
                yield session, start


def _of_session(frame: Timeframe, opens: int, closes: int) -> list[int]:
    if frame.name in ("1h", "4h"):
        return list(range(opens, closes, frame.length_us)) if opens % frame.grid_us == 0 else []
    first = opens if opens % frame.length_us == 0 else (opens // frame.length_us + 1) * frame.length_us
    return list(range(first, closes, frame.length_us))
