"""Progress and result of a backtest on `updates`, by the contracts that they have for everybody."""

from collections.abc import Callable
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from rollotape.events import BacktestProgress, BacktestResult
from rollotape.streams.producer import Producer

EVERY_S = 1.0
STREAM = "updates"
_NAMESPACE = uuid5(NAMESPACE_URL, "urn:rollotape:backtest")


class Updates:
    """Says how far a job is, about once a second, and in the end what it found."""

    def __init__(self, producer: Producer, job_id: str, clock: Callable[[], float]) -> None:
        self.job_id = job_id
        self._producer, self._clock = producer, clock
        self._due = clock()
        self._said = 0

    async def progress(self, share: float, symbol: str) -> None:
        """0..1 of the work, `symbol` the last one that is done; not every call is said."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + EVERY_S
        told = BacktestProgress(
            type="backtest.progress", id=self._id("progress"), fact_version=self._said, job_id=self.job_id,
            progress=share, current_symbol=symbol, status="running",
        )  # fmt: skip
        await self._producer.send(STREAM, [told.model_dump_json().encode()])

    async def result(self, status: str, results: dict[str, Any] | None) -> None:
        """The last that is said of a job."""
        told = BacktestResult(
            type="backtest.result", id=self._id("result"), fact_version=self._said, job_id=self.job_id,
            status=status, results=results,
        )  # fmt: skip
        await self._producer.send(STREAM, [told.model_dump_json().encode()])

    def _id(self, kind: str) -> str:
        self._said += 1
        return str(uuid5(_NAMESPACE, f"{self.job_id}|{kind}|{self._said}"))
