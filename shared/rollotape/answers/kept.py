"""The shapes of answers about what users keep."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from rollotape.answers.shape import Shape


class Owned(Shape):
    """What is said of everything that users keep."""

    id: UUID
    name: str
    version: int = Field(description="Counts its changes; `ETag` says it, too.")
    created_at: datetime
    changed_at: datetime


class WatchlistItem(Owned):
    symbols: list[str] = Field(description="In the order in which they were given.")
    symbol_count: int


class WatchlistAnswer(WatchlistItem):
    unknown_symbols: list[str] = Field(
        description="Those without a bar here, of which nobody said what they are."
    )


class WatchlistsAnswer(Shape):
    watchlists: list[WatchlistItem]
    next_page_token: str | None = Field(description="Null on the last page.")


class SavedScanAnswer(Owned):
    filters: dict[str, Any] = Field(description="Those alone that were given.")


class SavedScansAnswer(Shape):
    saved_scans: list[SavedScanAnswer]
    next_page_token: str | None = Field(description="Null on the last page.")
