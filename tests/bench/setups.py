"""Made-up patterns as rows of PostgreSQL, and questions that traders ask about them; always the same ones."""

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import asyncpg
import orjson

from bench import market
from rollotape.domain.sectors import SECTORS
from rollotape.postgres import owned, universes

STOCKS = 500
TYPES = (
    "SPRING", "UTAD", "SIGN_OF_STRENGTH", "LAST_POINT_OF_SUPPORT", "BULL_FLAG", "BEAR_FLAG", "HAMMER",
    "ASCENDING_TRIANGLE", "DESCENDING_TRIANGLE", "CUP_AND_HANDLE", "DOUBLE_BOTTOM", "DOUBLE_TOP", "DOJI",
    "HEAD_AND_SHOULDERS", "ENGULFING", "WEEKLY_BREAKOUT",
)  # fmt: skip
TIMEFRAMES = ("1d", "1d", "1d", "1h", "15m", "1w")
AS_OF = date(2024, 1, 5)
SCAN = "/api/patterns/scan"

_PATTERNS = (
    "id", "source", "symbol", "timeframe", "pattern_type", "side", "phase", "status", "revision", "hash",
    "confidence", "price", "change_pct", "vol_ratio", "rsi", "entry", "stop", "target_1", "target_2",
    "planned_r", "test_confirmed", "rule_set", "detected_at", "confirmed_at", "expires_at", "vsa_events",
    "vsa_events_classic",
)  # fmt: skip
_MAPPED = ("symbol", "sector", "as_of", "rs_score", "rank", "is_sector_leader")
_SCORES = (
    "as_of", "symbol", "rs_score", "rs_ratio", "rating", "sector_rank", "is_sector_leader", "market_status",
    "sector_status",
)  # fmt: skip
_OK = ("ooooo", "ooooo")


async def store(database_url: str, count: int) -> None:
    """Active patterns of stocks with sectors and scores; none expires while anybody looks."""
    rng = random.Random(market.SEED)
    connection = await asyncpg.connect(database_url)
    try:
        ranked = [_ranked(n, rng) for n in range(STOCKS)]
        mapped = [(symbol, sector, AS_OF, score, *rank) for symbol, sector, score, _, rank in ranked]
        scored = [(AS_OF, symbol, score, ratio, 50, *rank, *_OK) for symbol, _, score, ratio, rank in ranked]
        for table, columns, records in (
            ("sector_mapping", _MAPPED, mapped),
            ("rs_scores", _SCORES, scored),
            ("patterns", _PATTERNS, [_pattern(n, rng) for n in range(count)]),
        ):
            await connection.copy_records_to_table(table, records=records, columns=columns)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


UNIVERSE = "benched"
MOST_WATCHED = 200


async def keep(database_url: str, owner: str) -> UUID:
    """A watchlist of this owner, and a universe of four symbols in five; the id of the watchlist."""
    watched = UUID(int=market.SEED, version=4)
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        await universes.store(pool, UNIVERSE, [_symbol(n) for n in range(STOCKS) if n % 5])
        async with pool.acquire() as connection, owned.changing(connection, owner):
            symbols = [_symbol(n) for n in range(MOST_WATCHED)]
            await owned.WATCHLISTS.add(connection, owner, watched, "benched", symbols)
    return watched


def within(targets: Iterable[str], name: str, value: object) -> list[str]:
    """The same questions of a watchlist or a universe alone."""
    return [f"{target}&{name}={value}" for target in targets]


def _symbol(n: int) -> str:
    return f"S{n:03d}"


def _ranked(n: int, rng: random.Random) -> tuple[str, str, float, float, tuple[int, bool]]:
    """Symbol, sector, score, ratio, rank and whether it leads."""
    rank = n // len(SECTORS) + 1
    return _symbol(n), SECTORS[n % len(SECTORS)], rng.gauss(0, 8), rng.gauss(1, 0.1), (rank, rank <= 3)


