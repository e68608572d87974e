"""How a feed is doing, for those who watch it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Standing:
    """Counts since the start, and where the feed is."""

    phase: str = "starting"
    """starting, waiting, connecting, catching up, live, reconnecting."""
    sent: int = 0
    restated: int = 0
    """Of those sent, bars that were known with other numbers."""
    same: int = 0
    """Bars that were said again as they are known."""
    left: int = 0
    """Bars that differ from what a hand has corrected, and are left alone."""
    newest_us: int | None = None
    """Start of the newest bar sent."""
    interruptions: int = 0


class Watcher(Protocol):
    """Hears what happens: a sentence for a person, an event and its fields for a log."""

    def happened(self, event: str, sentence: str, **fields: object) -> None: ...
    def stands(self, standing: Standing) -> None: ...
