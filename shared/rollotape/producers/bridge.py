"""From the pub/sub channels of older systems into the streams, where nothing that was heard is lost."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson
from pydantic import ValidationError
from pydantic_core import from_json
from redis.asyncio import Redis

from rollotape.errors import Unprocessable
from rollotape.events import BacktestProgress, BacktestResult, Contract, SystemHealth
from rollotape.patterns import adapt
from rollotape.streams.backoff import Backoff, is_outage
from rollotape.streams.partitions import partition_of, stream_name
from rollotape.streams.producer import Producer

PATTERNS = "tickstock.events.patterns"
RELAYED: dict[str, tuple[str, type[Contract]]] = {
    "tickstock.events.backtesting.progress": ("backtest.progress", BacktestProgress),
    "tickstock.events.backtesting.results": ("backtest.result", BacktestResult),
    "tickstock.health.status": ("system.health", SystemHealth),
}
CHANNELS = (PATTERNS, *RELAYED)
_NAMESPACE = uuid5(NAMESPACE_URL, "urn:rollotape:bridge")


class Bridge:
    """Listens to one Redis and produces into another. Pub/sub keeps nothing: what is sent while the bridge is
    away is lost by its sender, so run it as close to it as possible."""

    def __init__(self, source: Redis, producer: Producer, *, partitions: int) -> None:
        self._source = source
        self._producer = producer
        self._partitions = partitions
        self.heard: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    async def run(self, *, listening: Callable[[], object] = lambda: None) -> None:
        """Until cancelled. `listening` is called whenever the channels have been subscribed to."""
        backoff = Backoff()
        while True:
            try:
                async with self._source.pubsub() as channels:
                    await channels.subscribe(*CHANNELS)
                    listening()
                    backoff.reset()
                    await self._listen(channels)
            except Exception as error:
                if not is_outage(error):
                    raise
                await asyncio.sleep(backoff.delay_s())

    async def _listen(self, channels: Any) -> None:
        async for message in channels.listen():
            if message["type"] == "message":
                await self.pass_on(message["channel"].decode(), message["data"])

    async def pass_on(self, channel: str, payload: bytes) -> None:
        """Send one message on: patterns as they are, for the detector to judge; the others as facts."""
        self.heard[channel] += 1
        if channel == PATTERNS:
            stream = stream_name("patterns", partition_of(_symbol(payload), self._partitions))
            await self._producer.send(stream, [payload])
            return
        kind, contract = RELAYED[channel]
        try:
            fact = _fact(kind, contract, payload)
        except Unprocessable:
            self.refused[channel] += 1  # only passing through: there is nothing that it could be applied to
            return
        await self._producer.send("updates", [fact])


def _symbol(payload: bytes) -> str:
    """Good enough to choose a partition; the detector judges."""
    with suppress(ValueError, AttributeError):
        symbol = adapt(from_json(payload)).get("symbol")
        if isinstance(symbol, str):
            return symbol
    return ""


def _fact(kind: str, contract: type[Contract], payload: bytes) -> bytes:
    """A message of an older system as a fact; hearing the same message twice gives the same id.

    Raises:
        Unprocessable: it is none that we know.
    """
    try:
        said = from_json(payload)
        inner = said.get("data") if isinstance(said.get("data"), dict) else {}
        known = {**said, **inner}
        fields = {name: known[name] for name in contract.model_fields if known.get(name) is not None}
        fact_id = str(uuid5(_NAMESPACE, f"{kind}|{payload!r}"))
        told = {**fields, "version": 1, "type": kind, "id": fact_id, "fact_version": 1}
        return contract.model_validate_json(orjson.dumps(told)).model_dump_json().encode()
    except (ValueError, AttributeError, TypeError, ValidationError) as error:
        raise Unprocessable([]) from error
