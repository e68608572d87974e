"""What a source says of one bar, and how much its word weighs against what is known of that bar."""

from typing import NamedTuple

from rollotape.domain.bars import content_hash

SECOND_US = 1_000_000
LATEST = 3_600
"""The highest revision that age alone gives a bar."""
BY_HAND = 1_000_000
"""Revisions from here on are a person's: no feed takes them back."""


class Said(NamedTuple):
    """A closed bar, as a source says it."""

    symbol: str
    timeframe: str
    ts_us: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    revision: int
    """The least that it is sent with."""
    is_fixed: bool = False
    """The source numbers its revisions itself."""

    @property
    def key(self) -> tuple[str, str]:
        return self.symbol, self.timeframe

    @property
    def content(self) -> int:
        """The hash that the stream will compare it by."""
        return content_hash(
            float(self.open), float(self.high), float(self.low), float(self.close), float(self.volume), False
        )


class Known(NamedTuple):
    """Of a bar that was sent or is stored."""

    revision: int
    content: int


def weight(end_us: int, said_us: int) -> int:
    """The revision of a bar by when its source said it: seconds after its end, an hour at most.

    So what was said later wins, whichever process heard it, and nothing has to be remembered for that.
    """
    return max(0, min((said_us - end_us) // SECOND_US, LATEST))


def revision(said: Said, known: Known | None) -> int | None:
    """What the bar is to be sent with; None where nothing new is said, or where a hand has corrected it."""
    if known is None:
        return said.revision
    if known.content == said.content or known.revision >= BY_HAND:
        return None
    if said.is_fixed:
        return said.revision if said.revision >= known.revision else None
    return max(said.revision, known.revision + 1)
