"""From a pattern to the owner of a saved scan and of a webhook, by cache-builders that are killed."""

import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import orjson

from detector.patterns import ApplyPatterns
from rollotape.events import FIELD
from rollotape.postgres.patterns import Patterns
from rollotape.settings import Settings
from rollotape.streams.entries import Entry
from support.applying import Bench, open_bench
from support.commands import environment_of, started
from support.following import happened
from support.newcomers import Market
from support.receivers import receiving, status
from support.waiting import eventually

ALLOWED = {
    "ROLLO_WEBHOOKS_NETWORKS": "127.0.0.0/8", "ROLLO_WEBHOOKS_HTTP": "on",
    "ROLLO_LEASE_S": "1", "ROLLO_CLAIM_MS": "500",
}  # fmt: skip
_HOOK = """
INSERT INTO webhooks (id, owner, name, content, secret)
VALUES (gen_random_uuid(), 'ada', 'desk', jsonb_build_object('url', $1::text,
        'events', '["pattern.detected", "scan.new_entrants"]'::jsonb), sha256('secret'))
"""


async def _detect(bench: Bench, symbol: str, at: datetime) -> None:
    told = {
        "event": "detected", "source": "test", "symbol": symbol, "timeframe": "1d", "pattern_type": "FLAG",
        "confidence": 0.9, "detected_at": at, "expires_at": datetime(2100, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    bench.sent += 1
    entry = Entry("patterns.0", f"{time.time_ns() // 1_000_000}-{bench.sent}", {FIELD: orjson.dumps(told)})
    await ApplyPatterns(Patterns(bench.pool), bench.outbox).apply([entry])


async def test_a_pattern_is_told_to_a_webhook_and_so_is_its_symbol_that_comes_into_a_saved_scan(
    settings: Settings, tmp_path: Path
) -> None:
    environment = dict(environment_of(settings)) | ALLOWED
    builder = [sys.executable, "-m", "cache_builder"]
    connection = await asyncpg.connect(settings.database_url)

    def answer(n: int) -> bytes:
        return status(503 if n == 1 else 200)

    async with open_bench(settings) as bench, receiving(answer) as receiver:
        await connection.execute(_HOOK, receiver.url)
        scan = await Market(connection, Random(1)).save("ada", {"pattern_types": ["FLAG"]})

        def told() -> list[dict[str, Any]]:
            """Each fact once."""
            facts = [orjson.loads(request.body) for request in receiver.received]
            return list({fact["id"]: fact for fact in facts}.values())

        def symbols(kind: str) -> set[str]:
            facts = [fact for fact in told() if fact["type"] == kind]
            if kind == "pattern.detected":
                return {fact["pattern"]["symbol"] for fact in facts}
            return {entrant["symbol"] for fact in facts for entrant in fact["entrants"]}

        def both(wanted: set[str]) -> bool:
            return all(symbols(kind) == wanted for kind in ("pattern.detected", "scan.new_entrants"))

        with started(environment, *builder, where=tmp_path) as first:
            await _marks_gone(connection)
            now = datetime.now(UTC)
            await _detect(bench, "OLD", now - timedelta(days=3))
            await _detect(bench, "NEW", now)
            await happened(lambda: both({"NEW"}), "one symbol, told both ways")
            first.send_signal(signal.SIGKILL)
            await _detect(bench, "NEXT", datetime.now(UTC))
        with started(environment, *builder, where=tmp_path):
            await happened(lambda: both({"NEW", "NEXT"}), "the other symbol, by another builder")
        stored = await connection.fetch("SELECT symbol FROM entrants WHERE scan_id = $1 ORDER BY 1", scan)
        assert [symbol for [symbol] in stored] == ["NEW", "NEXT", "OLD"]
        assert {fact["scan"]["id"] for fact in told() if "scan" in fact} == {str(scan)}
    await connection.close()


async def _marks_gone(connection: "asyncpg.Connection[Any]") -> None:
    """The scan was looked at: who is there from now on is a newcomer."""
    async def gone() -> bool:
        return not await connection.fetchval("SELECT EXISTS (SELECT FROM unscanned)")

    await eventually(gone, what="the scan being looked at", within_s=60)
