"""The shapes of answers about the whole: summaries, health, performance, the dashboard, universes."""

from datetime import datetime
from typing import Any

from pydantic import Field

from api_gateway.answers import Shape


def example(said: dict[str, Any]) -> dict[str, Any]:
    """Content of a good answer with an example of it."""
    return {"application/json": {"example": said}}


# ---- patterns/summary


class Count(Shape):
    name: str
    count: int


class Group(Shape):
    name: str | None = Field(description="Null: those of which nobody knows it.")
    count: int


class Groups(Shape):
    """Most first, then by name; null last. Together each list is `total`."""

    pattern_type: list[Group]
    phase: list[Group]
    sector: list[Group]
    side: list[Group]
    timeframe: list[Group]


class HighConfidence(Shape):
    at_least: float
    count: int


class NewOnes(Shape):
    window: str
    since: datetime = Field(description="The whole minute at which the window begins.")
    count: int = Field(description="Detected after `since`, and active still.")


class SummaryAnswer(Shape):
    total: int = Field(description="Active patterns, whatever their confidence.")
    symbols: int = Field(description="Different ones among them.")
    by: Groups
    top_types: list[Count]
    top_symbols: list[Count]
    high_confidence: HighConfidence
    new: NewOnes
    as_of: datetime = Field(description="When the database was read for the newest change.")
    stale: bool = Field(description="True when nobody has looked for newer patterns lately.")


SUMMARY = {
    "total": 3,
    "symbols": 2,
    "by": {
        "pattern_type": [{"name": "SPRING", "count": 2}, {"name": "SOS", "count": 1}],
        "phase": [{"name": "C", "count": 2}, {"name": "D", "count": 1}],
        "sector": [{"name": "Energy", "count": 2}, {"name": None, "count": 1}],
        "side": [{"name": "accumulation", "count": 3}],
        "timeframe": [{"name": "1d", "count": 3}],
    },
    "top_types": [{"name": "SPRING", "count": 2}, {"name": "SOS", "count": 1}],
    "top_symbols": [{"name": "XOM", "count": 2}, {"name": "ACME", "count": 1}],
    "high_confidence": {"at_least": 0.8, "count": 1},
    "new": {"window": "24h", "since": "2026-01-04T15:30:00Z", "count": 1},
    "as_of": "2026-01-05T15:29:58.120000Z",
    "stale": False,
}
