"""Windows kept in memory, each valid for one version of its symbol only."""

from collections.abc import Iterable, Mapping

import numpy as np

from rollotape.domain.analysis import FOREVER, Key, Window
from rollotape.domain.bars import BAR
from rollotape.postgres.versions import UNKNOWN, Version

_SHORT = 256
_NOTHING = Window(np.empty(0, BAR))
"""All that is stored of a symbol never stored."""


class Memory:
    """Windows by symbol, for speed alone: forgetting any of it at any time changes no answer."""

    def __init__(self, budget_bars: int) -> None:
        self._budget = budget_bars
        self._symbols: dict[str, tuple[Version, dict[str, Window]]] = {}  # the least recently used first
        self._bars = 0

    def __len__(self) -> int:
        """Bars held."""
        return self._bars

    def recall(self, key: Key, version: Version, first: int, last: int) -> Window | None:
        """A window of this version that covers bars from `first` to `last`."""
        symbol, timeframe = key
        if version == UNKNOWN:
            return _NOTHING
        held_version, held = self._symbols.get(symbol, (UNKNOWN, {}))
        window = held.get(timeframe) if held_version == version else None
        return window if window is not None and window.covers(first, last) else None

    def keep(
        self, windows: Mapping[Key, Window], before: Mapping[str, Version], after: Mapping[str, Version]
    ) -> None:
        """Remember windows once the commit that moved their symbols to the next version is acknowledged.

        A symbol that was not changed has the same version before and after. Of one that was, the other
        timeframes stay valid: a commit changes only those it has windows of.
        """
        for (symbol, timeframe), window in windows.items():
            if symbol not in after:
                continue  # never stored, and nothing of it was
            version, held = self._symbols.pop(symbol, (UNKNOWN, {}))
            self._bars -= sum(len(w.bars) for w in held.values())
            if version not in (before.get(symbol, UNKNOWN), after[symbol]):
                held = {}
            held = held | {timeframe: window} if window.until == FOREVER else _without(held, timeframe)
            self._symbols[symbol] = after[symbol], held
            self._bars += sum(len(w.bars) for w in held.values())
        if self._bars > self._budget:
            self._shrink()

    def forget(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            _, held = self._symbols.pop(symbol, (UNKNOWN, {}))
            self._bars -= sum(len(w.bars) for w in held.values())

    def _shrink(self) -> None:
        """Cut long windows to their newest bars; only if that is not enough, forget the least recently used.

        Forgetting alone would, with more symbols than memory, always drop the one that is needed next.
        """
        for symbol, (version, held) in self._symbols.items():
            self._symbols[symbol] = version, {t: _newest(w) for t, w in held.items()}
        self._bars = sum(len(w.bars) for _, held in self._symbols.values() for w in held.values())
        while self._bars > self._budget:
            self.forget([next(iter(self._symbols))])


def _without(held: dict[str, Window], timeframe: str) -> dict[str, Window]:
    return {t: w for t, w in held.items() if t != timeframe}


def _newest(window: Window) -> Window:
    if len(window.bars) <= _SHORT:
        return window
    bars = window.bars[-_SHORT // 2 :].copy()
    return Window(bars, since=int(bars["ts"][0]))
