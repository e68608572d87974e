"""Where states are kept, and how far a late or restated bar makes the fold run again."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.wyckoff.facts import Fact
from rollotape.domain.wyckoff.fold import Checkpoint, Fold, Key
from rollotape.domain.wyckoff.rules import REACH
from rollotape.domain.wyckoff.state import EMPTY, State
from rollotape.domain.wyckoff.tape import Tape

BLOCK_BARS = 64
"""A checkpoint stands after the first analysed bar of every block of this many bars' time."""


def due(timeframe: str, tape: Tape) -> list[int]:
    """Positions from the tape's start on that have a checkpoint: a matter of bars, not of how they came."""
    length = BLOCK_BARS * TIMEFRAMES[timeframe].length_us
    first = max(tape.start - 1, 0)
    block = tape.bars["ts"][first:] // length
    begins: list[int] = (np.flatnonzero(block[1:] != block[:-1]) + first + 1).tolist()
    return [0, *begins] if tape.start == 0 and len(tape) else begins


@dataclass(frozen=True, slots=True)
class Refolded:
    """What takes the place of all facts and checkpoints after `since` and up to `until` (`ts` of bars)."""

    since: int | None
    """None: from the first bar on."""
    until: int
    facts: list[Fact]
    checkpoints: list[Checkpoint]
    state: State | None
    """After the last bar of the tape; None where a stored state was met before, so that the old one holds."""


def refold(
    key: Key,
    tape: Tape,
    before: Checkpoint | None,
    stored: Mapping[int, State],
    last_changed: int,
) -> Refolded:
    """Fold from a checkpoint on, until the state is the stored one and no changed bar is in reach.

    Args:
        tape: starts after `before`, with its first bar where there is none, and goes on to the newest bar.
        before: the last checkpoint older than the first changed bar; None where there is none.
        stored: the checkpoints after it, by `ts`, as they were before the change.
        last_changed: `ts` of the newest bar that changed; it may have been the newest of all.
    """
    ts = tape.bars["ts"]
    settled = int(np.searchsorted(ts, last_changed, side="right")) - 1 + REACH
    fold = Fold(key, EMPTY if before is None else before.state, tape)
    since = None if before is None else before.ts
    kept = []
    for position in due(key[1], tape):
        kept.append(fold.to(position))
        if position >= settled and stored.get(kept[-1].ts) == kept[-1].state:
            return Refolded(since, kept[-1].ts, fold.facts(), kept, None)
    if fold.reached < len(tape):
        fold.to(len(tape) - 1)
    return Refolded(since, int(ts[-1]), fold.facts(), kept, fold.state)
