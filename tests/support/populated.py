"""A database with something of everything that the gateway answers, and keys to ask it with."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from rollotape import keys
from rollotape.keys import Scope
from rollotape.settings import Settings
from support.closed_trades import Trade, insert_trades, roll_up
from support.databases import execute
from support.gateway import (
    Event,
    Score,
    Setup,
    build_model,
    closing,
    day,
    insert_days,
    insert_events,
    insert_patterns,
    insert_scores,
)

OWNERS = {"local": 0xA1, "ada": 0xA2, "bob": 0xA3}
"""Each has a watchlist, a saved scan and a webhook, whose ids end so."""
SETUPS, EVENTS, TRADES, SCORES, DAYS = 200, 150, 40, 50, 300
RANGE = UUID("00000000-0000-4000-8000-000000000001")

_WYCKOFF_EVENT = """
INSERT INTO wyckoff_events (symbol, timeframe, rule_set, side, range_id, kind, event_ts, confirmed_ts,
                            knowable_at, price, confidence, terms)
VALUES ('AAPL', '1d', 'wyckoff-2', 'accumulation', $1, $2, $3, $4, $5, 9.5, 0.75, '{"volume": 0.5}')
"""
_STATUS = """
INSERT INTO wyckoff_statuses (symbol, timeframe, rule_set, side, range_id, kind, event_ts, status,
                              confirmed_ts, knowable_at)
VALUES ('AAPL', '1d', 'wyckoff-2', 'accumulation', $1, 'SPRING', $2, 'test_passed', $3, $4)
"""
_RANGE = """
INSERT INTO wyckoff_ranges (range_id, confirmed_ts, symbol, timeframe, rule_set, side, opened_ts, climax_ts,
                            knowable_at, status, phase, phases, support, resistance, unit)
VALUES ($1, $2, 'AAPL', '1d', 'wyckoff-2', 'accumulation', $3, $3, $4, 'open', 'A', $5, 9, 12, 0.02)
"""
_REST = """
UPDATE universes SET symbols = '{AAPL,MSFT}', changed_at = '2024-01-01 00:00Z' WHERE key = 'sp500';
INSERT INTO exchanges VALUES ('AAPL', 'NASDAQ'), ('MSFT', 'NASDAQ');
INSERT INTO newest_bars VALUES ('1d', '2024-10-26 21:00Z');
"""


def id_of(owner: str) -> UUID:
    """Of the watchlist, of the saved scan and of the webhook of an owner."""
    return UUID(int=OWNERS[owner])


async def populate(settings: Settings) -> None:
    """Rows of everything, many of them equal in what they are sorted by; what scans read is built, too."""
    url = settings.database_url
    await insert_days(url, "AAPL", DAYS, evaluable_from=20)
    await insert_days(url, "MSFT", 30)
    await insert_days(url, "BTC/USD", 3)
    await insert_events(url, "AAPL", [Event(21 + n) for n in range(EVENTS)])
    scores = [
        Score(symbol, n, n / 7, rank)
        for n in range(SCORES)
        for rank, symbol in enumerate(("AAPL", "MSFT"), 1)
    ]
    await insert_scores(url, scores)
    setups = [
        Setup(
            n,
            "MSFT" if n % 3 == 0 else "AAPL",
            rsi=n % 100,
            confidence=n % 7 / 7,
            vol_ratio=n % 5 / 2,
            detected_at=day(30 + n % 4),
        )
        for n in range(SETUPS)
    ]
    await insert_patterns(url, setups)
    trades = [
        Trade(n, None if n % 10 == 0 else n % 5 - 1.5, 1.0 + n % 6, pattern=n) for n in range(1, TRADES + 1)
    ]
    await insert_trades(url, trades)
    await _read_range(url)
    execute(url, _REST)
    for owner in OWNERS:
        _give(url, owner)
    await build_model(settings)
    await roll_up(settings)


async def _read_range(url: str) -> None:
    """A range with its events, each known a day later."""
    connection = await asyncpg.connect(url)
    try:
        for kind, on in (("SC", 35), ("AR", 38), ("SPRING", 50)):
            await connection.execute(_WYCKOFF_EVENT, RANGE, kind, day(on), day(on + 1), closing(on + 1))
        await connection.execute(_STATUS, RANGE, day(50), day(55), closing(55))
        phases = f'[["A", {round(day(36).timestamp() * 1e6)}]]'
        await connection.execute(_RANGE, RANGE, day(36), day(35), closing(36), phases)
    finally:
        await connection.close()


def _give(url: str, owner: str) -> None:
    mine = f"'{id_of(owner)}', '{owner}'"
    execute(
        url,
        "INSERT INTO watchlists (id, owner, name, symbols, created_at, changed_at)"
        f" VALUES ({mine}, 'Chips', '{{AAPL,MSFT}}', '2024-01-01Z', '2024-01-01Z');"
        "INSERT INTO saved_scans (id, owner, name, filters, created_at, changed_at)"
        f""" VALUES ({mine}, 'Springs', '{{"pattern_types": ["SPRING"]}}', '2024-01-01Z', '2024-01-01Z');"""
        "INSERT INTO webhooks (id, owner, name, content, secret, created_at, changed_at)"
        f""" VALUES ({mine}, 'Desk', '{{"url": "https://example.org/", "events": ["pattern.detected"]}}',"""
        " sha256('secret'), '2024-01-01Z', '2024-01-01Z');"
        "INSERT INTO webhook_deliveries (webhook_id, type, fact_id, fact_version, body, status, attempts,"
        " last_status, created_at, finished_at)"
        f" SELECT '{id_of(owner)}', 'pattern.detected', 'p' || n, n, '{{}}', 'delivered', 1, 204,"
        " '2024-01-01Z', '2024-01-01Z' FROM generate_series(1, 40) n",
    )


def tidy(settings: Settings) -> None:
    """Take away what requests have made, so that limits of owners are not all that is met."""
    execute(
        settings.database_url,
        "DELETE FROM saved_scans; DELETE FROM watchlists; DELETE FROM webhooks;"
        "DELETE FROM idempotency_keys; DELETE FROM audit_log",
    )
    for owner in OWNERS:
        _give(settings.database_url, owner)


@dataclass(frozen=True, slots=True)
class Given:
    """A key as a header, and as a word."""

    text: str
    id: str

    @property
    def header(self) -> Mapping[str, str]:
        return {"X-API-Key": self.text}


def give_key(settings: Settings, scope: Scope = "read", **columns: object) -> Given:
    """A new key; `columns` are more of its row."""
    key = keys.make()
    said = {"id": key.id, "name": "test", "scope": scope, "hash": f"\\x{key.hash.hex()}"} | columns
    names, values = ", ".join(said), ", ".join(f"'{value}'" for value in said.values())
    execute(settings.database_url, f"INSERT INTO api_keys ({names}) VALUES ({values})")
    return Given(key.text, key.id)
