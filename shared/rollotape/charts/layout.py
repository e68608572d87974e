"""Where everything of a picture goes, in pixels from its lower left corner; nothing is drawn here."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import ceil, floor, log, log10

from rollotape.charts.content import Bar, Box, Content, Mark

LETTER_WIDTH, LETTER_HEIGHT = 8.6, 11.0
"""Of a letter in the size in which events are written."""
SMALL = 0.72
"""Size of everything else."""
GAP = 5.0
"""Between a bar and what is written at it, and between two words."""
LEADER = 9.0
"""A word further from its bar than this is tied to it by a line."""
LEFT, RIGHT, TOP, BOTTOM = 8.0, 58.0, 30.0, 24.0
VOLUME_SHARE = 0.17
ROOM = 0.16
"""Of the height of prices, over the highest and under the lowest: for words."""
DATE_EVERY, PRICE_EVERY = 90.0, 46.0
BODY_SHARE = 0.66
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Rect:
    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: "Rect") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )


@dataclass(frozen=True, slots=True)
class Word:
    """A text in the middle of its place; `tip` is the point of the bar that it is about, where it is far."""

    text: str
    place: Rect
    mark: Mark
    tip: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """From bars and prices to pixels; prices are logarithmic, as the rules see them."""

    width: float
    height: float
    count: int
    lowest: float
    highest: float
    loudest: float

    @property
    def step(self) -> float:
        return (self.width - LEFT - RIGHT) / self.count

    @property
    def floor(self) -> float:
        """Where prices begin, above the volumes."""
        return BOTTOM + VOLUME_SHARE * (self.height - TOP - BOTTOM)

    @property
    def ceiling(self) -> float:
        return self.height - TOP

    def x(self, at: float) -> float:
        """The middle of a bar."""
        return LEFT + (at + 0.5) * self.step

    def y(self, price: float) -> float:
        span = (self.ceiling - self.floor) * (1 - 2 * ROOM)
        share = (log(price) - log(self.lowest)) / max(log(self.highest) - log(self.lowest), 1e-12)
        return self.floor + (self.ceiling - self.floor) * ROOM + share * span

    def volume(self, value: float) -> float:
        return BOTTOM + (self.floor - BOTTOM) * 0.92 * (value / self.loudest if self.loudest else 0.0)

    def price(self, y: float) -> float:
        """The price at a height."""
        low, high = self.y(self.lowest), self.y(self.highest)
        ratio = self.highest / self.lowest
        price: float = self.lowest * ratio ** ((y - low) / max(high - low, 1e-12))
        return price


@dataclass(frozen=True)
class Layout:
    """A picture of `content`, ready to be drawn."""

    content: Content
    width: float = 1200.0
    height: float = 640.0

    @cached_property
    def frame(self) -> Frame:
        bars = self.content.bars
        lowest, highest = min(b.low for b in bars), max(b.high for b in bars)
        if lowest == highest:
            lowest, highest = lowest * 0.99, highest * 1.01
        return Frame(self.width, self.height, len(bars), lowest, highest, max(b.volume for b in bars))

    @cached_property
    def words(self) -> list[Word]:
        """Events and their places, then volume-spread events in what is left."""
        taken = [place for _, place, _ in self.phases]
        words = place(self.content.marks, self.content.bars, self.frame, 1.0, taken)
        taken += [word.place for word in words]
        return words + place(self.content.dots, self.content.bars, self.frame, SMALL, taken)

    @cached_property
    def phases(self) -> list[tuple[str, Rect, Box]]:
        """The letter of every phase along the edge of its range, where there is room for it."""
        return [found for box in self.content.boxes for found in _phases(box, self.frame)]

    def outline(self, box: Box) -> Rect:
        """The place of a range, cut off where the picture ends."""
        first, last = max(box.first, 0), min(box.last, self.frame.count - 1)
        clip = (self.frame.lowest, self.frame.highest)
        low, high = (min(max(p, clip[0] * 0.98), clip[1] * 1.02) for p in (box.low, box.high))
        half = self.frame.step / 2
        return Rect(
            self.frame.x(first) - half, self.frame.y(low), self.frame.x(last) + half, self.frame.y(high)
        )

    @cached_property
    def dates(self) -> list[tuple[float, str]]:
        return list(_dates(self.content, self.frame))

    @cached_property
    def prices(self) -> list[tuple[float, str]]:
        return list(_prices(self.frame))


def size(text: str, scale: float) -> tuple[float, float]:
    return scale * LETTER_WIDTH * len(text) + 2, scale * LETTER_HEIGHT


def place(
    marks: Iterable[Mark], bars: Sequence[Bar], frame: Frame, scale: float, taken: Sequence[Rect] = ()
) -> list[Word]:
    """A place for every mark: off the bars in its width, off other words, as near to its bar as there is one.

    Words go outwards from their bar, marks in the order of their bars; one that would leave the picture stays
    at its edge.
    """
    used, words = list(taken), []
    for mark in sorted(marks, key=lambda m: (m.at, m.text)):
        width, height = size(mark.text, scale)
        middle = min(max(frame.x(mark.at), LEFT + width / 2), frame.width - RIGHT - width / 2)
        start = _beside(mark, bars, frame, middle, (width, height))
        wished = Rect(middle - width / 2, start, middle + width / 2, start + height)
        spot = _free(wished, mark.below, used, frame)
        used.append(spot)
        words.append(Word(mark.text, spot, mark, _tip(mark, bars, frame, spot)))
    return words


def _beside(
    mark: Mark, bars: Sequence[Bar], frame: Frame, middle: float, extent: tuple[float, float]
) -> float:
    """The lower edge of a word next to all bars over or under which it stands."""
    width, height = extent
    first = max(0, floor((middle - width / 2 - LEFT) / frame.step))
    last = min(len(bars), ceil((middle + width / 2 - LEFT) / frame.step))
    beneath = bars[first:last] or [bars[mark.at]]
    if mark.below:
        return frame.y(min(b.low for b in beneath)) - GAP - height
    return frame.y(max(b.high for b in beneath)) + GAP


def _free(spot: Rect, below: bool, used: Sequence[Rect], frame: Frame) -> Rect:
    height = spot.top - spot.bottom
    while hit := next((other for other in used if spot.overlaps(other)), None):
        bottom = hit.bottom - height - 1 if below else hit.top + 1
        if not frame.floor <= bottom <= frame.ceiling - height:
            break  # the edge is better than nowhere
        spot = Rect(spot.left, bottom, spot.right, bottom + height)
    bottom = min(max(spot.bottom, frame.floor), frame.ceiling - height)
    return Rect(spot.left, bottom, spot.right, bottom + height)


def _tip(mark: Mark, bars: Sequence[Bar], frame: Frame, spot: Rect) -> tuple[float, float] | None:
    bar = bars[mark.at]
    if mark.below:
        tip, far = frame.y(bar.low), frame.y(bar.low) - spot.top > LEADER
    else:
        tip, far = frame.y(bar.high), spot.bottom - frame.y(bar.high) > LEADER
    return (frame.x(mark.at), tip) if far else None


def _phases(box: Box, frame: Frame) -> Iterator[tuple[str, Rect, Box]]:
    """Under the upper edge: a letter between the bar of its phase and that of the next one."""
    ends = [*(at - 1 for _, at in box.phases[1:]), box.last]
    width, height = size("A", SMALL)
    edge = frame.y(min(max(box.high, frame.lowest), frame.highest))
    for (name, at), end in zip(box.phases, ends, strict=True):
        first, last = max(at, 0), min(end, frame.count - 1)
        left = frame.x(first) - frame.step / 2
        if first > last or frame.x(last) + frame.step / 2 - left < width:
            continue
        yield name, Rect(left + 1, edge - height - 2, left + 1 + width, edge - 2), box


def _dates(content: Content, frame: Frame) -> Iterator[tuple[float, str]]:
    """A date at the first bar of a month (or day) wherever the last one is far enough."""
    last, before = -DATE_EVERY, ""
    for at, bar in enumerate(content.bars):
        when = _EPOCH + timedelta(microseconds=bar.ts)
        group = f"{when:%Y-%m}" if content.is_daily else f"{when:%Y-%m-%d}"
        text = f"{when:%Y-%m-%d}" if content.is_daily else f"{when:%m-%d %H:%M}"
        x = frame.x(at)
        inside = DATE_EVERY / 3 <= x <= frame.width - RIGHT - DATE_EVERY / 3
        fits = inside and x - last >= DATE_EVERY
        if fits and (group != before or x - last >= 2 * DATE_EVERY):
            yield x, text
            last = x
        before = group


def _prices(frame: Frame) -> Iterator[tuple[float, str]]:
    """Round prices, about `PRICE_EVERY` pixels apart."""
    low, high = frame.price(frame.floor), frame.price(frame.ceiling)
    steps = max(2.0, (frame.ceiling - frame.floor) / PRICE_EVERY)
    raw = (high - low) / steps
    unit = 10.0 ** floor(log10(raw))
    step = next(unit * r for r in _ROUND if unit * r >= raw)
    digits = max(0, -floor(log10(step) - 1e-9)) + (step / unit == 2.5)
    for n in range(ceil(low / step), floor(high / step) + 1):
        if n > 0 and frame.floor <= frame.y(n * step) <= frame.ceiling - 4:
            yield frame.y(n * step), f"{n * step:.{digits}f}"
