"""What is read from the tape, read again: one bar at a time from the first one on."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from rollotape.domain import bars as domain
from rollotape.domain.analysis import Key
from rollotape.domain.bars import Rows
from rollotape.domain.reading import OwnPattern, PaperTrade, own_patterns, paper_trade, sorted_terms
from rollotape.domain.wyckoff import tape as tapes
from rollotape.domain.wyckoff.checkpoints import due
from rollotape.domain.wyckoff.facts import Event, Fact, Pattern, Range, Status
from rollotape.domain.wyckoff.fold import Checkpoint, advance
from rollotape.domain.wyckoff.preliminary import preliminary
from rollotape.domain.wyckoff.rules import CURRENT, REACH, Rules
from rollotape.domain.wyckoff.state import EMPTY
from rollotape.postgres.sql import queries
from rollotape.verification import Difference, name

WINDOWS_AT_ONCE = 64

Rows_ = Mapping[str, Mapping[Hashable, Any]]
"""Table by name: row by key."""


class Reading(NamedTuple):
    """What is stored of one key, table by table and row by row."""

    tables: Rows_

    @property
    def events(self) -> int:
        return len(self.tables["wyckoff_events"])


async def read(connection: Any, key: Key) -> Reading:
    """Needs a connection with `raw_times`."""
    sql = queries("verify")

    async def rows(query: str) -> list[Any]:
        return [tuple(r) for r in await connection.fetch(sql[query], *key)]

    events = [Event._make([*r[:-1], _terms(r[-1])]) for r in await rows("wyckoff_events")]
    ranges = [Range._make([*r[:11], _phases(r[11]), *r[12:]]) for r in await rows("wyckoff_ranges")]
    patterns = [(OwnPattern(*r[:-2]), *map(_counts, r[-2:])) for r in await rows("own_patterns")]
    return Reading(
        _tables(
            events,
            [Status(*r) for r in await rows("wyckoff_statuses")],
            ranges,
            {(rule_set, ts): state for rule_set, ts, state in await rows("wyckoff_states")},
            patterns,
            [PaperTrade(*r) for r in await rows("paper_trades")],
        )
    )


def differences(key: Key, stored: Reading, bars: Rows, rules: Rules = CURRENT) -> Iterator[Difference]:
    """Stored against what one bar after the other gives; `bars` are all that are stored of the key."""
    expected = recompute(key, bars[domain.analysed(bars)], rules)
    for table, rows in stored.tables.items():
        follows = expected.tables[table]
        for k in sorted(rows.keys() | follows.keys(), key=repr):
            if rows.get(k) != follows.get(k):
                where = name(*key, repr(k))
                yield Difference(table, where, str(rows.get(k, "")), str(follows.get(k, "")))


def recompute(key: Key, bars: Rows, rules: Rules = CURRENT) -> Reading:
    """Everything that follows from these analysed bars."""
    facts, states = _one_by_one(key, bars, rules)
    patterns = own_patterns(facts, bars["ts"])
    told = {f.id: f for f in facts if isinstance(f, Pattern)}
    return Reading(
        _tables(
            [sorted_terms(f) for f in facts if isinstance(f, Event)],
            [f for f in facts if isinstance(f, Status)],
            [f for f in facts if isinstance(f, Range)],
            {(rules.name, c.ts): c.state for c in states},
            [(p, *preliminary(facts, told[p.id])) for p in patterns],
            [paper_trade(p, bars) for p in patterns],
        )
    )


def _one_by_one(key: Key, bars: Rows, rules: Rules) -> tuple[list[Fact], list[Checkpoint]]:
    """Each bar with a window of its own, no longer than it may need."""
    state, facts, states = EMPTY, list[Fact](), list[Checkpoint]()
    for tape in _windows(key, bars, rules):
        folded = advance(key, state, tape)
        state = folded.state
        facts += folded.facts
        if due(key[1], tape):
            states.append(Checkpoint(tape.bars["ts"][-1].item(), state))
    return facts, states


def _windows(key: Key, bars: Rows, rules: Rules) -> Iterator[tapes.Tape]:
    """Made together, some at a time, because that is quicker; none knows of the others."""
    for begin in range(0, len(bars), WINDOWS_AT_ONCE):
        ends = range(begin, min(begin + WINDOWS_AT_ONCE, len(bars)))
        firsts = [max(0, at - REACH) for at in ends]
        parts = [bars[first : at + 1] for first, at in zip(firsts, ends, strict=True)]
        starts = [at - first for first, at in zip(firsts, ends, strict=True)]
        yield from tapes.read(parts, starts, [key[1] == "1d"] * len(parts), rules)


def _tables(
    events: Any, statuses: Any, ranges: Any, states: Mapping[Hashable, bytes], patterns: Any, trades: Any
) -> Rows_:
    return {
        "wyckoff_events": {e.key: e for e in events},
        "wyckoff_statuses": {(*s.key, s.range_id, s.status): s for s in statuses},
        "wyckoff_ranges": {(r.range_id, r.confirmed_ts): r for r in ranges},
        "wyckoff_states": states,
        "patterns": {p.id: (p, *counts) for p, *counts in patterns},
        "signals": {t.id: t for t in trades},
    }


def _terms(text: str) -> Any:
    return tuple(sorted(orjson.loads(text).items()))


def _phases(text: str) -> Any:
    return tuple((letter, ts) for letter, ts in orjson.loads(text))


def _counts(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)
