"""Watchlists and saved scans in memory, and filters on their way from a body to a query."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway import bodies, lists, problems, queries
from api_gateway.lists import Lists
from api_gateway.problems import Problem
from api_gateway.routes.patterns import ScanQuery
from rollotape.postgres.owned import WATCHLISTS
from support.waiting import eventually

ONE = UUID(int=1)


class Shelves:
    """A PostgreSQL with one watchlist, of Ann; `hold` keeps its answers back."""

    def __init__(self) -> None:
        self.version, self.symbols = 1, ["B", "A"]
        self.looks = 0
        self.is_away = False
        self.hold = asyncio.Event()
        self.hold.set()

    async def run(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        if self.is_away:
            raise problems.unavailable("PostgreSQL")
        return await work(self)

    async def fetchrow(self, _query: str, owner: str, id_: UUID, version: int | None) -> Any:
        self.looks += 1
        seen = self.version, None if version == self.version else self.symbols
        await self.hold.wait()
        return {"version": seen[0], "content": seen[1]} if (owner, id_) == ("ann", ONE) else None

    async def looked(self, times: int) -> bool:
        return self.looks >= times


@pytest.fixture
def shelves() -> Shelves:
    return Shelves()


@pytest.fixture
def kept(shelves: Shelves) -> Lists:
    postgres: Any = shelves
    return Lists(postgres)


async def test_who_asks_at_the_same_time_waits_for_one_look(shelves: Shelves, kept: Lists) -> None:
    found = await asyncio.gather(*(kept.symbols("ann", ONE) for _ in range(50)))

    assert (set(found), shelves.looks) == ({("A", "B")}, 1)


async def test_what_others_have_is_not_found_and_not_kept(shelves: Shelves, kept: Lists) -> None:
    await kept.symbols("ann", ONE)

    for owner, id_ in (("bob", ONE), ("ann", UUID(int=2))):
        with pytest.raises(Problem, match="watchlist_id"):
            await kept.symbols(owner, id_)
    assert list(kept._known) == [lists.Key(WATCHLISTS, "ann", ONE)]


async def test_what_is_in_use_is_looked_at_beside_those_who_ask(
    shelves: Shelves, kept: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.symbols("ann", ONE)
    monkeypatch.setattr(lists, "FRESH_S", 1e9)
    key = lists.Key(WATCHLISTS, "ann", ONE)
    kept._known[key] = kept._known[key]._replace(at=kept._known[key].at - 0.6e9)
    shelves.version, shelves.symbols = 2, ["C"]
    shelves.hold.clear()

    assert await kept.symbols("ann", ONE) == ("A", "B"), "it does not wait"
    shelves.hold.set()
    await kept._looking[key]

    assert await kept.symbols("ann", ONE) == ("C",)


async def test_nothing_is_kept_of_a_look_during_which_it_was_changed(shelves: Shelves, kept: Lists) -> None:
    shelves.hold.clear()
    before = asyncio.create_task(kept.symbols("ann", ONE))
    await eventually(lambda: shelves.looked(1))

    shelves.version, shelves.symbols = 2, ["C"]
    kept.forget(WATCHLISTS, "ann", ONE)
    after = asyncio.create_task(kept.symbols("ann", ONE))
    await eventually(lambda: shelves.looked(2))
    shelves.hold.set()

    assert await after == ("C",)
    await before
    assert await kept.symbols("ann", ONE) == ("C",)


async def test_a_server_that_hangs_holds_nobody_up_who_asked_before(
    shelves: Shelves, kept: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.symbols("ann", ONE)
    monkeypatch.setattr(lists, "FRESH_S", 0.0)
    monkeypatch.setattr(lists, "_PATIENCE_S", 0.01)
    shelves.hold.clear()

    async with asyncio.timeout(60):
        assert await kept.symbols("ann", ONE) == ("A", "B")
    await kept.close()


async def test_what_was_known_too_long_ago_is_not_used(
    shelves: Shelves, kept: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.symbols("ann", ONE)
    monkeypatch.setattr(lists, "FRESH_S", 0.0)
    shelves.is_away = True

    assert await kept.symbols("ann", ONE) == ("A", "B")
    monkeypatch.setattr(lists, "AWAY_S", 0.0)
    with pytest.raises(Problem) as refused:
        await kept.symbols("ann", ONE)
    assert refused.value.kind is problems.UNAVAILABLE


async def test_memory_has_an_end(shelves: Shelves, kept: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_KEPT", 0)

    await kept.symbols("ann", ONE)

    assert not kept._known


_FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "pattern_types": st.lists(st.sampled_from(["SPRING", "sos", "A_1"]), min_size=1),
        "symbols": st.lists(st.sampled_from(["AAPL", "brk.b", "X/Y"]), min_size=1),
        "sectors": st.lists(st.sampled_from(["Energy", "Materials"]), min_size=1),
        "timeframes": st.lists(st.sampled_from(["1d", "1w"]), min_size=1),
        "confidence_min": st.floats(0, 1),
        "rs_min": st.floats(allow_nan=False, allow_infinity=False),
        "vol_min": st.floats(0, 1e300),
        "rsi_range": st.lists(st.floats(0, 100), min_size=2, max_size=2).map(sorted),
        "test_confirmed": st.booleans(),
        "watchlist_id": st.uuids().map(str),
        "sort_by": st.sampled_from(["confidence", "symbol", "rs"]),
    },
)


@given(_FILTERS)
def test_stored_filters_ask_again_for_what_was_asked(said: dict[str, Any]) -> None:
    stored = bodies.settled(bodies.ScanFilters.model_validate(said), ScanQuery)

    again = bodies.ScanFilters.model_validate(orjson.loads(orjson.dumps(stored)))

    assert bodies.settled(again, ScanQuery) == stored
    asked = queries.parse(ScanQuery, bodies.pairs(stored))
    assert set(stored) == asked.model_fields_set
    for name in ("confidence_min", "rs_min", "vol_min", "test_confirmed"):
        assert name not in said or getattr(asked, name) == said[name]
