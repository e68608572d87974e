"""Second opinions on what is derived, by the slowest and plainest way to each answer."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not what its inputs give: stored and expected as text, empty where there is none."""

    table: str
    key: str
    stored: str
    expected: str


def name(*parts: Any) -> str:
    """A key as one reads it; whole numbers are times in microseconds."""
    return " ".join(str(np.datetime64(int(p), "us")) if isinstance(p, int | np.integer) else p for p in parts)
