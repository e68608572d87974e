"""What the shapes of all answers have in common."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

CLOSED: JsonDict = {"additionalProperties": False}


class Shape(BaseModel):
    """Described as closed, because it is; read as open, because a newer gateway may add to it."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra=CLOSED)


class DataAnswer(Shape):
    """What every answer made of stored data carries."""

    next_page_token: str | None = Field(description="Null on the last page.")
    as_of: datetime | None = Field(description="When the newest fact used here was known; null without one.")
    stale: bool = Field(
        description="True when older data had to do: a server was away, or newer ones are being computed."
    )
