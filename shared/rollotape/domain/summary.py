"""How many active patterns there are of each kind: counted in columns, never one after the other."""

from dataclasses import dataclass

import numpy as np

from rollotape.domain.scan import Mask, Table, Words

HIGH_CONFIDENCE = 0.8
"""From here on, included, a confidence is called high."""
GROUPS = ("pattern_type", "phase", "sector", "side", "timeframe")

Counts = dict[str | None, int]
"""By name; None are those of which nobody knows it."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of patterns that have not expired."""

    total: int
    by: dict[str, Counts]
    """By each of `GROUPS`, most first; together each of them is `total`."""
    symbols: int
    """Different ones."""
    top_types: list[tuple[str, int]]
    top_symbols: list[tuple[str, int]]
    high_confidence: int
    new: int
    """Detected after `since_us` and up to `now_us`."""


def summarise(table: Table, *, now_us: int, since_us: int, most: int) -> Summary:
    """Counts as of `now_us`; of types and symbols the `most` frequent, equals in alphabetical order."""
    alive: Mask = table.expires_at > now_us
    by = {name: _counts(getattr(table, name), alive) for name in GROUPS}
    symbols = _counts(table.symbol, alive)
    new = alive & (table.detected_at > since_us) & (table.detected_at <= now_us)
    return Summary(
        total=int(np.count_nonzero(alive)),
        by=by,
        symbols=len(symbols),
        top_types=_first(by["pattern_type"], most),
        top_symbols=_first(symbols, most),
        high_confidence=int(np.count_nonzero(alive & (table.confidence >= HIGH_CONFIDENCE))),
        new=int(np.count_nonzero(new)),
    )


def _counts(words: Words, alive: Mask) -> Counts:
    """Names that occur, most first; equals by name, and the unknown after all of them."""
    names: tuple[str | None, ...] = (*words.names, None)
    codes = words.codes[alive]
    found = np.bincount(np.where(codes < 0, len(words.names), codes), minlength=len(names))
    there = [i for i in np.argsort(-found, kind="stable").tolist() if found[i]]
    there.sort(key=lambda i: names[i] is None)
    return {names[i]: int(found[i]) for i in there}


def _first(counts: Counts, most: int) -> list[tuple[str, int]]:
    named = [(name, count) for name, count in counts.items() if name is not None]
    return named[:most]
