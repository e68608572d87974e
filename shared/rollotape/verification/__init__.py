"""Second opinions on what is derived, by the slowest and plainest way to each answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not what its inputs give: stored and expected as text, empty where there is none."""

    table: str
    key: str
    stored: str
    expected: str
