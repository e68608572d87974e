"""Portfolios of trades that meet every edge, as hypothesis draws them, and how they get into a database."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from random import Random
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from rollotape.domain import rollups
from rollotape.domain.rollups import BREAKEVEN, Heading, Measures, decimal, packed
from rollotape.postgres.analytics import Filters, Window
from rollotape.postgres.sql import queries
from support.performance_reference import Traded

TYPES = ("SPRING", "UTAD", "SOS", None)
PHASES = ("A", "C", "E", None)
SYMBOLS: Mapping[str, tuple[str, str | None] | None] = {
    "AAA": ("stock", "Energy"),
    "BBB": ("stock", "Utilities"),
    "CCC": ("stock", None),
    "DDD": None,
    "XLE": ("etf", "Energy"),
}
"""Kind and sector as they are listed; a fund has no sector as stocks have; one is not listed."""

HOUR, TICK = timedelta(hours=1), timedelta(microseconds=1)
BORDERS = tuple(
    datetime.fromisoformat(text).replace(tzinfo=UTC)
    for text in (
        "2026-03-08T05:00", "2026-03-08T07:00", "2026-03-09T04:00", "2026-04-01T04:00", "2026-10-01T04:00",
        "2026-11-01T04:00", "2026-11-01T06:00", "2026-11-02T05:00", "2026-12-01T05:00", "2027-01-01T05:00",
        "2026-02-01T05:00", "2025-11-02T04:00", "2026-07-15T13:30",
    )
)  # fmt: skip
"""Midnights in New York on both sides of each change of its clocks, the changes, and borders of months."""
STEPS = (-TICK, timedelta(0), TICK, HOUR, -HOUR, 9 * HOUR, -25 * HOUR)
EXITS = tuple(sorted({border + step for border in BORDERS for step in STEPS}))

PRICES = tuple(
    # entry, stop, exit: whole stops, breakevens, thirds, almost breakeven either way, beyond the stop
    tuple(map(Decimal, prices.split()))
    for prices in (
        "100 95 95", "100 95 95", "100 95 110", "100 95 100", "100 105 90", "100 105 105", "100 105 107.5",
        "10 7 11", "10 13 11", "100 90 100.00000001", "100 90 99.99999999", "100 90 100.00000002",
        "100 90 99.99999998", "33.33333333 32.1 41.00000007", "7 7.3 6.9", "0.5 0.49999999 0.75",
        "1 0.93 1.01",
    )
)  # fmt: skip
WON_ONLY = tuple(p for p in PRICES if (p[2] - p[0]) * (p[0] - p[1]) >= 0)
SEEDS = st.integers(0, 2**32 - 1)


def trade(random: Random, exits: Sequence[datetime], prices: Sequence[tuple[Decimal, ...]]) -> Traded:
    entry, stop, exit_price = random.choice(prices)
    symbol, ended = random.choice(sorted(SYMBOLS)), random.choice(exits)
    listed = SYMBOLS[symbol]
    status = random.choice(("CLOSED",) * 12 + ("OPEN", "PENDING", "CANCELLED"))
    closed = status == "CLOSED"
    known = random.random() < 0.8
    tested = random.choice((None, False, True, True)) if known else None
    return Traded(
        id=UUID(int=random.getrandbits(128), version=4),
        symbol=symbol,
        timeframe=random.choice(("1d", "1d", "1h")),
        origin=random.choice(("external", "paper", "paper")),
        status=status,
        generated_at=ended - 3 * HOUR,
        pattern_type=random.choice(TYPES),
        entry=entry,
        stop=stop,
        exit_price=exit_price if closed else None,
        exit=ended if closed else None,
        sessions=random.randint(0, 6) if closed else None,
        sector=listed[1] if listed and listed[0] == "stock" else None,
        pattern_id=UUID(int=random.getrandbits(128)) if known or random.random() < 0.5 else None,
        phase=random.choice(PHASES) if known else None,
        tested=tested,
        tested_at=random.choice((None, ended - TICK, ended, ended + TICK)) if tested else None,
    )


def portfolio(seed: int) -> list[Traded]:
    """None, a few, or many trades, spread over a year or crowded into few days; some without a loss."""
    random = Random(seed)
    count = random.choice((0, 1, 2, 8, 40, 70, 120))
    days = [random.choice(EXITS) + 24 * n * HOUR for n in range(5)]
    exits = random.choice((EXITS, EXITS, days, days[:1]))
    prices = random.choice((PRICES, PRICES, PRICES, WON_ONLY, PRICES[:1]))
    return [trade(random, exits, prices) for _ in range(count)]


def window(seed: int, trades: Sequence[Traded]) -> Window:
    """Ends at a border, or at or between the exits there are."""
    random = Random(seed)
    ends = [t.exit for t in trades if t.exit] or [EXITS[0]]
    now = random.choice(
        (random.choice(EXITS), random.choice(ends) + random.choice(STEPS), max(ends), EXITS[-1])
    )
    days = random.choice((None, None, 0, 1, 7, 30, 90, 240, 365, 3650))
    return Window(days, int(now.timestamp()) * 1_000_000 + now.microsecond)


def filters(seed: int, **fixed: Any) -> Filters:
    """Mostly few of them."""
    random = Random(seed)
    some: dict[str, Sequence[Any]] = {
        "phase": ("A", "C", "B"),
        "timeframe": ("1d", "1h", "1w"),
        "origin": ("external", "paper"),
        "pattern_types": (("SPRING",), ("SPRING", "SOS"), ("LPS",)),
        "symbols": (("AAA",), ("BBB", "DDD", "ZZZ"), tuple(SYMBOLS)),
        "sectors": (("Energy",), ("Energy", "Utilities"), ("Nowhere",)),
    }
    names = random.sample(sorted(some), random.choice((0, 0, 1, 1, 1, 2, 3)))
    return Filters(**({name: random.choice(some[name]) for name in names} | fixed))


async def store(connection: Any, found: Iterable[Traded]) -> None:
    """Trades, their patterns and what is known of their symbols."""
    rows = list(found)
    for symbol, listed in SYMBOLS.items():
        if listed:
            await connection.execute(
                "INSERT INTO sectors (symbol, kind, sector) VALUES ($1, $2, $3)"
                " ON CONFLICT (symbol) DO UPDATE SET kind = $2, sector = $3",
                symbol, *listed,
            )  # fmt: skip
    await connection.executemany(
        "INSERT INTO signals (id, origin, source, symbol, timeframe, pattern_id, pattern_type, direction,"
        " status, generated_at, changed_at, entry_date, entry_price, stop, exit_date, exit_price,"
        " sessions_held)"
        " VALUES ($1, $2, 'test', $3, $4, $5, $6, $7, $8, $9, $9, $10, $11, $12, $13, $14, $15)",
        [
            (t.id, t.origin, t.symbol, t.timeframe, t.pattern_id, t.pattern_type,
             "long" if t.stop < t.entry else "short", t.status, t.generated_at,
             t.generated_at if t.exit else None, t.entry if t.exit else None, t.stop, t.exit, t.exit_price,
             t.sessions)
            for t in rows
        ],
    )  # fmt: skip
    await connection.executemany(
        "INSERT INTO patterns (id, source, symbol, timeframe, pattern_type, phase, status, revision, hash,"
        " confidence, test_confirmed, confirmed_at, detected_at, expires_at)"
        " VALUES ($1, 'test', $2, $3, $4, $5, 'active', 0, 0, 0.5, $6, $7, $8, $8)",
        [
            (t.pattern_id, t.symbol, t.timeframe, t.pattern_type or "NONE", t.phase, t.tested, t.tested_at,
             t.generated_at)
            for t in rows
            if t.pattern_id and (t.phase is not None or t.tested is not None)
        ],
    )  # fmt: skip


async def roll_up(connection: Any, found: Iterable[Traded]) -> None:
    """Fill the rollups from the trades themselves, without the service that does it in life."""
    ended = sorted((t for t in found if t.exit), key=lambda t: t.day)
    days = {day: rollups.roll(map(_trade, alike)) for day, alike in groupby(ended, lambda t: t.day)}
    kinds = [(day, *kind, *_cells(m)) for day, rolled in days.items() for kind, m in rolled.kinds.items()]
    columns: tuple[str, ...] = ("day", *rollups.Kind._fields, *Measures._fields)
    await connection.copy_records_to_table("performance_days", records=kinds, columns=columns)
    headings = []
    for day, rolled in days.items():
        for heading, m in rolled.headings.items():
            last = rolled.last.get(heading)
            headings.append(_headline("day", day, heading, m, last))
    for grain, first_of in (("month", _month), ("year", _year)):
        for first, alike_days in groupby(days, first_of):
            joined = rollups.join_days(days[day].headings for day in alike_days)
            headings += [_headline(grain, first, heading, m, None) for heading, m in joined.items()]
    columns = (
        "grain", "period", *Heading._fields, *Measures._fields, "last_r", "last_wins", "last_sum",
    )  # fmt: skip
    await connection.copy_records_to_table("performance_headlines", records=headings, columns=columns)
    await connection.execute(queries("rollups")["standings"])


def _month(day: date) -> date:
    return day.replace(day=1)


def _year(day: date) -> date:
    return day.replace(month=1, day=1)


def _trade(t: Traded) -> rollups.Trade:
    us = (t.ended - datetime(1970, 1, 1, tzinfo=UTC)) // TICK
    assert t.sessions is not None
    return rollups.Trade(
        t.id, us, t.r, t.sessions, t.pattern_type, t.phase, "long" if t.stop < t.entry else "short", t.sector,
        t.timeframe, t.origin, t.test,
    )  # fmt: skip


def _headline(
    grain: str, period: date, heading: Heading, m: Measures, last: Sequence[int] | None
) -> tuple[Any, ...]:
    return (
        grain, period, heading.heading, heading.name, heading.phase, heading.timeframe, heading.origin,
        heading.test, *_cells(m), *_line(last),
    )  # fmt: skip


def _line(last: Sequence[int] | None) -> tuple[Any, ...]:
    if last is None:
        return None, None, None
    return packed(last), len([r for r in last if r > BREAKEVEN]), decimal(sum(last))


def _cells(m: Measures) -> tuple[Any, ...]:
    last_exit = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=m.last_exit)
    return (
        m.trades, m.wins, m.losses,
        decimal(m.r_sum), decimal(m.r_won), decimal(m.r_lost), decimal(m.r_squares, 24),
        decimal(m.r_high), decimal(m.r_low), decimal(m.r_fall), Decimal(m.held), last_exit,
    )  # fmt: skip
