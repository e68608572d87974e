"""A market that goes on at random, and owners who save scans of it: patterns, strength, sectors, lists."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from rollotape.domain.sectors import SECTORS

SYMBOLS = tuple(f"S{n}" for n in range(12))
TYPES = ("SPRING", "SOS", "BULL_FLAG")
TIMEFRAMES = ("1d", "1h")
OWNERS = ("ada", "bob")
MONDAY = date(2026, 11, 16)

_SCAN = """
INSERT INTO saved_scans (id, owner, name, filters, watchlist_id)
VALUES ($1, $2, $3, $4::jsonb, ($4::jsonb ->> 'watchlist_id')::uuid)
ON CONFLICT (id) DO UPDATE SET filters = EXCLUDED.filters, watchlist_id = EXCLUDED.watchlist_id,
                               version = saved_scans.version + 1
"""
_WATCHLIST = """
INSERT INTO watchlists (id, owner, name, symbols) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET symbols = EXCLUDED.symbols
"""
_PATTERN = """
INSERT INTO patterns (id, source, symbol, timeframe, pattern_type, side, phase, status, revision, hash,
                      confidence, vol_ratio, rsi, rs_ratio, rs_excess, test_confirmed, detected_at,
                      confirmed_at, expires_at, confirmed_ts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, 7, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
ON CONFLICT (id) DO UPDATE SET
    status = EXCLUDED.status, confidence = EXCLUDED.confidence, phase = EXCLUDED.phase, rsi = EXCLUDED.rsi,
    test_confirmed = EXCLUDED.test_confirmed, confirmed_at = EXCLUDED.confirmed_at
"""
_MAPPING = """
INSERT INTO sector_mapping (symbol, sector, as_of, rs_score, is_sector_leader) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (symbol) DO UPDATE SET sector = EXCLUDED.sector, as_of = EXCLUDED.as_of,
    rs_score = EXCLUDED.rs_score, is_sector_leader = EXCLUDED.is_sector_leader
"""
_SCORE = """
INSERT INTO rs_scores (symbol, as_of, rs_score, rs_ratio, is_sector_leader, market_status, sector_status)
VALUES ($1, $2, $3, $4, false, 'ooisn', 'ooisn')
ON CONFLICT (as_of, symbol) DO UPDATE SET rs_score = EXCLUDED.rs_score, rs_ratio = EXCLUDED.rs_ratio
"""
_DATE = "INSERT INTO rs_dates (as_of, version) VALUES ($1, 0) ON CONFLICT DO NOTHING"
_MOVED = "UPDATE rs_dates SET version = version + 1 WHERE as_of = $1"


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Market:
    """Writes as the services and commands do that own these tables, each change in one transaction."""

    connection: "asyncpg.Connection[Any]"
    random: Random
    patterns: dict[UUID, str] = field(default_factory=dict)
    """Ids with their symbols."""
    scans: dict[UUID, str] = field(default_factory=dict)
    """Ids with their owners."""
    watchlists: dict[UUID, str] = field(default_factory=dict)

    def some(self, most: int) -> list[str]:
        return sorted(self.random.sample(SYMBOLS, self.random.randint(1, most)))

    def id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    async def step(self) -> str:
        """Something happens; what."""
        name = self.random.choices(*zip(*_STEPS, strict=True))[0]
        async with self.connection.transaction():
            await getattr(self, f"_{name}")()
        return str(name)

    async def detect(self, symbol: str, **said: Any) -> UUID:
        """A pattern of an outside system, or one of our own, as it is told."""
        r, at = self.random, now()
        told: dict[str, Any] = {
            "id": self.id(), "source": "test", "symbol": symbol, "timeframe": r.choice(TIMEFRAMES),
            "pattern_type": r.choice(TYPES), "side": r.choice((None, "accumulation", "distribution")),
            "phase": r.choice((None, "C", "D")), "status": "active", "confidence": round(r.random(), 2),
            "vol_ratio": r.choice((None, 0.5, 1.0, 2.0)), "rsi": r.choice((None, 30.0, 50.0, 70.0)),
            "rs_ratio": r.choice((None, 0.9, 1.1)), "rs_excess": r.choice((None, -3.0, 3.0)),
            "test_confirmed": r.choice((None, True, False)), "detected_at": at, "confirmed_at": None,
            "expires_at": at + timedelta(days=7), "confirmed_ts": None,
        }  # fmt: skip
        told |= said
        self.patterns[told["id"]] = symbol
        await self.connection.execute(_PATTERN, *told.values())
        return UUID(str(told["id"]))

    async def save(self, owner: str, filters: dict[str, Any], scan_id: UUID | None = None) -> UUID:
        """A saved scan, new or in the place of another."""
        scan_id = scan_id or self.id()
        self.scans[scan_id] = owner
        await self.connection.execute(_SCAN, scan_id, owner, scan_id.hex, orjson.dumps(filters).decode())
        return scan_id

    async def watch(self, owner: str, symbols: list[str], list_id: UUID | None = None) -> UUID:
        """A watchlist, new or in the place of another."""
        list_id = list_id or self.id()
        self.watchlists[list_id] = owner
        await self.connection.execute(_WATCHLIST, list_id, owner, list_id.hex, symbols)
        return list_id

    async def map(self, symbol: str, score: float | None, **said: Any) -> None:
        """Where a symbol stands."""
        told = {"sector": None, "as_of": MONDAY, "leader": False} | said
        await self.connection.execute(_MAPPING, symbol, told["sector"], told["as_of"], score, told["leader"])

    async def score(self, symbol: str, day: date, score: float | None, ratio: float | None) -> None:
        """A score of a day, as rs-worker says that it changed."""
        await self.connection.execute(_SCORE, symbol, day, score, ratio)
        await self._move(day)

    def filters(self, owner: str) -> dict[str, Any]:
        """What somebody asks for, by chance."""
        r = self.random
        mine = [i for i, other in self.watchlists.items() if other == owner]
        offered: dict[str, Any] = {
            "pattern_types": r.sample(TYPES, r.randint(1, 2)), "symbols": self.some(8),
            "sectors": r.sample(SECTORS[:3], r.randint(1, 2)), "timeframes": [r.choice(TIMEFRAMES)],
            "phase": ["C"], "side": ["accumulation"], "confidence_min": r.choice((0.0, 0.2, 0.8)),
            "rs_min": r.choice((0.5, 1.0)), "rs_excess_min": r.choice((-5.0, 0.0)), "vol_min": 1.0,
            "rsi_range": [30.0, 50.0], "test_confirmed": r.random() < 0.5,
            "universe": r.choice(("sp500", "leaders", "sector:energy", "exchange:nyse")), "sort_order": "asc",
        }  # fmt: skip
        if mine:
            offered["watchlist_id"] = str(r.choice(mine))
        return {name: offered[name] for name in r.sample(sorted(offered), r.randint(0, 3))}

    # ---- what may happen

    async def _detected(self) -> None:
        for symbol in self.some(3):
            await self.detect(symbol, expires_at=now() + timedelta(days=self.random.choice((-1, 7, 7, 7))))

    async def _own_detected(self) -> None:
        first = datetime(2026, 11, 16, 21, tzinfo=UTC)
        for symbol in self.some(3):
            ends = first + timedelta(days=self.random.randint(0, 3))
            await self.detect(symbol, source="rollo", confirmed_ts=first, expires_at=ends)

    async def _updated(self) -> None:
        for pattern_id in self._known(3):
            said = {"id": pattern_id, "status": self.random.choice(("active", "active", "expired"))}
            await self.detect(self.patterns[pattern_id], **said)

    async def _removed(self) -> None:
        for pattern_id in self._known(2):
            await self.connection.execute("DELETE FROM patterns WHERE id = $1", pattern_id)
            del self.patterns[pattern_id]

    async def _bar_came(self) -> None:
        at = datetime(2026, 11, 16, 21, tzinfo=UTC) + timedelta(hours=self.random.randint(0, 60))
        await self.connection.execute(
            "INSERT INTO newest_bars VALUES ($1, $2)", self.random.choice(TIMEFRAMES), at
        )

    async def _time_passed(self) -> None:
        """As if the clock had been looked at an hour ago: what ended since has no mark."""
        last = await self.connection.fetchval("SELECT coalesce(max(id), 0) FROM unscanned")
        for pattern_id in self._known(3):
            await self.connection.execute(
                "UPDATE patterns SET expires_at = now() - interval '1 minute'"
                " WHERE id = $1 AND confirmed_ts IS NULL",
                pattern_id,
            )
        await self.connection.execute(
            "UPDATE scan_clocks SET seen_to = now() - interval '1 hour' WHERE timeframe = ''"
        )
        await self.connection.execute("DELETE FROM unscanned WHERE id > $1", last)

    async def _mapped(self) -> None:
        for symbol in self.some(4):
            r = self.random
            score, sector = r.choice((None, -4.0, 4.0)), r.choice((None, *SECTORS[:3]))
            day = MONDAY + timedelta(days=r.randint(0, 2))
            await self.map(symbol, score, sector=sector, as_of=day, leader=r.random() < 0.5)

    async def _unmapped(self) -> None:
        await self.connection.execute("DELETE FROM sector_mapping WHERE symbol = ANY($1)", self.some(2))

    async def _scored(self) -> None:
        r = self.random
        for symbol in self.some(3):
            day = MONDAY + timedelta(days=r.randint(0, 2))
            await self.score(symbol, day, r.choice((None, 4.0)), r.choice((None, 0.7, 1.2)))

    async def _unscored(self) -> None:
        day = MONDAY + timedelta(days=self.random.randint(0, 2))
        await self.connection.execute("DELETE FROM rs_scores WHERE as_of = $1", day)
        await self._move(day)

    async def _moved_sector(self) -> None:
        for symbol in self.some(3):
            await self.connection.execute(
                "INSERT INTO sectors (symbol, sector) VALUES ($1, $2)"
                " ON CONFLICT (symbol) DO UPDATE SET sector = EXCLUDED.sector",
                symbol,
                self.random.choice((None, "Energy", *SECTORS[:3])),
            )

    async def _listed(self) -> None:
        await self.connection.execute("UPDATE universes SET symbols = $1 WHERE key = 'sp500'", self.some(8))

    async def _moved_exchange(self) -> None:
        for symbol in self.some(3):
            await self.connection.execute(
                "INSERT INTO exchanges VALUES ($1, $2)"
                " ON CONFLICT (symbol) DO UPDATE SET exchange = EXCLUDED.exchange",
                symbol,
                self.random.choice(("NYSE", "NASDAQ")),
            )

    async def _saved(self) -> None:
        owner = self.random.choice(OWNERS)
        await self.save(owner, self.filters(owner))

    async def _edited(self) -> None:
        if self.scans:
            scan_id, owner = self.random.choice(sorted(self.scans.items()))
            await self.save(owner, self.filters(owner), scan_id)

    async def _deleted(self) -> None:
        if self.scans:
            scan_id = self.random.choice(sorted(self.scans))
            del self.scans[scan_id]
            await self.connection.execute("DELETE FROM saved_scans WHERE id = $1", scan_id)

    async def _watched(self) -> None:
        owner = self.random.choice(OWNERS)
        mine = sorted(i for i, other in self.watchlists.items() if other == owner)
        again = self.random.choice(mine) if mine and self.random.random() < 0.7 else None
        await self.watch(owner, self.some(6), again)

    async def _move(self, day: date) -> None:
        await self.connection.execute(_DATE, day)
        await self.connection.execute(_MOVED, day)

    def _known(self, most: int) -> list[UUID]:
        return self.random.sample(sorted(self.patterns), min(most, len(self.patterns)))


_STEPS: tuple[tuple[str, int], ...] = (
    ("detected", 6), ("own_detected", 4), ("updated", 4), ("removed", 2), ("bar_came", 3), ("time_passed", 1),
    ("mapped", 4), ("unmapped", 1), ("scored", 3), ("unscored", 1), ("moved_sector", 2), ("listed", 2),
    ("moved_exchange", 1), ("saved", 4), ("edited", 3), ("deleted", 1), ("watched", 3),
)  # fmt: skip
