"""A source's past: what is missing since the newest bar of each symbol, and what is asked for by others."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

from rollotape.producers.feeds.closing import overlap_us
from rollotape.producers.feeds.outgoing import Outgoing, Place
from rollotape.producers.feeds.said import Known, Said

SYMBOLS_AT_ONCE = 100


class History(Protocol):
    """Where a source keeps its past."""

    def bars(
        self, timeframe: str, symbols: Sequence[str], first_us: int, last_us: int
    ) -> AsyncIterator[list[Said]]:
        """Bars with starts between the two, both included, in parts of any size; also some that still run.

        Raises:
            Unavailable: it does not answer now. Refused: it never will, asked like this.
        """
        ...


class Stored(Protocol):
    """What is stored; `rollotape.postgres.feeds.Stored` is the real one."""

    async def newest(self, symbols: Sequence[str], timeframe: str) -> Mapping[str, int]: ...
    async def known(self, places: Sequence[Place]) -> Mapping[Place, tuple[int, int]]: ...


class CatchUp:
    """Tells what a history has and the stack has not."""

    def __init__(
        self,
        history: History,
        stored: Stored,
        outgoing: Outgoing,
        *,
        since_us: Callable[[str], int],
        now_us: Callable[[], int],
        again: bool = False,
    ) -> None:
        """`since_us` says for a timeframe where a symbol begins that has no bars; with `again`, the first
        time, every symbol begins there."""
        self._history = history
        self._stored = stored
        self._outgoing = outgoing
        self._since_us = since_us
        self._now_us = now_us
        self._again = again
        self._begun: set[str] = set()

    async def run(self, timeframe: str, symbols: Sequence[str]) -> set[str]:
        """Ask for what is missing of every symbol and send it; the symbols that the source told bars of."""
        now_us = self._now_us()
        starts = await self._starts(timeframe, symbols)
        heard: set[str] = set()
        ordered = sorted(symbols, key=lambda symbol: (starts[symbol], symbol))
        for at in range(0, len(ordered), SYMBOLS_AT_ONCE):
            part = ordered[at : at + SYMBOLS_AT_ONCE]
            async for bars in self._history.bars(timeframe, part, starts[part[0]], now_us):
                heard.update(said.symbol for said in bars)
                wanted = [said for said in bars if said.ts_us >= starts.get(said.symbol, now_us)]
                await self._tell(wanted)
        self._begun.add(timeframe)
        return heard

    async def span(self, timeframe: str, symbol: str, first_us: int, last_us: int) -> list[Said]:
        """Closed bars of a span, whatever the stack has."""
        found = [
            said
            async for bars in self._history.bars(timeframe, [symbol], first_us, last_us)
            for said in bars
            if first_us <= said.ts_us <= last_us
        ]
        return self._outgoing.over(found, self._now_us())

    async def _tell(self, bars: Sequence[Said]) -> None:
        over = self._outgoing.over(bars, self._now_us())
        places = [(said.symbol, said.timeframe, said.ts_us) for said in over]
        known = await self._stored.known(places) if places else {}
        await self._outgoing.tell(over, {place: Known(*version) for place, version in known.items()})

    async def _starts(self, timeframe: str, symbols: Sequence[str]) -> dict[str, int]:
        since_us = self._since_us(timeframe)
        if self._again and timeframe not in self._begun:
            return dict.fromkeys(symbols, since_us)
        newest = {symbol: self._outgoing.newest_us(symbol, timeframe) for symbol in symbols}
        unsent = [symbol for symbol, ts_us in newest.items() if ts_us is None]
        newest |= await self._stored.newest(unsent, timeframe) if unsent else {}
        return {
            symbol: since_us if ts_us is None else ts_us - overlap_us(timeframe)
            for symbol, ts_us in newest.items()
        }
