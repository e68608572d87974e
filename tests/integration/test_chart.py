"""`rollo chart` from a database: the same picture as from a file of the same bars."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from rollotape import calendars
from rollotape.cli.chart import Wanted, of_file, of_stack
from rollotape.domain.bars import NUMBERS
from rollotape.domain.wyckoff import tape
from rollotape.domain.wyckoff.facts import Event, Fact, Range, Status
from rollotape.domain.wyckoff.fold import advance
from rollotape.domain.wyckoff.state import EMPTY
from rollotape.errors import Refused
from rollotape.postgres.markers import instant
from rollotape.settings import Settings
from rollotape.simulation import files, series
from rollotape.simulation.difficulty import DIFFICULTIES
from rollotape.simulation.market import Market

BARS = """
INSERT INTO bars (symbol, timeframe, ts, open, high, low, close, volume, revision, synthetic, hash, end_ts,
                  session_date, hours, arrived_at, evaluable)
VALUES ($1, '1d', $2, $3, $4, $5, $6, $7, 0, false, 7, $8, $2::timestamptz::date, 'regular', $8, true)
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """A symbol with whole schematics, in a file and in the database."""

    symbol: str
    file: Path
    last_us: int


@pytest.fixture
async def stored(database_url: str, tmp_path: Path) -> Stored:
    sessions = calendars.sessions()
    market = Market(seed=3, symbols=1, difficulty=DIFFICULTIES["easy"], kinds=("spring",))
    one = market.one(0, series.starts(sessions, "1d", 17_000, 400))
    files.write(tmp_path / "market", [one], {}, lambda _: None)
    rows = series.rows(one, sessions)
    [read] = tape.read([rows], [0], [True])
    facts = advance((one.symbol, "1d"), EMPTY, read).facts
    connection = await asyncpg.connect(database_url)
    try:
        values = [
            (one.symbol, instant(ts), *numbers, instant(end))
            for ts, end, *numbers in rows[["ts", "end_ts", *NUMBERS]].tolist()
        ]
        await connection.execute("INSERT INTO symbol_state VALUES ($1, 1, 1)", one.symbol)
        await connection.executemany(BARS, values)
        for table, kind in (("events", Event), ("statuses", Status), ("ranges", Range)):
            await _insert(connection, f"wyckoff_{table}", [f for f in facts if isinstance(f, kind)])
    finally:
        await connection.close()
    return Stored(one.symbol, tmp_path / "market" / "bars.csv", rows["ts"][-1].item())


async def _insert(connection: Any, table: str, facts: Sequence[Fact]) -> None:
    names = facts[0]._fields
    places = ", ".join(f"${n + 1}" for n in range(len(names)))
    rows = [[_cell(name, getattr(fact, name)) for name in names] for fact in facts]
    await connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", rows)


def _cell(name: str, value: Any) -> str | datetime | Any:
    if name.endswith("_ts") or name == "knowable_at":
        return instant(value)
    if name in ("terms", "phases"):
        return json.dumps(dict(value) if name == "terms" else value)
    return value


@pytest.mark.parametrize("days_before", [0, 40, 90, 200])
async def test_a_database_gives_the_picture_that_a_file_gives(
    stored: Stored, settings: Settings, days_before: int
) -> None:
    before = stored.last_us + 1 - days_before * 86_400_000_000
    wanted = Wanted(stored.symbol, "1d", None, before)

    ours, told = await of_stack(settings, wanted), of_file(stored.file, wanted)

    assert (ours.title, ours.bars) == (told.title, told.bars)
    assert sorted(map(repr, ours.marks)) == sorted(map(repr, told.marks))
    assert sorted(map(repr, ours.boxes)) == sorted(map(repr, told.boxes))
    assert told.marks and told.boxes


async def test_a_symbol_without_bars_is_refused(settings: Settings) -> None:
    with pytest.raises(Refused, match="this stack has no 1d bars of NONE"):
        await of_stack(settings, Wanted("NONE", "1d", None, None))
