"""The shapes of answers about what users keep, for OpenAPI alone."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from api_gateway.answers import Shape
from api_gateway.bodies import ScanFilters


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
    filters: ScanFilters = Field(description="Those alone that were given.")


class SavedScansAnswer(Shape):
    saved_scans: list[SavedScanAnswer]
    next_page_token: str | None = Field(description="Null on the last page.")
