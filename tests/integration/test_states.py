"""A pattern or trade of an outside system whose symbol is put right: one state, and told of in order."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest

from detector.patterns import ApplyPatterns
from detector.signals import ApplySignals
from rollotape.domain.patterns import PatternFact
from rollotape.events import FIELD
from rollotape.postgres.patterns import Patterns
from rollotape.postgres.signals import Signals
from rollotape.postgres.states import States
from rollotape.settings import Settings
from rollotape.streams.entries import Entry, Handler
from support.applying import ARRIVED_MS, Bench, open_bench

START = datetime(2020, 1, 6, tzinfo=UTC)
IDS = [str(UUID(int=n, version=4)) for n in range(3)]
OF_BOTH = {"source": "desk", "timeframe": "1d", "pattern_type": "SPRING"}
TRADE = {"event": "opened", "direction": "long", "generated_at": START, "stop": 95.0}
PATTERN = {"event": "detected", "detected_at": START, "confidence": 0.5}


class Interrupted(States):
    """Somebody else comes between gather and apply, once."""

    rival: Callable[[], Awaitable[None]] | None = None

    async def commit(self, winners: Mapping[UUID, PatternFact], *rest: Any) -> Any:
        if self.rival is not None:
            rival, self.rival = self.rival, None
            await rival()
        return await super().commit(winners, *rest)


class InterruptedSignals(Interrupted, Signals):
    pass


class InterruptedPatterns(Interrupted, Patterns):
    pass


class Kind:
    """Trades, or patterns: what of their handling is the same."""

    def __init__(self, bench: Bench, table: str) -> None:
        self.bench, self.table = bench, table
        self._said = OF_BOTH | (TRADE if table == "signals" else PATTERN)

    def handler(self, rival: Callable[[], Awaitable[None]] | None = None) -> Handler:
        store: Interrupted
        if self.table == "signals":
            store = InterruptedSignals(self.bench.pool)
            made: Handler = ApplySignals(store, self.bench.outbox)
        else:
            store = InterruptedPatterns(self.bench.pool)
            made = ApplyPatterns(store, self.bench.outbox)
        store.rival = rival
        return made

    def event(self, symbol: str, revision: int, which: int = 0) -> bytes:
        return orjson.dumps(self._said | {"id": IDS[which], "symbol": symbol, "revision": revision})

    async def tell(self, *events: bytes, rival: Callable[[], Awaitable[None]] | None = None) -> None:
        entries = [Entry(f"{self.table}.0", f"{ARRIVED_MS}-{n}", {FIELD: e}) for n, e in enumerate(events)]
        await self.handler(rival).apply(entries)

    async def stored(self) -> Sequence[tuple[Any, ...]]:
        return await self.bench.rows(f"SELECT symbol, revision FROM {self.table} ORDER BY id")

    async def heard(self) -> list[tuple[str, int]]:
        """Of each id what the greatest version says."""
        newest: dict[str, dict[str, Any]] = {}
        for fact in await self.bench.said("updates"):
            if fact["id"] not in newest or fact["fact_version"] > newest[fact["id"]]["fact_version"]:
                newest[fact["id"]] = fact
        states = (newest[i][self.table.removesuffix("s")] for i in sorted(newest))
        return [(state["symbol"], state.get("revision", 0)) for state in states]


@pytest.fixture(params=["signals", "patterns"])
async def kind(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[Kind]:
    async with open_bench(settings) as bench:
        yield Kind(bench, request.param)


async def test_what_changes_its_symbol_is_told_at_a_greater_version(kind: Kind) -> None:
    for revision in range(5):
        await kind.tell(kind.event("AAPL", revision))
    await kind.tell(kind.event("MSFT", 5))
    assert await kind.stored() == [("MSFT", 5)]
    assert [symbol for symbol, _ in await kind.heard()] == ["MSFT"]
    await kind.tell(kind.event("IBM", 6))
    await kind.tell(kind.event("AAPL", 3))
    assert await kind.stored() == [("IBM", 6)]
    assert [symbol for symbol, _ in await kind.heard()] == ["IBM"]


@pytest.mark.parametrize(("ours", "theirs"), [(2, 1), (1, 2)])
@pytest.mark.parametrize("known", [True, False])
async def test_two_that_name_different_symbols_for_it_at_once_end_in_one_state(
    kind: Kind, known: bool, ours: int, theirs: int
) -> None:
    if known:
        await kind.tell(kind.event("AAPL", 0))

    async def rival() -> None:
        await kind.tell(kind.event("MSFT", theirs))

    await kind.tell(kind.event("IBM", ours), rival=rival)
    winner = ("IBM", 2) if ours == 2 else ("MSFT", 2)
    assert await kind.stored() == [winner]
    assert [symbol for symbol, _ in await kind.heard()] == [winner[0]]


async def test_a_symbol_that_others_of_the_batch_have_does_not_hide_that_it_moved(kind: Kind) -> None:
    """The rival puts it under a symbol that is locked for the sake of another one."""

    async def rival() -> None:
        await kind.tell(kind.event("ZZZ", 1))

    await kind.tell(kind.event("IBM", 2), kind.event("ZZZ", 1, which=1), rival=rival)
    assert await kind.stored() == [("IBM", 2), ("ZZZ", 1)]
    assert [symbol for symbol, _ in await kind.heard()] == ["IBM", "ZZZ"]


async def test_who_is_bringing_bars_of_its_old_symbol_gathers_again(kind: Kind) -> None:
    """It is locked: whatever is decided about the old symbol is decided with or without it, never between."""
    await kind.tell(kind.event("AAPL", 0))
    [before] = await kind.bench.rows("SELECT version FROM symbol_state WHERE symbol = 'AAPL'")
    await kind.tell(kind.event("MSFT", 1))
    [after] = await kind.bench.rows("SELECT version FROM symbol_state WHERE symbol = 'AAPL'")
    assert after > before
