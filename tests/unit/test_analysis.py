"""What a batch changes: whatever the order, the cuts and the repetitions, the end is that of one cold run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, permutations
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollotape.domain import bars as domain
from rollotape.domain.analysis import (
    ALWAYS,
    FOREVER,
    Analysis,
    Counts,
    Index,
    Key,
    Settled,
    VsaEvent,
    Window,
    analyse,
    settle,
)
from rollotape.domain.bars import BAR, Rows
from rollotape.domain.sessions import DAY_US
from rollotape.domain.vsa.rules import REACH
from support.bars import MONDAY, Ohlcv, evaluable_of, events_of, read_daily, rows, stored, us
from support.tapes import ANY, SEEDS, Flavour, examples, tape

FLAT: Ohlcv = (100, 101, 99, 100, 1000)
DAILY: Key = ("A", "1d")
COMPARED = tuple(name for name in BAR.names or () if name != "arrived")
"""The first arrival of equal bars is kept: the one thing that may differ, and nothing follows from it."""


class Said(NamedTuple):
    """One bar as a sender says it."""

    key: Key
    ts: int
    o: float
    h: float
    l: float  # noqa: E741 - the letter of the field
    c: float
    v: float
    revision: int = 0
    synthetic: bool = False


def incoming(batch: Sequence[Said]) -> tuple[list[Key], Index, Rows]:
    """Keys, the key of each bar, and the bars of a batch, as `settle` takes them."""
    keys: list[Key] = []
    index: list[int] = []
    parts: list[Rows] = []
    for timeframe, group in groupby(sorted(batch, key=lambda b: b.key[1]), key=lambda b: b.key[1]):
        bars = list(group)
        for bar in bars:
            if bar.key not in keys:
                keys.append(bar.key)
            index.append(keys.index(bar.key))
        parts.append(stored([b[1:] for b in bars], timeframe))
    return keys, np.array(index, np.int64), domain.concatenate(parts)


class Tape:
    """What the database is to the detector, and no more: bars by key, events by key of event."""

    def __init__(self) -> None:
        self.bars: dict[Key, Rows] = {}
        self.events: dict[tuple[str, str, str, str, int], VsaEvent] = {}
        self.kept: dict[Key, Window] = {}

    def apply(self, batch: Sequence[Said], *, memory: bool = False) -> Analysis:
        """One batch, with windows as short as can be, or those of the batches before."""
        keys, key, bars = incoming(batch)
        windows = {}
        for i, k in enumerate(keys):
            ts = bars["ts"][key == i]
            first, last = int(ts.min()), int(ts.max())
            held = self.kept.get(k) if memory else None
            windows[k] = held if held is not None and held.covers(first, last) else self.read(k, first, last)
            assert windows[k].covers(first, last)
        settled = settle(windows, keys, key, bars)
        analysis = analyse(settled, list(self.within(settled)))
        self._write(analysis)
        self._check(analysis)
        assert analysis.counts.applied + analysis.counts.duplicate + analysis.counts.superseded == len(batch)
        self.kept |= {k: w for k, w in analysis.windows.items() if w.until == FOREVER}
        return analysis

    def read(self, key: Key, first: int, last: int) -> Window:
        """REACH analysed bars on both sides, and whatever lies between."""
        bars = self.bars.get(key, np.empty(0, BAR))
        ts = bars["ts"][domain.analysed(bars)]
        before, after = ts[ts < first], ts[ts > last]
        since = int(before[-REACH]) if len(before) >= REACH else ALWAYS
        until = int(after[REACH - 1]) if len(after) >= REACH else FOREVER
        return Window(bars[(bars["ts"] >= since) & (bars["ts"] <= until)], since, until)

    def within(self, settled: Settled) -> Iterator[VsaEvent]:
        for span in settled.spans:
            for e in self.events.values():
                same = (e.symbol, e.timeframe) == (span.symbol, span.timeframe)
                if same and span.first <= e.confirmed_ts <= span.last:
                    yield e

    def _write(self, analysis: Analysis) -> None:
        written = [
            (owner, ts)
            for index, bars in (analysis.inserted, analysis.replaced, analysis.judged_anew)
            for owner, ts in zip(index.tolist(), bars["ts"].tolist(), strict=True)
        ]
        assert len(set(written)) == len(written), "a bar is written once"
        for index, bars in (analysis.inserted, analysis.replaced, analysis.judged_anew):
            for owner in set(index.tolist()):
                key = analysis.keys[owner]
                self._put(key, bars[index == owner], new=bars is analysis.inserted[1])
        for event in analysis.vanished:
            assert self.events.pop(event.key) == event
        for event in analysis.appeared:
            assert self.events.get(event.key) != event
            self.events[event.key] = event

    def _put(self, key: Key, bars: Rows, new: bool) -> None:
        held = self.bars.get(key, np.empty(0, BAR))
        assert np.isin(bars["ts"], held["ts"]).any() != new
        assert np.isin(bars["ts"], held["ts"]).all() != new
        joined = np.concatenate([held[~np.isin(held["ts"], bars["ts"])], bars])
        self.bars[key] = joined[np.argsort(joined["ts"])]

    def _check(self, analysis: Analysis) -> None:
        """The windows are what is stored now."""
        for key, window in analysis.windows.items():
            bars = self.bars.get(key, np.empty(0, BAR))
            inside = (bars["ts"] >= window.since) & (bars["ts"] <= window.until)
            assert same(window.bars, bars[inside])


def same(left: Rows, right: Rows) -> bool:
    return len(left) == len(right) and all((left[name] == right[name]).all() for name in COMPARED)


def hash_of(bar: Said) -> int:
    return domain.content_hash(
        float(bar.o), float(bar.h), float(bar.l), float(bar.c), float(bar.v), bar.synthetic
    )


def winners(said: Iterable[Said]) -> dict[Key, Rows]:
    """The greatest (revision, real before synthetic, hash) of every key and time."""
    best: dict[tuple[Key, int], tuple[tuple[int, bool, int], Said]] = {}
    for bar in said:
        rank = (bar.revision, not bar.synthetic, hash_of(bar))
        held = best.get((bar.key, bar.ts))
        if held is None or rank > held[0]:
            best[bar.key, bar.ts] = rank, bar
    by_key: dict[Key, list[Said]] = {}
    for (key, _), (_, bar) in sorted(best.items()):
        by_key.setdefault(key, []).append(bar)
    return {key: stored([b[1:] for b in bars], key[1]) for key, bars in by_key.items()}


def assert_follows(held: Tape, said: Iterable[Said]) -> None:
    """The tape holds the winners of what was said, and exactly the events that the prose finds in them."""
    expected = winners(said)
    assert held.bars.keys() == expected.keys()
    events: set[VsaEvent] = set()
    for (symbol, timeframe), bars in expected.items():
        bars["evaluable"] = evaluable_of(timeframe, bars)
        assert same(held.bars[symbol, timeframe], bars)
        events |= events_of(symbol, timeframe, bars)
    assert set(held.events.values()) == events


def daily(values: Sequence[Ohlcv], symbol: str = "A") -> list[Said]:
    return [Said((symbol, "1d"), (MONDAY + day) * DAY_US, *v) for day, v in enumerate(values)]


def cuts(random: Random, said: Sequence[Said]) -> Iterator[list[Said]]:
    at = 0
    while at < len(said):
        size = random.choice((1, 1, 2, 3, 10, 50))
        yield list(said[at : at + size])
        at += size


def unruly(random: Random, bars: Iterable[Said]) -> list[Said]:
    """The bars with wrong first versions, rivals of equal revision, fillings and repetitions among them."""
    out: list[Said] = []
    for bar in bars:
        out.append(bar)
        if random.random() < 0.25:
            other = random.choice((1.5, 0.5, 1.0))
            revision, synthetic = random.choice((0, 0, 1, 2)), random.random() < 0.4
            out.append(bar._replace(v=bar.v * other, revision=revision, synthetic=synthetic))
        if random.random() < 0.15:
            out.append(random.choice(out))
    return out


MINUTES = us("2016-01-04T14:10Z")
"""Twenty minutes before the open, so that some bars are not analysed."""


def several(seed: int, flavour: Flavour) -> list[Said]:
    said = daily(tape(seed, 70, flavour)) + daily(tape(seed + 1, 45, flavour), "B")
    for key, step, values in (
        (("A", "1m"), domain.MINUTE_US, tape(seed + 2, 70, flavour)),
        (("B", "1w"), 7 * DAY_US, tape(seed + 3, 45, flavour)),
    ):
        start = MINUTES if key[1] == "1m" else MONDAY * DAY_US
        said += [Said(key, start + i * step, *v) for i, v in enumerate(values)]
    return said


SPEAKING = 94
"""A seed whose tape has events of many kinds."""


@examples(15)
@given(SEEDS, ANY, st.booleans())
def test_no_order_no_cut_and_no_repetition_changes_the_end(seed: int, flavour: Flavour, memory: bool) -> None:
    random = Random(seed)
    said = unruly(random, several(seed, flavour))
    random.shuffle(said)
    held = Tape()
    for batch in cuts(random, said):
        held.apply(batch, memory=memory)
    assert_follows(held, said)


@examples(12)
@given(SEEDS, ANY)
def test_bars_nearly_in_order_end_the_same(seed: int, flavour: Flavour) -> None:
    """A live feed: appended bar by bar, some late, some restated soon after."""
    random = Random(seed)
    said = unruly(random, daily(tape(seed, 130, flavour)))
    late = [(i + (random.randint(2, 60) if random.random() < 0.1 else 0), i) for i in range(len(said))]
    said = [said[i] for _, i in sorted(late)]
    held = Tape()
    for batch in cuts(random, said):
        held.apply(batch, memory=True)
    assert_follows(held, said)


@examples(20)
@given(SEEDS, ANY)
def test_one_batch_says_what_many_say(seed: int, flavour: Flavour) -> None:
    said = unruly(Random(seed), several(seed, flavour))
    held = Tape()
    analysis = held.apply(said)
    assert_follows(held, said)
    assert not analysis.vanished
    again = held.apply(said)
    assert again.counts.applied == 0
    assert not again.changes
    assert not (again.appeared or again.vanished)
    assert not (len(again.inserted[1]) or len(again.replaced[1]) or len(again.judged_anew[1]))


def test_cutting_the_history_leaves_the_facts_confirmed_until_then() -> None:
    said = daily(tape(SPEAKING, 200))
    whole = Tape()
    whole.apply(said)
    grown = Tape()
    assert len(whole.events) > 10
    for bar in said:
        analysis = grown.apply([bar], memory=True)
        assert not analysis.vanished
        assert all(e.confirmed_ts == bar.ts for e in analysis.appeared)
        known = {e for e in whole.events.values() if e.confirmed_ts <= bar.ts}
        assert set(grown.events.values()) == known


@examples(12)
@given(SEEDS, ANY, st.booleans())
def test_restated_bars_end_as_if_only_the_last_were_sent(seed: int, flavour: Flavour, late: bool) -> None:
    random = Random(seed)
    final = [b._replace(revision=1) if random.random() < 0.1 else b for b in daily(tape(seed, 120, flavour))]
    wrong = [b._replace(revision=0, h=b.h * 1.5, v=b.v * 3) for b in final if b.revision]
    said = [*wrong, *final] if not late else [*(b for b in final if not b.revision), *wrong]
    restated, once = Tape(), Tape()
    for batch in cuts(random, said):
        restated.apply(batch)
    restated.apply(final)
    once.apply(final)
    assert restated.events == once.events
    assert same(restated.bars[DAILY], once.bars[DAILY])


def test_weeks_later_the_same_bars_say_the_same() -> None:
    """Shifting by whole weeks changes nothing but the dates; ends follow the calendar."""
    weeks = 7 * DAY_US * 9
    first, later = Tape(), Tape()
    said = daily(tape(SPEAKING, 200))
    first.apply(said)
    later.apply([b._replace(ts=b.ts + weeks) for b in said])
    expected = {
        (*e[:4], e.event_ts + weeks, e.confirmed_ts + weeks, e.direction) for e in first.events.values()
    }
    assert len(expected) > 10
    assert {(*e[:6], e.direction) for e in later.events.values()} == expected


# Synthetic bars

CLIMAX = [*daily([FLAT] * 20), *(b._replace(ts=b.ts + 20 * DAY_US) for b in daily([
    (101, 101.5, 98, 98.5, 3000), (98.6, 100, 98.4, 99.8, 1200), FLAT,
]))]  # fmt: skip


def kinds(held: Tape) -> set[tuple[str, int]]:
    """Kind of seed-1 events and the day after MONDAY that they describe."""
    events = (e for e in held.events.values() if e.rule_set == "seed-1")
    return {(e.kind, e.event_ts // DAY_US - MONDAY) for e in events}


@pytest.mark.parametrize("at", [20, 21], ids=["the climax", "its answer"])
def test_a_bar_restated_as_synthetic_and_back_takes_its_event_away_and_back(at: int) -> None:
    held, bar = Tape(), CLIMAX[at]
    held.apply(CLIMAX)
    assert kinds(held) == {("stopping_volume", 20)}
    filled = bar._replace(revision=1, synthetic=True)
    analysis = held.apply([filled])
    assert [e.kind for e in analysis.vanished if e.rule_set == "seed-1"] == ["stopping_volume"]
    assert kinds(held) == set()
    assert held.bars[DAILY]["evaluable"][at] == -1
    held.apply([bar._replace(revision=2)])
    assert kinds(held) == {("stopping_volume", 20)}
    assert_follows(held, [*CLIMAX, filled, bar._replace(revision=2)])


def test_synthetic_bars_are_stored_and_looked_through() -> None:
    """Filled minutes between the climax and its answer change nothing, and the 20 bars are 20 real ones."""
    spread = [b._replace(ts=b.ts + i * DAY_US) for i, b in enumerate(CLIMAX)]
    filled = [b._replace(ts=b.ts + DAY_US, v=0, synthetic=True) for b in spread]
    held = Tape()
    held.apply(spread)
    expected = dict(held.events)
    assert expected
    analysis = held.apply(filled)
    assert not (analysis.appeared or analysis.vanished)
    assert held.events == expected
    assert len(held.bars[DAILY]) == 2 * len(CLIMAX)
    assert_follows(held, spread + filled)


def test_a_real_bar_wins_over_a_synthetic_one_whichever_comes_first() -> None:
    real, filled = CLIMAX[20], CLIMAX[20]._replace(synthetic=True, v=9999.0)
    for first, second in ((real, filled), (filled, real)):
        held = Tape()
        for batch in ([first], [second]):
            held.apply(batch)
        assert not held.bars[DAILY]["synthetic"][0]
        assert held.bars[DAILY]["volume"][0] == real.v


# Which bar wins


def test_rivals_are_decided_alike_in_any_order_and_counted() -> None:
    rivals = [CLIMAX[0]._replace(v=float(v)) for v in (1, 2, 3)]
    greatest = max(rivals, key=hash_of)
    for order in permutations(rivals):
        apart, together = Tape(), Tape()
        conflicts = sum(apart.apply([bar]).counts.conflict for bar in order)
        assert conflicts == 2
        assert together.apply(list(order)).counts == Counts(applied=1, superseded=2, conflict=2)
        for held in (apart, together):
            assert held.bars[DAILY]["volume"].tolist() == [greatest.v]


BAR_1 = CLIMAX[0]
BAR_2 = BAR_1._replace(revision=1, v=7.0)


@pytest.mark.parametrize(
    ("before", "batch", "expected"),
    [
        pytest.param([], [BAR_1], Counts(applied=1), id="new"),
        pytest.param([], [BAR_1, BAR_1], Counts(applied=1, duplicate=1), id="twice in one batch"),
        pytest.param([BAR_1], [BAR_1], Counts(duplicate=1), id="again"),
        pytest.param([BAR_1], [BAR_2], Counts(applied=1), id="restated"),
        pytest.param([BAR_2], [BAR_1], Counts(superseded=1), id="restated before"),
        pytest.param([], [BAR_2, BAR_1], Counts(applied=1, superseded=1), id="both at once"),
        pytest.param([BAR_1], [BAR_1._replace(revision=1)], Counts(applied=1), id="restated as it was"),
        pytest.param([BAR_2], [BAR_1, BAR_2], Counts(duplicate=1, superseded=1), id="old and known"),
    ],
)
def test_every_incoming_bar_is_counted_once(before: list[Said], batch: list[Said], expected: Counts) -> None:
    held = Tape()
    if before:
        held.apply(before)
    assert held.apply(batch).counts == expected


def test_the_first_arrival_of_equal_bars_is_kept() -> None:
    keys, key, bars = incoming([BAR_1, BAR_1, BAR_1])
    bars["arrived"] = [30, 10, 20]
    settled = settle({DAILY: Window(np.empty(0, BAR))}, keys, key, bars)
    assert settled.bars["arrived"].tolist() == [10]
    bars["arrived"] = 5  # sent again by a machine whose clock is behind
    assert settle({DAILY: Window(settled.bars)}, keys, key, bars).counts == Counts(duplicate=3)


# What changes


def test_a_late_bar_between_climax_and_answer_moves_the_confirmation() -> None:
    """The same event, confirmed earlier: its key stays, so it is said anew and not retracted."""
    held = Tape()
    said = [b._replace(ts=b.ts + (DAY_US if b.ts >= CLIMAX[21].ts else 0)) for b in CLIMAX]
    held.apply(said)
    late = said[21]._replace(ts=said[21].ts - DAY_US)
    analysis = held.apply([late])
    [event] = [e for e in analysis.appeared if e.rule_set == "seed-1"]
    assert event.confirmed_ts == late.ts
    assert not [e for e in analysis.vanished if e.rule_set == "seed-1"]
    assert_follows(held, [*said, late])


def test_a_restated_bar_retracts_what_no_longer_follows() -> None:
    held = Tape()
    held.apply(CLIMAX)
    restated = CLIMAX[20]._replace(v=1000.0, revision=1)
    analysis = held.apply([restated])
    assert ("stopping_volume", CLIMAX[20].ts) in {(e.kind, e.event_ts) for e in analysis.vanished}
    assert_follows(held, [*CLIMAX, restated])


@pytest.mark.parametrize(
    "change", [{"v": 1100.0}, {"synthetic": True}], ids=["more volume", "no bar any more"]
)
def test_a_change_reaches_as_far_as_the_longest_look_back(change: dict[str, Any]) -> None:
    """A test at 40 rests on the demand bar at 20, whose volume of 1501 is judged by the bars from 0 on."""
    demand: Ohlcv = (100, 100.4, 99, 99.9, 1501)
    test: Ohlcv = (99.5, 100.5, 98.9, 100.1, 999)
    said = daily([*[FLAT] * 20, demand, *[FLAT] * 19, test])
    held = Tape()
    held.apply(said)
    assert ("test", said[40].ts) in {(e.kind, e.event_ts) for e in held.events.values()}
    restated = said[0]._replace(revision=1, **change)
    analysis = held.apply([restated])
    assert ("test", said[40].ts) in {(e.kind, e.event_ts) for e in analysis.vanished}
    assert_follows(held, [*said, restated])


def test_only_a_bar_whose_answer_changed_is_judged_anew() -> None:
    """The 20th bar comes late: the 20 after it, which had too few before them, become evaluable."""
    said = daily([FLAT] * 60)
    held = Tape()
    held.apply(said[1:])
    analysis = held.apply(said[:1])
    _, anew = analysis.judged_anew
    assert anew["ts"].tolist() == [said[20].ts]
    assert held.bars[DAILY]["evaluable"].tolist() == [0] * 20 + [1] * 40


def test_a_bar_that_only_continues_its_series_asks_for_no_stored_events() -> None:
    held = Tape()
    held.apply(CLIMAX[:-1])
    keys, key, bars = incoming(CLIMAX[-1:])
    assert settle({DAILY: held.kept[DAILY]}, keys, key, bars).spans == []
    keys, key, bars = incoming([CLIMAX[-2]._replace(revision=1)])
    [span] = settle({DAILY: held.kept[DAILY]}, keys, key, bars).spans
    assert span == ("A", "1d", CLIMAX[-2].ts, CLIMAX[-2].ts)


def test_a_change_leaves_the_events_of_other_keys_alone() -> None:
    other = [b._replace(key=("B", "1d")) for b in CLIMAX]
    held = Tape()
    held.apply([*CLIMAX, *other])
    held.apply([CLIMAX[20]._replace(v=1000.0, revision=1)])
    assert {e.symbol for e in held.events.values() if e.rule_set == "seed-1"} == {"B"}


def test_the_extents_of_a_change_are_those_of_its_winners() -> None:
    held = Tape()
    held.apply([*CLIMAX[:3], *(b._replace(key=("B", "1d")) for b in CLIMAX[:3])])
    batch = [
        CLIMAX[0],
        CLIMAX[1]._replace(revision=1),
        CLIMAX[5],
        CLIMAX[2]._replace(key=("B", "1d")),
    ]
    analysis = held.apply(batch)
    assert analysis.extents("ts") == {DAILY: (CLIMAX[1].ts, CLIMAX[5].ts)}
    assert analysis.extents("session") == {DAILY: (MONDAY + 1, MONDAY + 5)}


def test_an_event_is_knowable_when_its_confirming_bar_has_ended() -> None:
    held = Tape()
    held.apply(CLIMAX)
    [event] = [e for e in held.events.values() if e.rule_set == "seed-1"]
    assert event.event_ts == us("2016-01-24T00:00Z")
    assert event.confirmed_ts == us("2016-01-25T00:00Z")
    assert event.knowable_at == us("2016-01-25T21:00Z")  # a Monday: New York closes at 16:00, UTC - 5


def test_the_windows_given_are_left_as_they_were() -> None:
    """They are in memory, and the commit may yet fail."""
    window = Window(rows([FLAT] * 60))
    before = window.bars.copy()
    keys, key, bars = incoming([CLIMAX[20], CLIMAX[0]._replace(revision=3)])
    analyse(settle({DAILY: window}, keys, key, bars), [])
    assert (window.bars == before).all()


# Windows


def mixed(count: int, every: int) -> Rows:
    """Bars of which every `every`-th is synthetic."""
    bars = rows([FLAT] * count)
    bars["synthetic"] = np.arange(count) % every == every - 1
    return bars


@pytest.mark.parametrize("every", [2, 5, 10**6])
def test_a_window_covers_what_it_can_judge_with_what_it_reaches(every: int) -> None:
    bars = mixed(300, every)
    ts, judged = bars["ts"].tolist(), domain.analysed(bars)
    full = Window(bars)
    tail = Window(bars, since=ts[0])
    middle = Window(bars, since=ts[0], until=ts[-1])
    for at in range(300):
        before, after = judged[:at].sum() >= REACH, judged[at + 1 :].sum() >= REACH
        assert full.covers(ts[at], ts[at])
        assert tail.covers(ts[at], ts[at]) == before
        assert middle.covers(ts[at], ts[at]) == (before and after)
    assert full.covers(ALWAYS, FOREVER)
    assert tail.covers(ts[-1], ts[-1] + DAY_US)
    assert not middle.covers(ts[150], ts[-1] + 1)
    assert not tail.covers(ts[0] - 1, ts[-1])


@pytest.mark.parametrize("every", [2, 5, 10**6])
def test_the_context_of_a_bar_is_as_many_analysed_bars_as_it_may_reach(every: int) -> None:
    bars = mixed(300, every)
    judged = domain.analysed(bars)
    window = Window(bars)
    for at in (0, 1, REACH, 84, 85, 86, 150, 299):
        start = window.from_context_of(int(bars["ts"][at]))
        assert judged[start:at].sum() == min(REACH, judged[:at].sum())
        if start:
            assert judged[start]
        elif judged[:at].sum() < REACH:
            assert start == 0


def test_a_long_run_of_synthetic_bars_does_not_hide_the_context() -> None:
    bars = rows([FLAT] * 400)
    bars["synthetic"][60:395] = True
    start = Window(bars).from_context_of(int(bars["ts"][399]))
    assert domain.analysed(bars[start:399]).sum() == REACH


@examples(30)
@given(SEEDS, ANY, st.integers(41, 60), st.integers(41, 60))
def test_a_truncated_window_judges_like_the_full_history(
    seed: int, flavour: Flavour, before: int, after: int
) -> None:
    """Where a window covers a restated bar, both say the same."""
    bars = rows(tape(seed, 130, flavour))
    bars["synthetic"] = np.random.default_rng(seed).random(130) < 0.1
    held = Tape()
    held.bars[DAILY] = bars
    bars["evaluable"] = evaluable_of("1d", bars)
    held.events = {e.key: e for e in events_of("A", "1d", bars)}
    at = 65 + seed % 5
    ts = bars["ts"].tolist()
    since, until = at - before, at + after
    short = Window(bars[since : until + 1], ts[since], ts[until])
    if not short.covers(ts[at], ts[at]):
        return
    batch = [Said(DAILY, ts[at], 100.0, 104.0, 99.0, 103.0, float(bars["volume"].max()) * 2, 1)]
    answers = []
    for window in (short, Window(bars)):
        settled = settle({DAILY: window}, *incoming(batch))
        analysis = analyse(settled, list(held.within(settled)))
        answers.append((set(analysis.appeared), set(analysis.vanished), _plain(analysis.judged_anew[1])))
    assert answers[0] == answers[1]


def _plain(bars: Rows) -> list[tuple[int, int]]:
    return list(zip(bars["ts"].tolist(), bars["evaluable"].tolist(), strict=True))


def test_some_truncated_windows_do_cover() -> None:
    """Or the property above would be empty."""
    bars = rows([FLAT] * 130)
    ts = bars["ts"].tolist()
    assert Window(bars[20:115], ts[20], ts[114]).covers(ts[66], ts[66])


# Real bars


def test_a_real_history_shuffled_and_repeated_ends_as_sorted(shared_data: Path) -> None:
    market: Mapping[str, Rows] = read_daily([shared_data / "bars_daily_etf.csv.gz"])
    random = Random(5)
    said = [
        Said((symbol, "1d"), *(bar[name].item() for name in ("ts", *domain.NUMBERS)))
        for symbol in ("SPY", "XLRE")
        for bar in market[symbol][:500]
    ]
    sent = [*said, *random.sample(said, len(said) // 2)]
    random.shuffle(sent)
    held = Tape()
    while sent:
        held.apply([sent.pop() for _ in range(min(200, len(sent)))], memory=bool(random.getrandbits(1)))
    assert_follows(held, said)
