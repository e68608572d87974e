"""What the delivery leans on inside FastStream and redis-py, and what it is there to repair.

When one of these fails after an upgrade, read `rollotape/streams/subscriber.py` again first.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

import pytest
import uvicorn
from faststream import BaseMiddleware
from faststream._internal.broker.registrator import Registrator
from faststream.asgi import AsgiFastStream, AsgiResponse, get
from faststream.middlewares import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.configs.state import RedisConnectionState
from faststream.redis.parser import RedisBatchStreamParser
from faststream.redis.prometheus.provider import BatchRedisMetricsSettingsProvider
from faststream.redis.subscriber.usecases import StreamBatchSubscriber
from faststream.redis.subscriber.usecases.basic import LogicSubscriber
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from rollotape.redis.cluster import Cluster
from rollotape.streams.broker import make_broker
from support.streams import connected, stream_settings
from support.waiting import eventually


@pytest.fixture
async def broker(redis_url: str) -> AsyncIterator[RedisBroker]:
    async with connected(redis_url) as broker:
        yield broker


def test_the_version_is_the_one_we_read() -> None:
    assert version("faststream") == "0.7.8"


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (StreamBatchSubscriber.__init__, ["self", "config", "specification", "calls"]),
        (StreamBatchSubscriber._consume, ["self", "args", "start_signal"]),
        (StreamBatchSubscriber._get_msgs, ["self", "read"]),
        (StreamBatchSubscriber.start, ["self"]),
        (StreamBatchSubscriber.stop, ["self"]),
        (StreamBatchSubscriber.process_message, ["self", "msg"]),
        (LogicSubscriber.start, ["self", "args"]),
        (Registrator.subscriber, ["self", "subscriber", "persistent"]),
        (RedisBatchStreamParser._setup, ["self", "consumer", "group"]),
        (StreamBatchSubscriber.add_call, ["self", "parser_", "decoder_", "dependencies_", "codec_"]),
        (RedisBroker._make_connection_state, ["self", "connection_options", "kwargs"]),
        (RedisConnectionState.connect, ["self"]),
        (Pipeline._execute_transaction, ["self", "connection", "commands", "raise_on_error"]),
    ],
)
def test_the_hooks_have_their_signatures(function: Any, parameters: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == parameters


def test_a_logic_subscriber_starts_its_loop_as_a_task_that_stop_forgets() -> None:
    start, stop = inspect.getsource(LogicSubscriber.start), inspect.getsource(LogicSubscriber.stop)
    assert "self.add_task(self._consume, args" in start
    assert "self._post_start()" in start
    assert "self.tasks.clear()" in stop


async def test_a_subscriber_registered_as_not_persistent_can_be_let_go(broker: RedisBroker) -> None:
    source = StreamSub("s", group="g", consumer="c", batch=True)
    subscriber = broker.subscriber(stream=source, persistent=False)
    assert subscriber in broker.subscribers
    broker._subscribers.discard(subscriber)
    assert subscriber not in broker.subscribers


async def test_the_manual_policy_leaves_acknowledging_to_us(broker: RedisBroker, redis_client: Redis) -> None:
    seen = asyncio.Event()
    await redis_client.xgroup_create("s", "g", "0", mkstream=True)
    source = StreamSub("s", group="g", consumer="c", batch=True)
    subscriber = broker.subscriber(stream=source, ack_policy=AckPolicy.MANUAL)

    @subscriber
    async def handler(messages: Any) -> None:
        seen.set()

    await subscriber.start()
    await redis_client.xadd("s", {"__data__": "1"})
    await asyncio.wait_for(seen.wait(), 60)
    await subscriber.stop()
    assert (await redis_client.xpending("s", "g"))["pending"] == 1


async def test_repaired_the_stock_group_begins_at_the_end(broker: RedisBroker, redis_client: Redis) -> None:
    await redis_client.xadd("s", {"json": "older than the group"})
    subscriber = broker.subscriber(stream=StreamSub("s", group="g", consumer="c", batch=True))

    @subscriber
    async def handler(messages: Any) -> None: ...

    await subscriber.start()
    groups: Any = await redis_client.xinfo_groups("s")
    assert groups[0]["last-delivered-id"] != b"0-0"
    await subscriber.stop()


async def test_repaired_the_stock_loop_stops_for_good_when_its_group_is_lost(
    broker: RedisBroker, redis_client: Redis
) -> None:
    subscriber = broker.subscriber(stream=StreamSub("s", group="g", consumer="c", batch=True))

    @subscriber
    async def handler(messages: Any) -> None: ...

    await subscriber.start()
    await redis_client.flushall()

    async def stopped() -> bool:
        return not subscriber.running

    await eventually(stopped)


async def test_repaired_a_middleware_that_swallows_an_error_looks_like_success(broker: RedisBroker) -> None:
    class Swallow(BaseMiddleware):
        async def __aexit__(self, *_: object) -> bool:
            return True

    broker.add_middleware(Swallow)
    subscriber = broker.subscriber(stream=StreamSub("s", group="g", consumer="c", batch=True))

    @subscriber
    async def handler(messages: Any) -> None:
        raise ValueError("swallowed")

    await subscriber.start()
    message: Any = {"type": "bstream", "channel": "s", "data": [{b"json": b"1"}], "message_ids": [b"1-1"]}
    await subscriber.process_message(message)
    await subscriber.stop()


async def test_our_client_never_retries_by_itself(broker: RedisBroker) -> None:
    """A read that redis-py repeated unseen would strand what the lost answer held."""
    client: Any = await broker.connect()
    connection = await client.connection_pool.get_connection()
    try:
        assert connection.retry.get_retries() == 0
        assert connection.socket_timeout > 1
    finally:
        await client.connection_pool.release(connection)


@pytest.mark.parametrize("query", ["", "?protocol=3", "?protocol=2&db=0"])
async def test_we_speak_resp2_whatever_the_url_says(redis_url: str, redis_client: Redis, query: str) -> None:
    broker = make_broker(stream_settings(redis_url + query), service="test", registry=CollectorRegistry())
    client: Any = await broker.connect()
    try:
        await redis_client.xadd("s", {"json": "1"})
        await redis_client.xgroup_create("s", "g", "0")
        ((stream, ((_, fields),)),) = await client.xreadgroup("g", "c", {"s": ">"})
        assert (stream, fields) == (b"s", {b"json": b"1"})
    finally:
        await broker.stop()


async def test_a_pending_entry_that_was_deleted_is_read_as_one_without_fields(redis_client: Redis) -> None:
    name: Any = await redis_client.xadd("s", {"json": "1"})
    await redis_client.xgroup_create("s", "g", "0")
    await redis_client.xreadgroup("g", "c", {"s": ">"})
    await redis_client.xdel("s", name)
    answer: Any = await redis_client.xreadgroup("g", "c", {"s": "0"})
    assert answer[0][1] == [(name, {})]


def test_metrics_count_the_entries_of_a_batch_and_measure_its_body() -> None:
    source = inspect.getsource(BatchRedisMetricsSettingsProvider.get_consume_attrs_from_message)
    assert 'len(msg.raw_message["data"])' in source
    assert "len(msg.body)" in source  # bytes where a body is bytes; ours is a list, so we measure ourselves


async def test_asgi_routes_are_matched_exactly_and_need_no_lifespan() -> None:
    @get
    async def livez(scope: Any) -> AsgiResponse:
        return AsgiResponse(b"ok")

    app = AsgiFastStream(RedisBroker("redis://127.0.0.1:1"), asgi_routes=[("/livez", livez)], logger=None)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    for path in ("/livez", "/livez/more"):
        await app({"type": "http", "path": path, "method": "GET", "headers": []}, _never, send)
    assert [m["status"] for m in sent if m["type"] == "http.response.start"] == [200, 404]


async def _never() -> Any:
    raise AssertionError("nothing to receive")


def test_uvicorn_leaves_signals_to_whoever_overrides_their_capture() -> None:
    assert "self.capture_signals()" in inspect.getsource(uvicorn.Server.serve)


async def test_a_broker_has_the_client_that_we_made_and_lets_go_of_it(redis_url: str) -> None:
    settings = stream_settings("redis+cluster://127.0.0.1:1")
    broker = make_broker(settings, service="detector", registry=CollectorRegistry())
    client = await broker.connect()
    assert isinstance(client, Cluster) and await broker.connect() is client
    await broker.stop()
    assert await broker.connect() is not client
    await broker.stop()
