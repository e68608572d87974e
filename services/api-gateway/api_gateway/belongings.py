"""Saved scans with their filters, as the description has them."""

from pydantic import Field

from api_gateway.bodies import ScanFilters
from rollotape import answers


class SavedScanAnswer(answers.SavedScanAnswer):
    filters: ScanFilters = Field(description="Those alone that were given.")  # type: ignore[assignment]  # closer


class SavedScansAnswer(answers.SavedScansAnswer):
    saved_scans: list[SavedScanAnswer]  # type: ignore[assignment]  # closer
