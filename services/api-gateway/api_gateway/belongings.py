"""Saved scans with their filters, as the description has them.

mypy takes a field for writable, and refuses a narrower type of it in a subclass; answers are only written.
"""

from pydantic import Field

from api_gateway.bodies import ScanFilters
from rollotape import answers


class SavedScanAnswer(answers.SavedScanAnswer):
    filters: ScanFilters = Field(description="Those alone that were given.")  # type: ignore[assignment]  # narrower


class SavedScansAnswer(answers.SavedScansAnswer):
    saved_scans: list[SavedScanAnswer]  # type: ignore[assignment]  # narrower
