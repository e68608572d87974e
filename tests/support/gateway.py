"""A gateway to ask: rows to answer from, a real server around it, and a judge of its answers."""

import asyncio
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import jsonschema_rs
import orjson
import uvicorn

from api_gateway import main
from api_gateway.app import create_app
from rollotape.cache.patterns import PatternModel
from rollotape.postgres.active import ActivePatterns
from rollotape.postgres.pool import open_pool
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from support.waiting import eventually_sync

FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)

_INSERT_BAR = """
INSERT INTO bars (symbol, timeframe, ts, open, high, low, close, volume, revision, synthetic, hash, end_ts,
                  session_date, hours, arrived_at, evaluable)
VALUES ($1, $2, $3, 10, 12, 9, 11, 1500.5, $4, false, 7, $5, $3::timestamptz::date, 'regular', $5, $6)
"""
_INSERT_EVENT = """
INSERT INTO vsa_events (symbol, timeframe, rule_set, kind, event_ts, confirmed_ts, knowable_at, direction)
VALUES ($1, '1d', $2, $3, $4, $5, $6, $7)
"""
_INSERT_STATE = "INSERT INTO symbol_state VALUES ($1, 1, 1) ON CONFLICT DO NOTHING"
_INSERT_SCORE = """
INSERT INTO rs_scores (symbol, as_of, rs_score, excess_21, rating, sector_rank, is_sector_leader,
                       market_status, sector_status)
VALUES ($1, $2, $3, $3, 50, $4, false, 'ooisn', 'ooisn')
"""


def day(n: int) -> datetime:
    return FIRST_DAY + timedelta(days=n)


def closing(n: int) -> datetime:
    """When the bar of day n is known."""
    return day(n) + timedelta(hours=21)


@dataclass(frozen=True, slots=True)
class Event:
    """One row of vsa_events by its day, confirmed `later` days after it."""

    on: int
    kind: str = "no_demand"
    direction: str = "bearish"
    rule_set: str = "seed-1"
    later: int = 0


async def insert_days(
    database_url: str, symbol: str, count: int, *, evaluable_from: int = 0, timeframe: str = "1d"
) -> None:
    """Bars of `count` days in a row; those before `evaluable_from` have too little history."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = [(symbol, timeframe, day(n), n, closing(n), n >= evaluable_from) for n in range(count)]
        await connection.execute(_INSERT_STATE, symbol)
        await connection.executemany(_INSERT_BAR, rows)
    finally:
        await connection.close()


async def insert_events(database_url: str, symbol: str, events: Sequence[Event]) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        rows = [
            (symbol, e.rule_set, e.kind, day(e.on), day(e.on + e.later), closing(e.on + e.later), e.direction)
            for e in events
        ]
        await connection.executemany(_INSERT_EVENT, rows)
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class Score:
    """One row of rs_scores by its day."""

    symbol: str
    on: int
    score: float | None
    rank: int | None = None


async def insert_scores(database_url: str, scores: Sequence[Score]) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        rows = [(s.symbol, day(s.on).date(), s.score, s.rank) for s in scores]
        await connection.executemany(_INSERT_SCORE, rows)
    finally:
        await connection.close()


_INSERT_PATTERN = """
INSERT INTO patterns (id, symbol, timeframe, pattern_type, side, phase, confidence, vol_ratio, rsi, rs_ratio,
                      rs_excess, test_confirmed, detected_at, expires_at, vsa_events,
                      source, status, revision, hash, price, entry, target_1)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
        'test', 'active', 1, 7, 10, 10.5, 12)
"""


@dataclass(frozen=True, slots=True)
class Setup:
    """One active pattern; `n` makes its id."""

    n: int
    symbol: str = "AAPL"
    timeframe: str = "1d"
    pattern_type: str = "SPRING"
    side: str | None = "accumulation"
    phase: str | None = "C"
    confidence: float = 0.8
    vol_ratio: float | None = None
    rsi: float | None = None
    rs_ratio: float | None = None
    rs_excess: float | None = None
    test_confirmed: bool | None = None
    detected_at: datetime = FIRST_DAY
    expires_at: datetime = datetime(2100, 1, 1, tzinfo=UTC)
    vsa_events: str | None = '{"no_demand": 0, "no_supply": 2, "stopping_volume": 1}'

    @property
    def id(self) -> UUID:
        return UUID(int=self.n)


async def insert_patterns(database_url: str, setups: Sequence[Setup]) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        rows = [(s.id, *astuple(s)[1:]) for s in setups]
        await connection.executemany(_INSERT_PATTERN, rows)
    finally:
        await connection.close()


async def build_model(settings: Settings) -> None:
    """Have the read model say what is stored, as `rollo cache rebuild` does."""
    pool = await open_pool(settings, service="test", raw_times=True)
    async with pool, open_client(settings.redis_url) as redis:
        model = PatternModel(ActivePatterns(pool), redis)
        await model.rebuild()
        await model.expire()


@contextmanager
def serve(settings: Settings) -> Iterator[str]:
    """The gateway as it runs, on a port of its own; yields its URL."""
    app = create_app(settings)
    config = main.config(app, app.state.servers.bounds)
    config.port, config.timeout_graceful_shutdown = 0, 1
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), name="gateway")
    thread.start()
    try:
        eventually_sync(lambda: server.started or not thread.is_alive(), what="the gateway listening")
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


_PLACE = re.compile(r"\{\w+\}")


def _fits(template: str, path: str) -> bool:
    """A symbol may have a slash in it; where several fit, the one that says more is meant."""
    pattern = "(?:.*)".join(re.escape(part) for part in _PLACE.split(template))
    return re.fullmatch(pattern, path, re.DOTALL) is not None


class Judge:
    """Knows the OpenAPI document and holds answers against it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._validators: dict[bytes, jsonschema_rs.Draft202012Validator] = {}

    def conforms(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Assert that the answer is one of those that its operation declares; `headers` in lower case."""
        operation = self.operations(path)[method.lower()]
        assert str(status) in operation["responses"], f"{method} {path}: {status} is not declared"
        declared = operation["responses"][str(status)]
        self._headers_conform(declared, headers)
        media_type = headers.get("content-type", "").partition(";")[0]
        if not declared.get("content"):
            assert not body, f"{status} has a body"
            return
        assert media_type in declared["content"], f"{status} as {media_type} is not declared"
        if media_type.endswith("json"):
            self._validator(declared["content"][media_type]["schema"]).validate(orjson.loads(body))

    def _validator(self, schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
        key = orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)
        if key not in self._validators:
            whole = {**schema, "components": self._document["components"]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        return self._validators[key]

    def _headers_conform(self, declared: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        for name, header in declared.get("headers", {}).items():
            said = header if "$ref" not in header else self._document["components"]["headers"][name]
            assert name.lower() in headers or not said.get("required"), f"{name} is missing"
            if name.lower() in headers:
                assert re.search(said["schema"].get("pattern", ""), headers[name.lower()]), name

    def operations(self, path: str) -> Mapping[str, Any]:
        """What is declared for `path`, by method in lower case; empty where nothing is."""
        fitting = [template for template in self._document["paths"] if _fits(template, path)]
        if not fitting:
            return {}
        operations = self._document["paths"][max(fitting, key=lambda t: len(_PLACE.sub("", t)))]
        assert isinstance(operations, dict)
        return operations
