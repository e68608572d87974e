"""The delivery on a real server: nothing stranded, nothing skipped, order kept, whatever happens."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import redis.exceptions
from faststream import BaseMiddleware
from faststream.redis import RedisBroker
from faststream.specification import AsyncAPI
from redis.asyncio import Redis

from rollotape import metrics
from rollotape.errors import Unavailable
from rollotape.streams.attempts import TRIES_ALONE
from rollotape.streams.delivery import Delivery
from rollotape.streams.producer import Producer
from support.streams import Recorder, connected, pending, stream_settings
from support.waiting import eventually

GROUP = "detector"


@pytest.fixture
async def broker(redis_url: str) -> AsyncIterator[RedisBroker]:
    async with connected(redis_url) as broker:
        yield broker


@pytest.fixture
async def deliver(broker: RedisBroker, redis_url: str) -> AsyncIterator[Callable[..., Delivery]]:
    """Makes deliveries of `bars` that are stopped after the test."""
    made: list[Delivery] = []

    def make(handler: Recorder, *, on: RedisBroker | None = None, **changes: Any) -> Delivery:
        options = {k: changes.pop(k) for k in ("weigh", "grace_s", "alive_s") if k in changes}
        settings = stream_settings(redis_url, **changes)
        delivery = Delivery(on or broker, "bars", GROUP, handler, settings, **options)
        made.append(delivery)
        return delivery

    yield make
    for delivery in made:
        await delivery.hold(())


async def send(redis: Redis, count: int, stream: str = "bars.0", first: int = 0) -> list[str]:
    return await Producer(redis).send(stream, [b"%d" % i for i in range(first, first + count)])


async def delivered(recorder: Recorder, ids: list[str], stream: str = "bars.0", within_s: float = 60) -> None:
    async def all_there() -> bool:
        return set(ids) <= set(recorder.ids(stream))

    await eventually(all_there, within_s=within_s, what=f"delivery of {len(ids)} entries")


async def acknowledged(redis: Redis, stream: str = "bars.0") -> None:
    async def none_pending() -> bool:
        return await pending(redis, stream) == 0

    await eventually(none_pending, what="the acknowledgement")


async def read_without_acknowledging(redis: Redis, consumer: str, count: int) -> list[str]:
    """What an owner that dies, or an answer that is lost, leaves behind."""
    answer: Any = await redis.xreadgroup(GROUP, consumer, {"bars.0": ">"}, count=count)
    return [name.decode() for name, _ in answer[0][1]]


async def test_entries_older_than_the_group_are_delivered_in_order(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    recorder = Recorder()
    ids = {s: await send(redis_client, 3_000, s) for s in ("bars.0", "bars.1", "bars.7")}
    await deliver(recorder, batch_entries=100).hold([0, 1, 7])
    for stream, sent in ids.items():
        await delivered(recorder, sent, stream)
        assert recorder.ids(stream) == sent
        await acknowledged(redis_client, stream)


async def test_sixteen_partitions_start_and_stop_in_well_under_a_second(
    deliver: Callable[..., Delivery],
) -> None:
    delivery = deliver(Recorder())
    started = time.perf_counter()
    await delivery.hold(range(16))
    assert time.perf_counter() - started < 0.8
    assert delivery.held == frozenset(range(16))
    assert delivery.alive()
    await delivery.hold([3, 4])
    assert delivery.held == {3, 4}
    await delivery.hold(())
    assert delivery.held == frozenset()


async def test_twenty_five_graceful_stops_under_load_strand_nothing(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    recorder = Recorder()
    sent: list[str] = []
    stopped = asyncio.Event()

    async def load() -> None:
        while not stopped.is_set():
            sent.extend(await send(redis_client, 50, first=len(sent)))

    loading = asyncio.create_task(load())
    delivery = deliver(recorder, batch_entries=40)
    for _ in range(25):
        seen = len(recorder.applied)
        await delivery.hold([0])

        async def moving(seen: int = seen) -> bool:
            return len(recorder.applied) > seen

        await eventually(moving, what="the load")
        await delivery.hold(())
        assert await pending(redis_client, "bars.0") == 0
    stopped.set()
    await loading
    await delivery.hold([0])
    await delivered(recorder, sent)
    assert recorder.ids() == sent  # each once, in order


async def test_what_a_predecessor_left_pending_comes_first(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    sent = await send(redis_client, 30)
    await redis_client.xgroup_create("bars.0", GROUP, "0")
    await read_without_acknowledging(redis_client, "bars.0", 10)
    recorder = Recorder()
    await deliver(recorder, batch_entries=7).hold([0])
    await delivered(recorder, sent)
    assert recorder.ids() == sent
    await acknowledged(redis_client)


@pytest.mark.parametrize("name", ["bars.0", "an-earlier-consumer"])
async def test_stale_entries_are_claimed_under_whatever_name_also_our_own(
    redis_client: Redis, deliver: Callable[..., Delivery], name: str
) -> None:
    recorder = Recorder()
    delivery = deliver(recorder, claim_ms=200, batch_entries=3)
    await delivery.hold([0])
    await delivered(recorder, await send(redis_client, 1))
    async with redis_client.pipeline(transaction=True) as stolen:  # before the waiting delivery can read them
        for i in range(10):
            stolen.xadd("bars.0", {"json": b"%d" % i})
        stolen.xreadgroup(GROUP, name, {"bars.0": ">"})
        *ids, _ = await stolen.execute()
    await delivered(recorder, [i.decode() for i in ids])
    await acknowledged(redis_client)


@pytest.mark.parametrize("loss", ["flush", "delete", "destroy"])
async def test_a_lost_group_is_created_again(
    redis_client: Redis, deliver: Callable[..., Delivery], loss: str
) -> None:
    recorder = Recorder()
    delivery = deliver(recorder)
    await delivery.hold([0])
    await delivered(recorder, await send(redis_client, 5))
    match loss:
        case "flush":
            await redis_client.flushall()
        case "delete":
            await redis_client.delete("bars.0")
        case "destroy":
            await redis_client.xgroup_destroy("bars.0", GROUP)
    await delivered(recorder, await send(redis_client, 5))
    await acknowledged(redis_client)
    assert delivery.alive()

    async def recovered() -> bool:
        return not delivery.failures()

    await eventually(recovered)


async def test_a_poisonous_entry_is_isolated_and_its_neighbours_are_applied(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    recorder = Recorder(lambda batch: ValueError("bug") if b"33" in [e.payload for e in batch] else None)
    sent = await send(redis_client, 100)
    await deliver(recorder).hold([0])
    bad = sent.pop(33)
    await delivered(recorder, sent)
    await acknowledged(redis_client)
    assert recorder.ids() == sent
    assert [(entry.id, str(error)) for entry, error in recorder.buried] == [(bad, "bug")]
    assert recorder.tried.count([bad]) == TRIES_ALONE


async def test_an_outage_is_retried_in_place_and_never_buried(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    tries = iter(range(5))
    recorder = Recorder(lambda _: Unavailable("postgres is away") if next(tries, None) is not None else None)
    sent = await send(redis_client, 20)
    delivery = deliver(recorder)
    await delivery.hold([0])
    await delivered(recorder, sent)
    assert recorder.buried == []
    assert delivery.alive()


async def test_a_timeout_halves_the_batch(redis_client: Redis, deliver: Callable[..., Delivery]) -> None:
    def slow(batch: Any) -> Exception | None:
        error = Unavailable("too slow")
        error.__cause__ = TimeoutError()
        return error if len(batch) > 25 else None

    recorder = Recorder(slow)
    sent = await send(redis_client, 100)
    await deliver(recorder).hold([0])
    await delivered(recorder, sent)
    assert recorder.ids() == sent
    await acknowledged(redis_client)


async def test_an_entry_without_its_field_reaches_the_handler(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    recorder = Recorder()
    await deliver(recorder).hold([0])
    added: Any = await redis_client.xadd("bars.0", {"something": "else", "data": '{"a":1}'})
    name = added.decode()
    await delivered(recorder, [name])
    assert recorder.payloads() == [None]
    assert recorder.applied[0].arrived_ms == int(name.split("-")[0])


async def test_a_pending_entry_that_was_deleted_is_acknowledged_and_counted(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    sent = await send(redis_client, 10)
    await redis_client.xgroup_create("bars.0", GROUP, "0")
    await read_without_acknowledging(redis_client, "bars.0", 10)
    await redis_client.xdel("bars.0", *sent[2:5])
    before = metrics.DELIVERY_GONE.labels("bars.0")._value.get()
    recorder = Recorder()
    await deliver(recorder).hold([0])
    await delivered(recorder, sent[:2] + sent[5:])
    await acknowledged(redis_client)
    assert metrics.DELIVERY_GONE.labels("bars.0")._value.get() - before == 3


async def test_a_running_batch_finishes_before_its_partition_is_given_up(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    recorder = Recorder()
    recorder.gate.clear()
    sent = await send(redis_client, 10)
    delivery = deliver(recorder, weigh=lambda _: 1, batch_bars=2)
    await delivery.hold([0])

    async def busy() -> bool:
        return recorder.busy == 1

    await eventually(busy)
    leaving = asyncio.create_task(delivery.hold(()))
    await asyncio.sleep(0)
    assert not leaving.done()
    recorder.gate.set()
    await leaving
    assert recorder.ids() == sent  # also what was read and not yet begun
    assert await pending(redis_client, "bars.0") == 0


async def test_a_batch_that_outlasts_the_grace_stays_pending_for_the_successor(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    stuck, successor = Recorder(), Recorder()
    stuck.gate.clear()
    sent = await send(redis_client, 10)
    delivery = deliver(stuck, grace_s=0.1)
    await delivery.hold([0])

    async def busy() -> bool:
        return stuck.busy == 1

    await eventually(busy)
    await delivery.hold(())
    assert stuck.busy == 0
    assert await pending(redis_client, "bars.0") == 10
    await deliver(successor).hold([0])
    await delivered(successor, sent)
    await acknowledged(redis_client)


async def test_a_batch_waiting_for_an_outage_is_given_back_at_once(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    recorder = Recorder(lambda _: Unavailable("away"))
    await send(redis_client, 10)
    delivery = deliver(recorder)
    await delivery.hold([0])

    async def tried() -> bool:
        return len(recorder.tried) > 3

    await eventually(tried)
    started = time.perf_counter()
    await delivery.hold(())
    assert time.perf_counter() - started < 2
    assert await pending(redis_client, "bars.0") == 10


async def test_partitions_share_the_slots(redis_client: Redis, deliver: Callable[..., Delivery]) -> None:
    recorder = Recorder()
    recorder.gate.clear()
    for partition in range(6):
        await send(redis_client, 5, f"bars.{partition}")
    await deliver(recorder, batches_in_flight=2).hold(range(6))

    async def busy() -> bool:
        return recorder.busy == 2

    await eventually(busy)
    recorder.gate.set()

    async def done() -> bool:
        return len(recorder.applied) == 30

    await eventually(done)
    assert recorder.busiest == 2


async def test_a_read_is_cut_into_batches_by_weight(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    recorder = Recorder()
    sent = await send(redis_client, 100)
    await deliver(recorder, weigh=lambda entry: 10, batch_bars=205).hold([0])
    await delivered(recorder, sent)
    assert [len(batch) for batch in recorder.tried] == [20, 20, 20, 20, 20]


async def test_connections_that_break_under_load_strand_nothing(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    """Where in an answer a connection breaks is left to chance; the next test does not leave it."""
    recorder = Recorder()
    await deliver(recorder, batch_entries=50, claim_ms=600_000).hold([0, 1])
    sent: dict[str, list[str]] = {"bars.0": [], "bars.1": []}
    for _ in range(20):
        for stream, ids in sent.items():
            ids += await send(redis_client, 200, stream, first=len(ids))
        await redis_client.client_kill_filter(_type="normal", skipme=True)
    for stream, ids in sent.items():
        await delivered(recorder, ids, stream)
        await acknowledged(redis_client, stream)


async def test_entries_whose_answer_was_lost_on_its_way_are_read_again_at_once(
    redis_client: Redis,
    broker: RedisBroker,
    deliver: Callable[..., Delivery],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server has them pending under our name by then; the claim time is too long to be what helps."""
    client: Any = await broker.connect()
    read = client.xreadgroup
    lost: list[Any] = []

    async def lose_the_first_answer(*args: Any, **kwargs: Any) -> Any:
        answer = await read(*args, **kwargs)
        if answer and answer[0][1] and not lost:
            lost.extend(answer[0][1])
            raise redis.exceptions.ConnectionError("the answer was lost")
        return answer

    monkeypatch.setattr(client, "xreadgroup", lose_the_first_answer)
    recorder = Recorder()
    await deliver(recorder, claim_ms=600_000).hold([0])
    sent = await send(redis_client, 20)
    await delivered(recorder, sent)
    assert lost
    assert recorder.ids() == sent
    await acknowledged(redis_client)


