"""Detections against labels: how many are right, how many are found, how late, and what was seen in nothing.

A detection and a label belong together when symbol, timeframe, side and kind are the same and their bars are
at most `tolerance` bars apart; one to one, so that two detections never share a label. Of all such pairings
that one counts which has the most pairs, and among those the least bars between them.
"""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rollotape.simulation.series import ACCUMULATION, DISTRIBUTION, MIRROR, Series

TOLERANCE_BARS = 3
PATTERNS = ("SPRING", "UTAD", "SOS", "SOW", "LPS", "LPSY")
"""Kinds on which somebody would trade: where they are seen in nothing, it costs money."""
BOTH = "both"


@dataclass(frozen=True, slots=True)
class Detection:
    """What a detector says of one symbol's bars; times in microseconds since 1970."""

    side: str
    kind: str
    event_us: int
    confirmed_us: int


Detect = Callable[[Series], Iterable[Detection]]
"""A detector as scoring sees it: the bars of one series in, everything that it marks in them out."""


@dataclass(frozen=True, slots=True)
class KindScore:
    """One kind on one side; shares are None where they are shares of nothing."""

    side: str
    kind: str
    labels: int
    detections: int
    matched: int
    precision: float | None
    recall: float | None
    f1: float | None
    delay_median_bars: float | None
    """From the event to its confirmation, of the matched."""
    delay_p90_bars: int | None


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """Patterns on series in which there is nothing."""

    series: int
    bars: int
    alarms: int
    per_1000_bars: float | None
    by_kind: dict[str, int]


@dataclass(frozen=True, slots=True)
class Score:
    tolerance_bars: int
    series: int
    bars: int
    kinds: list[KindScore]
    false_alarms: FalseAlarms
    false_alarms_by_series_kind: dict[str, FalseAlarms]


class Misplaced(ValueError):
    """A detection names a bar that the series does not have."""


@dataclass(slots=True)
class _Count:
    labels: int = 0
    detections: int = 0
    delays: list[int] = field(default_factory=list)
    """One per match."""

    def plus(self, other: "_Count") -> "_Count":
        return _Count(
            self.labels + other.labels, self.detections + other.detections, self.delays + other.delays
        )


@dataclass(slots=True)
class _Nothing:
    """What was seen on series without events."""

    series: int = 0
    bars: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def plus(self, other: "_Nothing") -> "_Nothing":
        return _Nothing(self.series + other.series, self.bars + other.bars, self.seen + other.seen)


class Scoring:
    """Takes one series after the other; what it says does not depend on their order."""

    def __init__(self, tolerance_bars: int = TOLERANCE_BARS) -> None:
        self._tolerance = tolerance_bars
        self._counts: dict[tuple[str, str], _Count] = defaultdict(_Count)
        self._nothing: dict[str, _Nothing] = defaultdict(_Nothing)
        self._series = self._bars = 0

    def add(self, series: Series, detections: Iterable[Detection]) -> None:
        """All that was detected on a series, against all that is there.

        Raises:
            Misplaced: a detection names a bar that the series does not have.
        """
        bar = {int(us): i for i, us in enumerate(series.ts.tolist())}
        labels: dict[tuple[str, str], list[int]] = defaultdict(list)
        for label in series.labels:
            labels[label.side, label.kind].append(bar[label.event_us])
        found: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for one in detections:
            if one.event_us not in bar or one.confirmed_us not in bar:
                raise Misplaced(f"{series.symbol} has no {series.timeframe} bar at the time of a {one.kind}")
            found[one.side, one.kind].append((bar[one.event_us], bar[one.confirmed_us]))
        for key in labels.keys() | found.keys():
            self._compare(self._counts[key], sorted(labels[key]), sorted(found[key]))
        self._series += 1
        self._bars += len(series)
        if series.is_event_free:
            seen = Counter({kind: len(bars) for (_, kind), bars in found.items() if kind in PATTERNS})
            self._nothing[series.kind] = self._nothing[series.kind].plus(_Nothing(1, len(series), seen))

    def _compare(self, count: _Count, labels: list[int], found: list[tuple[int, int]]) -> None:
        count.labels += len(labels)
        count.detections += len(found)
        for _, at in matches(labels, [event for event, _ in found], self._tolerance):
            event, confirmed = found[at]
            count.delays.append(confirmed - event)

    def score(self) -> Score:
        nothing = _Nothing()
        for part in self._nothing.values():
            nothing = nothing.plus(part)
        return Score(
            self._tolerance,
            self._series,
            self._bars,
            [_kind_score(side, kind, self._of(side, kind)) for side, kind in _rows()],
            _alarms(nothing),
            {kind: _alarms(part) for kind, part in sorted(self._nothing.items())},
        )

    def _of(self, side: str, kind: str) -> _Count:
        if side != BOTH:
            return self._counts[side, kind]
        return self._counts[ACCUMULATION, kind].plus(self._counts[DISTRIBUTION, kind])


def score(market: Iterable[Series], detect: Detect, tolerance_bars: int = TOLERANCE_BARS) -> Score:
    """A detector on a market."""
    scoring = Scoring(tolerance_bars)
    for series in market:
        scoring.add(series, detect(series))
    return scoring.score()


def matches(labels: Sequence[int], detections: Sequence[int], tolerance: int) -> list[tuple[int, int]]:
    """Indexes of labels and detections that belong together; both sequences in the order of their bars.

    Crossing pairs never gain anything on a line, so the best pairing is found by looking at beginnings:
    `best[i][j]` is (pairs, minus bars between) for the first i labels and the first j detections.
    """
    best = [[(0, 0)] * (len(detections) + 1) for _ in range(len(labels) + 1)]
    for i, label in enumerate(labels, 1):
        for j, detection in enumerate(detections, 1):
            best[i][j] = max(best[i - 1][j], best[i][j - 1])
            apart = abs(label - detection)
            if apart <= tolerance:
                pairs, nearness = best[i - 1][j - 1]
                best[i][j] = max(best[i][j], (pairs + 1, nearness - apart))
    return _pairs(best, len(labels), len(detections))


def _pairs(best: list[list[tuple[int, int]]], i: int, j: int) -> list[tuple[int, int]]:
    found = []
    while i and j:
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            found.append((i, j))
    return found[::-1]


def _rows() -> list[tuple[str, str]]:
    """In the order of a chart; what both sides call alike also together."""
    rows = [(ACCUMULATION, kind) for kind in MIRROR] + [(DISTRIBUTION, kind) for kind in MIRROR.values()]
    return rows + [(BOTH, kind) for kind, mirrored in MIRROR.items() if kind == mirrored]


def _kind_score(side: str, kind: str, count: _Count) -> KindScore:
    matched, delays = len(count.delays), sorted(count.delays)
    both = count.labels + count.detections
    return KindScore(
        side, kind, count.labels, count.detections, matched,
        precision=_share(matched, count.detections),
        recall=_share(matched, count.labels),
        f1=_share(2 * matched, both),
        delay_median_bars=float(statistics.median(delays)) if delays else None,
        delay_p90_bars=delays[math.ceil(0.9 * matched) - 1] if delays else None,
    )  # fmt: skip


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _alarms(nothing: _Nothing) -> FalseAlarms:
    alarms = nothing.seen.total()
    per_1000 = 1_000 * alarms / nothing.bars if nothing.bars else None
    by_kind = {kind: nothing.seen[kind] for kind in PATTERNS}
    return FalseAlarms(nothing.series, nothing.bars, alarms, per_1000, by_kind)
