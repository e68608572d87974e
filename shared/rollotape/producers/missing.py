"""What of a file is not stored: the file itself is the journal of its import."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rollotape.domain import bars as domain
from rollotape.domain.analysis import Key
from rollotape.domain.bars import Candidates, Flags
from rollotape.domain.sessions import Sessions
from rollotape.postgres import arrivals, survey
from rollotape.postgres.pool import unavailable
from rollotape.producers.csv import Columns

if TYPE_CHECKING:
    import asyncpg

SERIES_AT_ONCE = 500
_ROW = np.dtype([("series", np.int32), ("ts", np.int64)])


@dataclass(slots=True)
class Tally:
    """Remembers 12 bytes of every bar that was sent and will not be refused."""

    _series: dict[Key, int] = field(default_factory=dict)
    _parts: list[NDArray[Any]] = field(default_factory=list)
    _restated: set[Key] = field(default_factory=set)

    def add(self, columns: Columns, *, without: Collection[int] = ()) -> None:
        """All rows but the lines `without`, which will be refused."""
        bars = columns.bars
        keys = [(symbol, bars.timeframe) for symbol in bars.symbol]
        part = np.empty(len(bars), _ROW)
        part["series"] = [self._series.setdefault(key, len(self._series)) for key in keys]
        part["ts"] = np.rint(np.array(columns.seconds, float) * 1e6)
        self._parts.append(part[~np.isin(columns.lines, list(without))] if without else part)
        self._restated |= set(compress(keys, bars.revision))

    async def short(self, pool: "asyncpg.Pool[Any]") -> set[Key]:
        """Series of which it takes a closer look to say whether all of it is stored.

        As many bars as were sent lie between the first and the last of the others. Of what was restated,
        numbers say nothing.

        Raises:
            Unavailable: PostgreSQL is away.
        """
        sent = np.unique(np.concatenate(self._parts)) if self._parts else np.empty(0, _ROW)
        first = np.unique(sent["series"], return_index=True)[1]
        parts = np.split(sent, first[1:]) if len(sent) else []
        keys = list(self._series)
        spans = [(keys[p["series"][0]], int(p["ts"][0]), int(p["ts"][-1]), len(p)) for p in parts]
        doubtful = set(self._restated)
        for start in range(0, len(spans), SERIES_AT_ONCE):
            some = spans[start : start + SERIES_AT_ONCE]
            with unavailable("postgres"):
                counts = await arrivals.counts(pool, [(*key, since, last) for key, since, last, _ in some])
            doubtful |= {key for (key, _, _, sent), count in zip(some, counts, strict=True) if count != sent}
        return doubtful


class NotStored:
    """Chooses the bars that are not stored, in their version or a greater one; of some series, or of all."""

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        sessions: Callable[[], Sessions],
        series: Collection[Key] | None = None,
    ) -> None:
        self._pool, self._sessions, self._series = pool, sessions, series

    async def only(self, columns: Columns, now_ms: int) -> Columns:
        """Those of them that are valid, too: a row that is refused is never stored.

        Raises:
            Unavailable: PostgreSQL is away.
        """
        bars = columns.bars
        numbers = {name: getattr(bars, name) for name in domain.NUMBERS}
        count = len(bars)
        found = domain.candidates(
            bars.timeframe, bars.symbol, columns.seconds, numbers, bars.revision, [False] * count,
            [now_ms] * count,
        )  # fmt: skip
        wanted = domain.valid(found, self._sessions())
        if self._series is not None:
            wanted &= np.array([(symbol, bars.timeframe) in self._series for symbol in bars.symbol], bool)
        wanted[wanted] = ~await self._held(found.only(wanted))
        chosen = wanted.tolist()
        return Columns(
            bars.only(chosen), list(compress(columns.lines, chosen)), list(compress(columns.seconds, chosen))
        )

    async def _held(self, found: Candidates) -> Flags:
        rows, count = domain.complete(found, self._sessions()), len(found)
        with unavailable("postgres"):
            held = await survey.bars(
                self._pool, found.symbols, [found.timeframe] * count, rows["ts"].tolist()
            )
        said = zip(*(rows[name].tolist() for name in ("revision", "synthetic", "hash")), strict=True)
        flags = np.zeros(count, bool)
        for i, (revision, synthetic, content) in enumerate(said):
            if i in held:
                stored_revision, stored_synthetic, stored_content = held[i]
                sent_rank = revision, not synthetic, content
                flags[i] = sent_rank <= (stored_revision, not stored_synthetic, stored_content)
        return flags
