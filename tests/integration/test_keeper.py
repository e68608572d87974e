"""What a producer sent is stored in the end, whatever Redis loses; and what is asked for is sent."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from redis.asyncio import Redis

from rollotape import calendars
from rollotape.auditing import Auditor
from rollotape.domain import gaps as domain
from rollotape.domain.bars import TIMEFRAMES
from rollotape.errors import Unavailable
from rollotape.postgres import gaps
from rollotape.producers import keeper as keeping
from rollotape.producers.frames import Bars, Framer, Message
from rollotape.producers.journal import Journal
from rollotape.producers.keeper import Keeper, Request, Serves
from rollotape.settings import Settings
from rollotape.streams.entries import Entry
from rollotape.streams.producer import Producer
from support.applying import Bench, open_bench
from support.bars import us
from support.waiting import eventually

GROUP = "detector"
DAYS = domain.slots(
    TIMEFRAMES["1d"], calendars.sessions(), us("2023-01-01T00:00Z"), us("2024-01-01T00:00Z")
).starts.tolist()


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    async with open_bench(settings) as opened:
        yield opened


def bars(symbol: str, days: list[int], close: float = 10.0, revision: int = 0) -> Bars:
    count = len(days)
    texts = [f"{np.datetime64(day, 'us')}Z" for day in days]
    return Bars(
        "1d", [symbol] * count, texts, [10.0] * count, [11.0] * count, [9.0] * count, [close] * count,
        [1_000.0] * count, [revision] * count,
    )  # fmt: skip


def messages(*parts: Bars, frame_bars: int = 10) -> list[Message]:
    framer = Framer(16, frame_bars)
    full = [message for part in parts for message in framer.add(part)]
    return [*full, *framer.flush()]


async def read(bench: Bench, *, storing: bool = True) -> int:
    """What a detector does, or one that forgets what it read."""
    count = 0
    names: Any = await bench.redis.keys("bars.*")
    for stream in sorted(name.decode() for name in names):
        if not await bench.redis.xinfo_groups(stream):
            await bench.redis.xgroup_create(stream, GROUP, id="0")
        answer: Any = await bench.redis.xreadgroup(GROUP, "0", {stream: ">"})
        for _, found in answer:
            entries = [Entry(stream, entry_id.decode(), fields) for entry_id, fields in found]
            if storing:
                await bench.handler.apply(entries)
            await bench.redis.xack(stream, GROUP, *[entry.id for entry in entries])
            count += len(entries)
    return count


async def stored(bench: Bench) -> set[tuple[str, int]]:
    return {(symbol, ts) for symbol, ts in await bench.rows("SELECT symbol, ts FROM bars")}


class Clock:
    """Milliseconds of now, and as many more as a test has waited."""

    def __init__(self) -> None:
        self.more_ms = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.more_ms


def keeper(bench: Bench, journal: Journal, clock: Clock, source: keeping.Source | None = None) -> Keeper:
    return Keeper(
        Producer(bench.redis, give_up_s=0.2), bench.pool, bench.redis, journal, calendars.sessions,
        source=source, now_ms=clock,
    )  # fmt: skip


async def look(kept: Keeper, journal: Journal, clock: Clock) -> int:
    """As if some seconds had passed."""
    journal.roll()
    clock.more_ms += keeping.SETTLE_MS
    for waiting in kept._files.values():
        waiting.due = 0.0
    return await kept.turn()


async def test_what_is_stored_is_forgotten_and_not_before(bench: Bench, tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, now_ms=clock) as journal:
        kept = keeper(bench, journal, clock)
        await kept.send(messages(bars("A", DAYS[:30]), bars("B", DAYS[:30])))
        assert await look(kept, journal, clock) == 0
        assert journal.size, "nobody has read it yet"
        await read(bench)
        assert await look(kept, journal, clock) == 0
        assert journal.size == 0
        assert journal.files() == []
        assert len(await stored(bench)) == 60


async def test_two_who_look_at_once_send_what_was_lost_once(bench: Bench, tmp_path: Path) -> None:
    """One at regular times, and one who wants to leave."""
    clock = Clock()
    with Journal(tmp_path, now_ms=clock) as journal:
        kept = keeper(bench, journal, clock)
        await kept.send(messages(bars("A", DAYS[:20])))
        sent = len(messages(bars("A", DAYS[:20])))
        await read(bench, storing=False)
        again = await asyncio.gather(*(look(kept, journal, clock) for _ in range(3)))
        assert (sum(again), kept.sent_again) == (sent, sent)
        await read(bench)
        await asyncio.gather(*(look(kept, journal, clock) for _ in range(3)))
        assert journal.size == 0


@pytest.mark.parametrize("loss", ["forgotten", "flushed", "some streams"])
async def test_what_redis_lost_is_sent_again(loss: str, bench: Bench, tmp_path: Path) -> None:
    """Read by one who forgets it, as a replica does that takes the place of its primary; or gone at all."""
    clock = Clock()
    with Journal(tmp_path, now_ms=clock) as journal:
        kept = keeper(bench, journal, clock)
        await kept.send(messages(bars("A", DAYS[:20])))
        await read(bench)
        await kept.send(messages(bars("A", DAYS[20:50]), bars("B", DAYS[:35])))
        if loss == "forgotten":
            await read(bench, storing=False)
        elif loss == "flushed":
            await bench.redis.flushall()
        else:
            await bench.redis.delete(*await bench.redis.keys("bars.*"))
        assert await look(kept, journal, clock) == 7, "of nine frames"
        await read(bench)
        assert await look(kept, journal, clock) == 0
        assert journal.size == 0
        assert len(await stored(bench)) == 85
        assert (kept.sent_again, kept.given_up) == (7, 0)


async def test_a_message_is_looked_for_when_those_before_it_were_read(bench: Bench, tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, now_ms=clock) as journal:
        kept = keeper(bench, journal, clock)
        await kept.send(messages(bars("A", DAYS[:10])))
        await read(bench, storing=False)
        await kept.send(messages(bars("A", DAYS[10:20])))
        assert await look(kept, journal, clock) == 0, "a reader is behind: both may still be on their way"
        await read(bench)
        assert await look(kept, journal, clock) == 1


async def test_a_successor_sends_what_a_killed_producer_had_not_sent(bench: Bench, tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, now_ms=clock) as journal:
        journal.append(messages(bars("A", DAYS[:20])))  # and the process dies before it sends
    with Journal(tmp_path, now_ms=clock) as journal:
        kept = keeper(bench, journal, clock)
        assert await look(kept, journal, clock) == 2
        await read(bench)
        await look(kept, journal, clock)
        assert journal.size == 0
    assert len(await stored(bench)) == 20


async def test_a_restated_bar_is_stored_when_its_version_is(bench: Bench, tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, now_ms=clock) as journal:
        kept = keeper(bench, journal, clock)
        await kept.send(messages(bars("A", DAYS[:3])))
        await read(bench)
        await kept.send(messages(bars("A", DAYS[1:2], 10.5, 1)))
        await read(bench, storing=False)
        assert await look(kept, journal, clock) == 1
        await kept.send(messages(bars("A", DAYS[1:2], 10.6, 2)))
        await read(bench)
        assert await look(kept, journal, clock) == 0, "a greater version is there"
        assert journal.size == 0


async def test_what_is_refused_or_still_running_is_not_waited_for(bench: Bench, tmp_path: Path) -> None:
    clock = Clock()
    running = orjson.loads(messages(bars("A", DAYS[:1]), frame_bars=1)[0][1]) | {"final": False}
    with Journal(tmp_path, now_ms=clock) as journal:
        kept = keeper(bench, journal, clock)
        broken = bars("A", DAYS[:3], close=100.0)
        await kept.send([*messages(broken), ("bars.1", b"{no JSON\n"), ("bars.2", orjson.dumps(running))])
        await read(bench, storing=False)
        assert await look(kept, journal, clock) == 0
        assert journal.size == 0


async def test_what_is_never_stored_is_given_up_in_the_end(bench: Bench, tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, now_ms=clock) as journal:
        kept = keeper(bench, journal, clock)
        await kept.send(messages(bars("A", DAYS[:3])))
        for _ in range(keeping.TRIES):
            await read(bench, storing=False)
            assert await look(kept, journal, clock) == 1
        await read(bench, storing=False)
        assert await look(kept, journal, clock) == 0
        assert (journal.size, kept.given_up) == (0, 1)


async def test_an_outage_makes_it_later(bench: Bench, tmp_path: Path) -> None:
    """Redis is away when something is sent, and there again afterwards."""
    clock = Clock()
    with Journal(tmp_path, now_ms=clock) as journal:
        async with Redis.from_url("redis://127.0.0.1:1") as nobody:
            away = Keeper(
                Producer(nobody, give_up_s=0.1), bench.pool, nobody, journal, calendars.sessions, now_ms=clock
            )
            await asyncio.wait_for(away.send(messages(bars("A", DAYS[:10]))), 10)
            with pytest.raises(Unavailable):
                await look(away, journal, clock)
        kept = keeper(bench, journal, clock)
        assert await look(kept, journal, clock) == 1
        await read(bench)
        await look(kept, journal, clock)
        assert journal.size == 0


async def test_who_sends_into_a_full_journal_waits_until_something_is_stored(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(keeping, "RESTING_S", 0.0)
    monkeypatch.setattr(keeping, "SETTLE_MS", 0)
    clock = Clock()
    with Journal(tmp_path, most_bytes=100, now_ms=clock) as journal:
        kept = keeper(bench, journal, clock)
        running = asyncio.create_task(kept.run())
        await kept.send(messages(bars("A", DAYS[:10])))
        waits = asyncio.create_task(kept.send(messages(bars("A", DAYS[10:20]))))
        done, _ = await asyncio.wait({waits}, timeout=0.2)
        assert not done

        async def sent() -> bool:
            await read(bench)
            return waits.done()

        await eventually(sent, within_s=20)
        await eventually(lambda: _is_empty(bench, journal), within_s=20)
        running.cancel()
        assert await asyncio.gather(running, return_exceptions=True)
    assert len(await stored(bench)) == 20


async def _is_empty(bench: Bench, journal: Journal) -> bool:
    await read(bench)
    return journal.size == 0


async def test_settling_says_whether_all_is_stored(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "SETTLE_MS", 0)
    clock = Clock()
    with Journal(tmp_path, now_ms=clock) as journal:
        kept = keeper(bench, journal, clock)
        assert await kept.settle(0)
        await kept.send(messages(bars("A", DAYS[:10])))
        assert not await kept.settle(0)
        await read(bench)
        assert await kept.settle(10)


# ---- requests


@dataclass
class Vendor:
    """A source with a history."""

    has: set[int]
    symbols: frozenset[str] | None = None
    asked: list[Request] = field(default_factory=list)
    is_away: bool = False
    knows: bool = True

    name = "vendor"

    def serves(self) -> Serves:
        return Serves(self.symbols, frozenset({"1d"}))

    async def again(self, request: Request) -> Bars | None:
        self.asked.append(request)
        if self.is_away:
            raise Unavailable("closed on Sundays")
        if not self.knows:
            return None
        wanted = [day for day in DAYS if request.first_us <= day <= request.last_us]
        return bars(request.symbol, [day for day in wanted if day in self.has])


async def audit(bench: Bench) -> None:
    auditor = Auditor(bench.pool, calendars.sessions, settle_s=0)
    await auditor.turn()


async def test_bars_deleted_and_bars_lost_come_back(bench: Bench, tmp_path: Path) -> None:
    """By a journal what was sent; by who was asked what the auditor misses."""
    clock, vendor = Clock(), Vendor(set(DAYS))
    with Journal(tmp_path, now_ms=clock) as journal:
        kept = keeper(bench, journal, clock, vendor)
        await kept.send(messages(bars("A", DAYS), bars("B", DAYS), bars("C", DAYS[:100])))
        await read(bench)
        whole = await stored(bench)
        await look(kept, journal, clock)
        gone = [DAYS[50], *DAYS[120:123]]
        await bench.pool.execute("DELETE FROM bars WHERE symbol = 'A' AND ts = ANY($1::timestamptz[])", gone)
        bench.memory.forget({"A"})
        await bench.pool.execute(
            "INSERT INTO symbol_state VALUES ('A', 7, 7) ON CONFLICT (symbol) DO UPDATE SET nonce = 7"
        )
        await audit(bench)
        assert [(g.symbol, g.bars) for g in await gaps.listed(bench.pool)] == [("A", 3), ("A", 1)]
        assert await kept.answer() == 2
        assert {(r.first_us, r.last_us, r.bars) for r in vendor.asked} == {
            (DAYS[50], DAYS[50], 1), (DAYS[120], DAYS[122], 3)
        }  # fmt: skip
        await read(bench)
        assert await stored(bench) == whole
        await audit(bench)
        assert await gaps.listed(bench.pool) == []
        await look(kept, journal, clock)
        assert journal.size == 0


async def test_what_a_vendor_does_not_have_is_no_gap_any_more(bench: Bench, tmp_path: Path) -> None:
    clock, vendor = Clock(), Vendor(set(DAYS) - {DAYS[50]})
    with Journal(tmp_path, now_ms=clock) as journal:
        kept = keeper(bench, journal, clock, vendor)
        await kept.send(messages(bars("A", [day for day in DAYS if day in vendor.has])))
        await read(bench)
        await audit(bench)
        assert len(await gaps.listed(bench.pool)) == 1
        assert await kept.answer() == 1
        assert await gaps.listed(bench.pool) == []
        [gap] = await gaps.listed(bench.pool, gaps.ALL)
        assert (gap.answer, gap.asked_of) == ("nothing", "vendor")
        await audit(bench)
        assert await kept.answer() == 0, "asked once more for what is not there"


@pytest.mark.parametrize("trouble", ["away", "no idea"])
async def test_who_cannot_tell_is_asked_again_later(trouble: str, bench: Bench, tmp_path: Path) -> None:
    clock = Clock()
    vendor = Vendor(set(DAYS), is_away=trouble == "away", knows=trouble == "away")
    with Journal(tmp_path, now_ms=clock) as journal:
        kept = keeper(bench, journal, clock, vendor)
        await kept.send(messages(bars("A", [day for day in DAYS if day != DAYS[50]])))
        await read(bench)
        await audit(bench)
        assert (await kept.answer(), await kept.answer()) == (1, 0)
        vendor.is_away, vendor.knows = False, True
        await bench.pool.execute("UPDATE gaps SET next_ask_at = now()")
        assert await kept.answer() == 1
        await read(bench)
        await audit(bench)
        assert await gaps.listed(bench.pool, gaps.ALL) == []
