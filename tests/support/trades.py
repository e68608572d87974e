"""Closed trades of every kind, written as outside systems and readers would write them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import asyncpg

from rollotape import calendars

COLUMNS = (
    "id", "origin", "source", "symbol", "timeframe", "pattern_id", "pattern_type", "direction", "status",
    "generated_at", "changed_at", "entry_date", "entry_price", "entry_session", "stop", "exit_date",
    "exit_price", "exit_session", "realized_r", "sessions_held",
)  # fmt: skip
SYMBOLS = ("AAPL", "MSFT", "XOM", "NONE")
"""Two of one sector, one of another, and one that nobody knows."""
TYPES = ("SPRING", "UTAD", "SOS", None)
FIRST = datetime(2025, 3, 7, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Row = dict[str, Any]


def pattern_of(number: int) -> UUID:
    return UUID(int=0x9A << 64 | number)


def trade(random: Random, *, first: datetime = FIRST, days: int = 30) -> Row:
    """A closed trade; exits fall on few instants, many of them at the borders of days in New York."""
    day = first + timedelta(days=random.randrange(days))
    border = random.choice([timedelta(hours=h) for h in (4, 5)])
    near = timedelta(microseconds=random.choice([-1, 0, 1]))
    exit_date = day + random.choice([border + near, timedelta(hours=20), timedelta(hours=21)])
    long = random.random() < 0.5
    entry = Decimal(random.randrange(900, 1100)) / 10
    risk = Decimal(random.choice([1, 3, 7, 13])) / 10 * (1 if long else -1)
    gained = risk * random.choice(
        [Decimal(0), Decimal(1), Decimal(-1), Decimal(random.randrange(-30, 50)) / 10]
    )
    row = dict.fromkeys(COLUMNS) | {
        "id": UUID(int=random.getrandbits(128)),
        "origin": random.choice(["external", "paper"]),
        "source": "desk",
        "symbol": random.choice(SYMBOLS),
        "timeframe": random.choice(["1d", "1h"]),
        "pattern_id": random.choice([None, *map(pattern_of, range(6))]),
        "pattern_type": random.choice(TYPES),
        "direction": "long" if long else "short",
        "status": "CLOSED",
        "entry_date": exit_date - timedelta(days=random.randrange(0, 6), hours=random.randrange(3)),
        "entry_price": entry,
        "stop": entry - risk,
        "exit_date": exit_date,
        "exit_price": entry + gained,
    }
    return settled(row)


def settled(row: Row) -> Row:
    """With everything that follows from the rest."""
    entered, left = (
        calendars.new_york_day((row[n] - EPOCH) // timedelta(microseconds=1))
        for n in ("entry_date", "exit_date")
    )
    paper = row["origin"] == "paper"
    return row | {
        "generated_at": row["entry_date"],
        "changed_at": row["exit_date"],
        "entry_session": EPOCH.date() + timedelta(days=entered) if paper else None,
        "exit_session": EPOCH.date() + timedelta(days=left) if paper else None,
        "realized_r": float(
            (Decimal(row["exit_price"]) - Decimal(row["entry_price"]))
            / (Decimal(row["entry_price"]) - Decimal(row["stop"]))
        ),
        "sessions_held": calendars.sessions_held(entered, left),
    }


def reopened(row: Row) -> Row:
    """The same trade, still going on."""
    closed = ("exit_date", "exit_price", "exit_session", "realized_r", "sessions_held")
    return row | dict.fromkeys(closed) | {"status": "OPEN"}


async def store(connection: "asyncpg.Connection[Any]", rows: Sequence[Row]) -> None:
    """As they are said now, whatever was there."""
    places = ", ".join(f"${i + 1}" for i in range(len(COLUMNS)))
    changed = ", ".join(f"{c} = EXCLUDED.{c}" for c in COLUMNS[1:])
    await connection.executemany(
        f"INSERT INTO signals ({', '.join(COLUMNS)}) VALUES ({places}) "
        f"ON CONFLICT (id) DO UPDATE SET {changed}",
        [[row[c] for c in COLUMNS] for row in rows],
    )


async def copy(connection: "asyncpg.Connection[Any]", rows: Sequence[Row]) -> None:
    await connection.copy_records_to_table(
        "signals", records=[[row[c] for c in COLUMNS] for row in rows], columns=COLUMNS
    )


async def tell_pattern(
    connection: "asyncpg.Connection[Any]",
    number: int,
    phase: str | None,
    test_confirmed: bool | None,
    confirmed_at: datetime | None = None,
) -> None:
    """A pattern as its sender has it now."""
    await connection.execute(
        """
        INSERT INTO patterns (id, source, symbol, timeframe, pattern_type, side, phase, status, revision,
                              hash, confidence, test_confirmed, confirmed_at, detected_at, expires_at)
        VALUES ($1, 'desk', 'AAPL', '1d', 'SPRING', 'accumulation', $2, 'active', 0, 0, 0.5, $3, $4, $5, $5)
        ON CONFLICT (id) DO UPDATE SET phase = $2, test_confirmed = $3, confirmed_at = $4
        """,
        pattern_of(number), phase, test_confirmed, confirmed_at, FIRST,
    )  # fmt: skip
