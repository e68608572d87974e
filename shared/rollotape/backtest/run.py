"""A backtest from bars to its document, symbol by symbol."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from rollotape.backtest.chance import Chance, calendar
from rollotape.backtest.report import Asked, Found
from rollotape.backtest.trades import history
from rollotape.domain.bars import Rows
from rollotape.domain.sessions import Sessions

Source = AsyncIterator[tuple[str, Rows]]
Progress = Callable[[int, str], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Extent:
    """Of the bars of a market, known before they are read."""

    symbols: int
    first_us: int
    last_us: int


async def run(
    asked: Asked,
    extent: Extent,
    source: Source,
    sectors: Mapping[str, str],
    sessions: Sessions,
    progress: Progress,
) -> tuple[Found, Chance | None]:
    """Every symbol through the rules; `progress` hears how many are done, and the name of the last one."""
    found = Found(first_us=extent.first_us, last_us=extent.last_us)
    chance = None
    if asked.turns:
        turning = calendar(asked.timeframe, extent.first_us, extent.last_us, sessions, asked.since_us)
        chance = Chance.seeded(turning, asked.turns, asked.seed)
    async for symbol, bars in source:
        if len(bars):
            whole = history(
                symbol, asked.timeframe, bars, asked.rules, sessions,
                sector=sectors.get(symbol), since_us=asked.since_us,
            )  # fmt: skip
            found.followed += whole.followed
            found.events += whole.events
            if chance is not None:
                chance.add(whole.tape, whole.followed)
        found.symbols += 1
        found.bars += len(bars)
        await progress(found.symbols, symbol)
    return found, chance
