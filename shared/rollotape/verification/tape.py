"""Bars and volume-spread events, recomputed cold: each bar by its own window, by the other implementation."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rollotape import calendars
from rollotape.domain import bars as domain
from rollotape.domain.analysis import Key, VsaEvent
from rollotape.domain.bars import BAR, Rows
from rollotape.domain.vsa import single
from rollotape.domain.vsa.rules import REACH, RULE_SETS
from rollotape.postgres.sql import queries
from rollotape.verification import Difference, name

_FOLLOWS_FROM_THE_BAR = ("hash", "end_ts", "session", "regular")


class Tape(NamedTuple):
    """What is stored of one key, and what follows from its bars."""

    key: Key
    bars: Rows
    events: list[VsaEvent]
    evaluable: NDArray[np.int8]
    expected: list[VsaEvent]


async def read(connection: Any, key: Key) -> Tape:
    """Needs a connection with `raw_times`."""
    sql = queries("verify")
    stored = await connection.fetch(sql["bars"], *key)
    bars = np.array([(*r[:-1], -1 if r[-1] is None else r[-1]) for r in map(tuple, stored)], BAR)
    events = [VsaEvent(*r) for r in await connection.fetch(sql["events"], *key)]
    return Tape(key, bars, events, *recompute(key, bars))


def differences(tape: Tape) -> Iterator[Difference]:
    yield from _bar_differences(tape.key, tape.bars)
    for i in np.flatnonzero(tape.evaluable != tape.bars["evaluable"]).tolist():
        where = name(*tape.key, tape.bars["ts"][i])
        stored_as = f"evaluable {tape.bars['evaluable'][i]}"
        yield Difference("bars", where, stored_as, str(tape.evaluable[i]))
    stored = {e.key: e for e in tape.events}
    follows = {e.key: e for e in tape.expected}
    for k in sorted(stored.keys() | follows.keys()):
        if stored.get(k) != follows.get(k):
            yield Difference("vsa_events", name(*k), str(stored.get(k, "")), str(follows.get(k, "")))


def _bar_differences(key: Key, bars: Rows) -> Iterator[Difference]:
    """What follows from each bar alone, computed again from what its sender said."""
    symbol, timeframe = key
    said = domain.Candidates(timeframe, [symbol] * len(bars), bars.copy())
    fresh = domain.complete(said, calendars.sessions())
    for column in _FOLLOWS_FROM_THE_BAR:
        for i in np.flatnonzero(fresh[column] != bars[column]).tolist():
            where = name(*key, bars["ts"][i])
            yield Difference("bars", where, f"{column} {bars[column][i]}", str(fresh[column][i]))


def recompute(key: Key, bars: Rows) -> tuple[NDArray[np.int8], list[VsaEvent]]:
    """Judgement (1, 0, -1) of every bar and all events of one key, from each bar's own cold window."""
    evaluable = np.full(len(bars), -1, np.int8)
    [analysed] = np.nonzero(domain.analysed(bars))
    found: list[VsaEvent] = []
    columns = _columns(bars[analysed])
    ts, end_ts = bars["ts"][analysed].tolist(), bars["end_ts"][analysed].tolist()
    for i, at in enumerate(analysed.tolist()):
        window = single.Window(columns.window(max(0, i - REACH), i + 1), daily=key[1] == "1d")
        evaluable[at] = window.evaluable()
        for rule_set in RULE_SETS:
            for rule in window.events(rule_set):
                assert rule.direction is not None
                kind, direction, described = rule.kind, rule.direction, ts[i + rule.described]
                event = VsaEvent(*key, rule_set.name, kind, described, ts[i], end_ts[i], direction)
                found.append(event)
    return evaluable, found


def _columns(bars: Rows) -> single.Columns:
    count = len(bars)
    prices = single.whole(np.concatenate([bars[n] for n in ("open", "high", "low", "close")]).tolist())
    o, h, low, c = (prices[i * count : (i + 1) * count] for i in range(4))
    return single.Columns(o, h, low, c, single.whole(bars["volume"].tolist()), bars["session"].tolist())