async def test_a_read_only_server_is_asked_with_back_off(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    recorder = Recorder()
    delivery = deliver(recorder)
    await delivery.hold([0])
    await delivered(recorder, await send(redis_client, 1))
    failures = metrics.DELIVERY_FAILURES.labels("bars.0")._value
    before = failures.get()
    await redis_client.replicaof("127.0.0.1", "1")
    try:

        async def failing() -> bool:
            return bool(delivery.failures())

        await eventually(failing)
        started = time.monotonic()

        async def for_a_second() -> bool:
            return time.monotonic() - started > 1

        await eventually(for_a_second)
        assert failures.get() - before < 10
        assert delivery.alive()
    finally:
        await redis_client.replicaof("NO", "ONE")
    await delivered(recorder, await send(redis_client, 5))


async def test_two_owners_at_once_lose_nothing(
    redis_client: Redis, redis_url: str, deliver: Callable[..., Delivery]
) -> None:
    first, second = Recorder(), Recorder()
    async with connected(redis_url) as other:
        one, two = deliver(first, batch_entries=20), deliver(second, on=other, batch_entries=20)
        await one.hold([0])
        await two.hold([0])
        sent: list[str] = []
        for _ in range(20):
            sent += await send(redis_client, 100, first=len(sent))

        async def all_seen() -> bool:
            return set(sent) == set(first.ids()) | set(second.ids())

        await eventually(all_seen)
        await acknowledged(redis_client)
        await two.hold(())


async def test_a_handler_that_hangs_is_not_alive(
    redis_client: Redis, deliver: Callable[..., Delivery]
) -> None:
    recorder = Recorder()
    recorder.gate.clear()
    delivery = deliver(recorder, alive_s=0.3, grace_s=0.1)
    await delivery.hold([0])
    assert delivery.alive()
    await send(redis_client, 1)

    async def stuck() -> bool:
        return not delivery.alive()

    await eventually(stuck)
    recorder.gate.set()
    await eventually(_is(delivery.alive))


async def test_an_idle_delivery_is_alive(deliver: Callable[..., Delivery]) -> None:
    delivery = deliver(Recorder(), alive_s=1.0)
    await delivery.hold([0])
    started = time.monotonic()

    async def two_seconds_later() -> bool:
        assert delivery.alive()
        return time.monotonic() - started > 2

    await eventually(two_seconds_later)


class _Swallow(BaseMiddleware):
    async def __aexit__(self, *_: object) -> bool:
        return True


async def test_a_middleware_that_swallows_errors_cannot_have_us_acknowledge(
    redis_client: Redis, broker: RedisBroker, deliver: Callable[..., Delivery]
) -> None:
    broker.add_middleware(_Swallow)
    recorder = Recorder(lambda _: ValueError("bug"))
    sent = await send(redis_client, 1)
    await deliver(recorder).hold([0])

    async def buried() -> bool:
        return [entry.id for entry, _ in recorder.buried] == sent

    await eventually(buried)
    assert recorder.applied == []


async def test_middlewares_see_every_batch(
    redis_client: Redis, broker: RedisBroker, deliver: Callable[..., Delivery]
) -> None:
    seen: list[Any] = []

    class Watch(BaseMiddleware):
        async def consume_scope(self, call_next: Callable[[Any], Awaitable[Any]], msg: Any) -> Any:
            seen.append((msg.raw_message["channel"], len(msg.raw_message["data"])))
            return await call_next(msg)

    broker.add_middleware(Watch)
    recorder = Recorder()
    sent = await send(redis_client, 12)
    await deliver(recorder, batch_entries=6).hold([0])
    await delivered(recorder, sent)
    assert seen == [("bars.0", 6), ("bars.0", 6)]


async def test_a_held_partition_is_part_of_the_asyncapi_document(
    broker: RedisBroker, deliver: Callable[..., Delivery]
) -> None:
    await deliver(Recorder()).hold([5])
    document = AsyncAPI(broker).to_specification().to_json()
    assert "bars.5" in document
    assert "BarFrame" in document


async def test_standings_tell_lag_and_pending(redis_client: Redis, deliver: Callable[..., Delivery]) -> None:
    recorder = Recorder()
    recorder.gate.clear()
    await send(redis_client, 30)
    delivery = deliver(recorder, batch_entries=10)
    await delivery.hold([0, 1])

    async def ten_pending() -> bool:
        return [s.pending for s in await delivery.standings()] == [10, 0]

    await eventually(ten_pending)
    first, second = await delivery.standings()
    assert (first.lag, first.lag_known, first.length) == (20, True, 30)
    assert (second.lag, second.group_exists) == (0, True)
    recorder.gate.set()
    await acknowledged(redis_client)


def _is(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def answer() -> bool:
        return condition()

    return answer
