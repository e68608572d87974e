"""Every outcome of a batch, without a server."""

from collections.abc import Sequence

import asyncpg
import pytest
import redis.exceptions

from rollotape.errors import Unavailable
from rollotape.streams.attempts import TRIES_ALONE, Attempts, GivenBack, is_timeout
from rollotape.streams.entries import Entry, pieces
from support.streams import Recorder


class Batches:
    """Attempts on a recorder, with pauses that take no time."""

    def __init__(self, recorder: Recorder, *, patience: int = 10_000) -> None:
        self.acknowledged: list[list[str]] = []
        self.pauses = 0
        self._patience = patience
        self.attempts = Attempts("bars.0", recorder.apply, recorder.bury, self._acknowledge, self._pause)

    async def _acknowledge(self, entries: Sequence[Entry]) -> None:
        self.acknowledged.append([entry.id for entry in entries])

    async def _pause(self, seconds: float) -> None:
        assert 0 < seconds <= 2
        self.pauses += 1
        if self.pauses > self._patience:
            raise GivenBack


def entries(count: int) -> list[Entry]:
    return [Entry("bars.0", f"{i}-0", {b"json": b"%d" % i}) for i in range(1, count + 1)]


def timeout() -> Unavailable:
    error = Unavailable("too slow")
    error.__cause__ = asyncpg.QueryCanceledError("statement timeout")
    return error


async def test_a_good_batch_is_tried_once_and_acknowledged_once() -> None:
    recorder = Recorder()
    batches = Batches(recorder)
    await batches.attempts.finish(entries(5))
    assert batches.acknowledged == [["1-0", "2-0", "3-0", "4-0", "5-0"]]
    assert len(recorder.tried) == 1


@pytest.mark.parametrize("bad", [1, 2, 37, 64, 100])
async def test_splitting_isolates_the_one_that_fails_and_keeps_order(bad: int) -> None:
    recorder = Recorder(lambda batch: ValueError("bug") if f"{bad}-0" in [e.id for e in batch] else None)
    batches = Batches(recorder)
    await batches.attempts.finish(entries(100))
    assert recorder.ids() == [f"{i}-0" for i in range(1, 101) if i != bad]
    assert [entry.id for entry, _ in recorder.buried] == [f"{bad}-0"]
    assert recorder.tried.count([f"{bad}-0"]) == TRIES_ALONE
    assert sorted(i for batch in batches.acknowledged for i in batch) == sorted(e.id for e in entries(100))


async def test_an_outage_is_waited_for_and_never_buried() -> None:
    left = 50

    def fault(_: object) -> Exception | None:
        nonlocal left
        left -= 1
        return Unavailable("postgres is away") if left else None

    recorder = Recorder(fault)
    await (batches := Batches(recorder)).attempts.finish(entries(3))
    assert recorder.buried == []
    assert set(map(len, recorder.tried)) == {3}
    assert batches.pauses == 49


@pytest.mark.parametrize(
    "outage",
    [
        redis.exceptions.ConnectionError(),
        redis.exceptions.TimeoutError(),
        ConnectionResetError(),
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.DeadlockDetectedError("deadlock"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_outage_that_a_handler_forgot_to_translate_is_not_buried_either(outage: Exception) -> None:
    faults = iter([outage] * 20)
    recorder = Recorder(lambda _: next(faults, None))
    await Batches(recorder).attempts.finish(entries(1))
    assert recorder.buried == []
    assert recorder.ids() == ["1-0"]


async def test_a_timeout_halves_the_batch() -> None:
    recorder = Recorder(lambda batch: timeout() if len(batch) > 10 else None)
    await Batches(recorder).attempts.finish(entries(64))
    assert recorder.ids() == [e.id for e in entries(64)]
    assert [len(t) for t in recorder.tried] == [64, 32, 16, 8, 8, 16, 8, 8, 32, 16, 8, 8, 16, 8, 8]


async def test_an_entry_that_times_out_alone_is_never_buried() -> None:
    left = 20

    def fault(_: object) -> Exception | None:
        nonlocal left
        left -= 1
        return timeout() if left else None

    recorder = Recorder(fault)
    await Batches(recorder).attempts.finish(entries(1))
    assert recorder.ids() == ["1-0"]


async def test_outages_do_not_count_as_tries() -> None:
    faults = iter([ValueError()] * 4 + [Unavailable("away")] * 10 + [ValueError()] * 9)
    recorder = Recorder(lambda _: next(faults))
    await Batches(recorder).attempts.finish(entries(1))
    assert len(recorder.tried) == 15
    assert len(recorder.buried) == 1


async def test_burying_waits_for_an_outage_to_end() -> None:
    recorder = Recorder(lambda _: ValueError("bug"))
    faults = iter([Unavailable("away")] * 30 + [None])
    recorder.bury_fault = lambda: next(faults)
    await (batches := Batches(recorder)).attempts.finish(entries(1))
    assert len(recorder.buried) == 1
    assert batches.acknowledged == [["1-0"]]


async def test_what_cannot_even_be_buried_stays_pending_and_blocks_nobody() -> None:
    recorder = Recorder(lambda batch: ValueError("bug") if "2-0" in [e.id for e in batch] else None)
    recorder.bury_fault = lambda: TypeError("a bug in burying, too")
    await (batches := Batches(recorder)).attempts.finish(entries(4))
    assert recorder.ids() == ["1-0", "3-0", "4-0"]
    assert ["2-0"] not in batches.acknowledged


async def test_a_batch_that_waits_is_given_back_when_its_partition_goes() -> None:
    recorder = Recorder(lambda _: Unavailable("away"))
    batches = Batches(recorder, patience=3)
    with pytest.raises(GivenBack):
        await batches.attempts.finish(entries(2))
    assert batches.acknowledged == []


def test_a_timeout_is_recognised_by_its_cause() -> None:
    assert is_timeout(timeout())
    assert not is_timeout(Unavailable("away"))


def test_pieces_weigh_no_more_than_the_limit_and_keep_order() -> None:
    batch = entries(10)
    cut = list(pieces(batch, lambda e: int(e.payload or 0), 10))
    weights = [[int(e.payload or 0) for e in piece] for piece in cut]
    assert weights == [[1, 2, 3, 4], [5], [6], [7], [8], [9], [10]]
    assert [e for piece in cut for e in piece] == batch
    assert list(pieces(batch, None, 1)) == [batch]
    assert list(pieces([], lambda e: 1, 1)) == []
