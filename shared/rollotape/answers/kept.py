"""The shapes of answers about what users keep."""

from datetime import datetime
from typing import Any, Literal
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


class WebhookItem(Owned):
    url: str
    events: list[str]
    symbols: list[str] | None = Field(description="Null: it is told of all.")
    state: Literal["new", "active", "failing", "disabled"] = Field(
        description="new: nothing was sent yet. failing: the last attempts went wrong. disabled: nothing is "
        "sent until you replace it."
    )
    last_at: datetime | None = Field(description="Of the last attempt.")
    last_status: int | None = Field(description="Of the answer to it; null where nobody answered.")
    last_error: str | None = Field(description="What went wrong then.")
    failing_since: datetime | None
    disabled_at: datetime | None
    dropped: int = Field(description="Facts that were not told, because 1,000 were waiting.")


class WebhookAnswer(WebhookItem):
    secret: str | None = Field(description="The key of the signatures; where it is made, and never again.")


class WebhooksAnswer(Shape):
    webhooks: list[WebhookItem]
    next_page_token: str | None = Field(description="Null on the last page.")


class DeliveryItem(Shape):
    id: int
    type: str
    fact_id: str
    fact_version: int
    status: Literal["waiting", "delivered", "failed", "dropped"] = Field(
        description="failed: given up after a day. dropped: the webhook was disabled."
    )
    attempts: int
    created_at: datetime
    due_at: datetime | None = Field(description="When the next attempt is made; null when none will be.")
    finished_at: datetime | None
    last_status: int | None = Field(description="Of the last answer; null where nobody answered.")
    last_error: str | None


class DeliveriesAnswer(Shape):
    deliveries: list[DeliveryItem]
    next_page_token: str | None = Field(description="Null on the last page.")
