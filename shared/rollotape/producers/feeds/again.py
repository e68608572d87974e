"""What a feed with a history answers when somebody misses bars."""

from collections.abc import Callable, Collection

from rollotape.errors import Refused
from rollotape.producers.feeds.history import CatchUp
from rollotape.producers.feeds.outgoing import columns
from rollotape.producers.frames import Bars
from rollotape.producers.keeper import Request, Serves


class AskedAgain:
    """`producers.keeper.Source` of a history."""

    def __init__(
        self,
        name: str,
        catch_up: CatchUp,
        symbols: Collection[str],
        timeframes: Collection[str],
        *,
        tells: Callable[[Request], bool] = lambda _: True,
    ) -> None:
        """`tells` says, after it was asked, whether no bars of a span mean that nothing traded."""
        self.name = name
        self._catch_up = catch_up
        self._serves = Serves(frozenset(symbols), frozenset(timeframes))
        self._tells = tells

    def serves(self) -> Serves:
        return self._serves

    async def again(self, request: Request) -> Bars | None:
        """What the history has of the span; nothing where nothing traded, None where it cannot tell."""
        span = (request.timeframe, request.symbol, request.first_us, request.last_us)
        try:
            bars = await self._catch_up.span(*span)
        except Refused:
            return None
        return columns(request.timeframe, bars) if bars or self._tells(request) else None
