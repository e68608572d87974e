"""Counts of volume-spread events on patterns, taken again from what the bars give."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import orjson

from rollotape.domain.analysis import Key
from rollotape.domain.sessions import DAY_US
from rollotape.postgres.sql import queries
from rollotape.verification import Difference
from rollotape.verification.tape import Tape

LOOKBACK_US = 30 * DAY_US
KINDS = ("no_demand", "no_supply", "stopping_volume")
COLUMNS = {"vsa_events": "seed-1", "vsa_events_classic": "classic-1"}


class StoredPattern(NamedTuple):
    id: UUID
    detected_at: int
    vsa_events: str | None
    vsa_events_classic: str | None
    own: bool


async def read(connection: Any, key: Key) -> list[StoredPattern]:
    """Needs a connection with `raw_times`."""
    return [StoredPattern(*r) for r in await connection.fetch(queries("verify")["patterns"], *key)]


def differences(tape: Tape, stored: Sequence[StoredPattern]) -> Iterator[Difference]:
    for pattern in stored:
        for column, rule_set in COLUMNS.items():
            text = getattr(pattern, column)
            counts = None if text is None else orjson.loads(text)
            expected = _counts(tape, rule_set, pattern.detected_at)
            if counts != expected:
                yield Difference("patterns", f"{pattern.id} {column}", str(counts), str(expected))


def _counts(tape: Tape, rule_set: str, detected_at: int) -> dict[str, int] | None:
    """None when the newest analysed bar known at the detection cannot be judged, or there is none."""
    [known] = np.nonzero((tape.bars["end_ts"] <= detected_at) & (tape.evaluable >= 0))
    if not len(known) or not tape.evaluable[known[-1]]:
        return None
    within = Counter(
        e.kind
        for e in tape.expected
        if e.rule_set == rule_set and detected_at - LOOKBACK_US < e.knowable_at <= detected_at
    )
    return {kind: within[kind] for kind in KINDS}
