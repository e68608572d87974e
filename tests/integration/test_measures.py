"""What is measured on the way from a bar to those who hear of it, and from a question to its answer."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from api_gateway.tail import MOST_QUEUED, Fact, Listener
from detector import handlers
from rollotape.events import FIELD
from rollotape.settings import Settings
from rollotape.streams.entries import Entry
from support.applying import Bench, open_bench
from support.gateway import build_model, serve
from support.sockets import pattern_fact, talking, tell
from support.waiting import eventually

FRIDAY = datetime(2026, 8, 28, 15, 0, tzinfo=UTC)


class Counted:
    """How much a metric has grown since it was looked at first."""

    def __init__(self, name: str, **labels: str) -> None:
        self._name, self._labels = name, labels
        self._before = self.value

    @property
    def value(self) -> float:
        return REGISTRY.get_sample_value(self._name, self._labels) or 0.0

    @property
    def more(self) -> float:
        return self.value - self._before


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    async with open_bench(settings) as bench:
        yield bench


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with serve(settings) as opened:
        yield opened


def bar(minute: int, **more: Any) -> bytes:
    said = {"symbol": "AAPL", "timeframe": "1m", "ts": (FRIDAY + timedelta(minutes=minute)).isoformat()}
    prices = {"open": 10, "high": 12, "low": 9, "close": 11, "volume": 5}
    return orjson.dumps(said | prices | more)


async def apply(bench: Bench, *payloads: bytes, at: datetime) -> None:
    arrived_ms = int(at.timestamp() * 1_000)
    entries = [Entry("bars.0", f"{arrived_ms}-{n}", {FIELD: p}) for n, p in enumerate(payloads)]
    await bench.handler.apply(entries)


async def test_only_bars_that_come_soon_after_their_end_measure_how_quick_we_are(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = FRIDAY + timedelta(minutes=10, seconds=3)
    monkeypatch.setattr(handlers, "time_ns", lambda: int(now.timestamp()) * 10**9)
    count, seconds = Counted("rollo_bar_commit_seconds_count"), Counted("rollo_bar_commit_seconds_sum")
    await apply(bench, bar(8), bar(9), bar(9), bar(9, final=False), at=now)
    assert (count.more, round(seconds.more, 6)) == (2, 63 + 3)
    await apply(bench, bar(-90), at=now)
    assert count.more == 2, "history"


async def test_bars_that_are_older_than_what_is_stored_are_late(bench: Bench) -> None:
    late, size = Counted("rollo_bars_late_total"), Counted("rollo_batch_bars_sum")
    now = FRIDAY + timedelta(hours=2)
    await apply(bench, bar(5), bar(3), at=now)
    assert (late.more, size.more) == (0, 2), "within a batch there is no order"
    await apply(bench, bar(4), bar(6), at=now)
    assert late.more == 1
    await apply(bench, bar(4), bar(5), at=now)
    assert (late.more, size.more) == (1, 6), "nothing was applied"


async def test_it_is_measured_how_old_facts_are_when_clients_are_handed_them(
    url: str, redis_client: Redis
) -> None:
    count, seconds = Counted("rollo_fact_client_seconds_count"), Counted("rollo_fact_client_seconds_sum")
    async with talking(url) as client:
        await client.subscribe(patterns=["*"])
        assert Counted("rollo_ws_clients").value == 1
        await tell(redis_client, [pattern_fact(1)])
        await client.facts(1)

        async def measured() -> bool:
            return count.more >= 1

        await eventually(measured, what="a measurement")
        assert 0 <= seconds.more < 20


async def test_scans_are_counted_by_where_their_answers_were(url: str, settings: Settings) -> None:
    await build_model(settings)
    found = {source: Counted("rollo_answers_total", dataset="scan", source=source)
             for source in ("model", "memory", "unchanged")}  # fmt: skip
    async with httpx.AsyncClient(base_url=url) as http:
        first = await http.get("/api/patterns/scan")
        await http.get("/api/patterns/scan")
        again = await http.get("/api/patterns/scan", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)
    assert {source: counted.more for source, counted in found.items()} == {
        "model": 1, "memory": 1, "unchanged": 1,
    }  # fmt: skip


async def test_clients_of_server_sent_events_are_counted_while_they_are_there(url: str) -> None:
    clients = Counted("rollo_sse_clients")

    async def there(count: int) -> bool:
        return clients.more == count

    async with httpx.AsyncClient(base_url=url, timeout=20) as http:
        async with http.stream("GET", "/api/patterns/stream") as answer:
            assert answer.status_code == 200
            await eventually(lambda: there(1), what="a client")
        await eventually(lambda: there(0), what="nobody")


def test_one_who_does_not_read_server_sent_events_is_dropped_once() -> None:
    dropped, listener = Counted("rollo_sse_dropped_total"), Listener(("pattern.",), "owner")
    facts = [Fact(f"{n}-0", "pattern.updated") for n in range(MOST_QUEUED + 1)]
    listener.hear(facts)
    listener.hear(facts)
    assert listener.over.is_set()
    assert dropped.more == 1
