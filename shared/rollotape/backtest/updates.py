"""Progress and result of a backtest on `updates`, by the contracts that they have for everybody."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from rollotape.events import BacktestProgress, BacktestResult
from rollotape.facts import Message
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

    def completed(self, told: Mapping[str, Any]) -> Message:
        """The last that is said of a job, with what it found: to be said by who commits that.

        Without the cells: what goes to everybody who listens stays small.
        """
        return STREAM, self._result("completed", {name: told[name] for name in told if name != "cells"})

    async def failed(self) -> None:
        """The last that is said of a job that an error ended."""
        await self._producer.send(STREAM, [self._result("failed", None)])

    def _result(self, status: str, results: dict[str, Any] | None) -> bytes:
        told = BacktestResult(
            type="backtest.result", id=self._id("result"), fact_version=self._said, job_id=self.job_id,
            status=status, results=results,
        )  # fmt: skip
        return told.model_dump_json().encode()

    def _id(self, kind: str) -> str:
        self._said += 1
        return str(uuid5(_NAMESPACE, f"{self.job_id}|{kind}|{self._said}"))
