"""What a feed with a history answers when somebody misses bars."""

from collections.abc import Collection

from rollotape.producers.feeds.history import CatchUp
from rollotape.producers.feeds.outgoing import columns
from rollotape.producers.frames import Bars
from rollotape.producers.keeper import Request, Serves


class AskedAgain:
    """`producers.keeper.Source` of a history."""

    def __init__(
        self, name: str, catch_up: CatchUp, symbols: Collection[str], timeframes: Collection[str]
    ) -> None:
        self.name = name
        self._catch_up = catch_up
        self._serves = Serves(frozenset(symbols), frozenset(timeframes))

    def serves(self) -> Serves:
        return self._serves

    async def again(self, request: Request) -> Bars:
        """What the history has of the span: nothing, where nothing traded."""
        bars = await self._catch_up.span(request.timeframe, request.symbol, request.first_us, request.last_us)
        return columns(request.timeframe, bars)