def _pattern(n: int, rng: random.Random) -> tuple[Any, ...]:
    price = round(rng.uniform(5, 500), 2)
    side = rng.choice(("accumulation", "distribution", None))
    phase = rng.choice("ABCDE") if side else None
    now = datetime.now(UTC)
    detected = now - timedelta(minutes=rng.randrange(20 * 1_440))
    counts = [_counts(rng) for _ in range(2)]
    return (
        UUID(int=rng.getrandbits(128), version=4), "bench", _symbol(rng.randrange(STOCKS)),
        rng.choice(TIMEFRAMES), rng.choice(TYPES), side, phase, "active", 1, n,
        round(rng.uniform(0.3, 0.99), 3), price, round(rng.gauss(0, 2), 3),
        _or_unknown(round(rng.lognormvariate(0, 0.5), 3), rng),
        _or_unknown(round(rng.uniform(10, 90), 2), rng), price, round(price * 0.96, 2),
        round(price * 1.05, 2), round(price * 1.1, 2), 2.5, rng.choice((True, False, None)), "seed-1",
        detected, detected + timedelta(hours=1), now + timedelta(days=rng.uniform(1, 30)), *counts,
    )  # fmt: skip


def _or_unknown(value: float, rng: random.Random) -> float | None:
    return value if rng.random() < 0.95 else None


def _counts(rng: random.Random) -> str:
    kinds = ("no_demand", "no_supply", "stopping_volume")
    return orjson.dumps({kind: rng.randrange(5) for kind in kinds}).decode()


POPULAR = 200


def often(count: int) -> list[str]:
    """Each of the popular questions, then as many drawn from them: the first ones come most."""
    rng = random.Random(market.SEED)
    known = list(islice(_questions(rng), POPULAR))
    weights = [1 / (rank + 1) for rank in range(POPULAR)]
    return [*known, *rng.choices(known, weights, k=count)]


def never_twice(count: int, series: int) -> list[str]:
    """Questions that nobody asked before, neither here nor in another series."""
    rng = random.Random(market.SEED + series + 1)
    found = dict.fromkeys(islice(_questions(rng), count * 2))
    return list(found)[:count]


def _questions(rng: random.Random) -> Iterator[str]:
    """Filters that dashboards send; thresholds are of sliders, or typed, and rarely the same twice."""
    while True:
        asked: dict[str, Any] = {"confidence_min": round(rng.uniform(0.3, 0.8), 6)}
        if rng.random() < 0.5:
            asked["pattern_types"] = ",".join(rng.sample(TYPES, rng.randint(1, 4)))
        if rng.random() < 0.25:
            asked["sectors"] = ",".join(rng.sample(SECTORS, rng.randint(1, 3)))
        if rng.random() < 0.2:
            asked["symbols"] = ",".join(_symbol(rng.randrange(STOCKS)) for _ in range(rng.randint(1, 40)))
        if rng.random() < 0.4:
            asked["timeframe"] = rng.choice(TIMEFRAMES)
        if rng.random() < 0.3:
            asked["rs_min"] = round(rng.uniform(0.8, 1.1), 3)
        if rng.random() < 0.3:
            asked["vol_min"] = round(rng.uniform(0.5, 2), 2)
        if rng.random() < 0.2:
            asked["rsi_range"] = f"{rng.randint(10, 40)},{rng.randint(60, 90)}"
        if rng.random() < 0.15:
            asked["side"] = rng.choice(("accumulation", "distribution"))
        if rng.random() < 0.4:
            asked["sort_by"] = rng.choice(("confidence", "detected_at", "symbol", "rs", "volume"))
            asked["sort_order"] = rng.choice(("asc", "desc"))
        if rng.random() < 0.3:
            asked |= {"page": rng.randint(1, 3), "per_page": rng.choice((20, 30, 50))}
        yield f"{SCAN}?{urlencode(asked, safe=',')}"
