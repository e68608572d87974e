"""What a live feed works on: a stack that remembers, and somebody who hears everything."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from rollotape import calendars
from rollotape.domain.bars import content_hash
from rollotape.producers.feeds.outgoing import Outgoing, Place
from rollotape.producers.feeds.standing import Standing
from rollotape.producers.frames import Framer, Message

Row = dict[str, Any]


def rows_of(messages: Sequence[bytes]) -> list[Row]:
    """Every bar of some payloads, as one object each."""
    found: list[Row] = []
    for payload in messages:
        said = orjson.loads(payload)
        if "frame" not in said:
            found.append(said)
            continue
        columns = said["frame"]
        count = len(columns["symbol"])
        columns.setdefault("revision", [0] * count)
        found += [
            {"timeframe": said["timeframe"], **{name: column[i] for name, column in columns.items()}}
            for i in range(count)
        ]
    return found


@dataclass(slots=True)
class Tape:
    """Stores what is sent by the rule of the stream: the greatest (revision, hash) of a key."""

    payloads: list[bytes] = field(default_factory=list)
    stored: dict[Place, tuple[int, int]] = field(default_factory=dict)
    away: Exception | None = None

    async def send(self, messages: Sequence[Message]) -> None:
        if self.away is not None:
            raise self.away
        self.payloads += [payload for _, payload in messages]
        for row in rows_of([payload for _, payload in messages]):
            with suppress(ValueError, TypeError):  # rows that a stream would refuse
                self._store(row)

    @property
    def rows(self) -> list[Row]:
        return rows_of(self.payloads)

    def closes(self, symbol: str) -> list[tuple[str, float, int]]:
        """(time of day, close, revision) of the bars sent of a symbol, in the order of sending."""
        return [
            (row["ts"][11:16], row["close"], row["revision"]) for row in self.rows if row["symbol"] == symbol
        ]

    def winners(self) -> dict[tuple[str, str], float]:
        """What the stream holds in the end of each bar, by symbol and time of day."""
        found: dict[tuple[str, str], tuple[int, float]] = {}
        for row in self.rows:
            place, said = (row["symbol"], row["ts"][11:16]), (row["revision"], row["close"])
            tie = place in found and found[place][0] == said[0] and found[place] != said
            assert not tie, f"{place} has two contents at revision {said[0]}"
            found[place] = max(said, found.get(place, said))
        return {place: close for place, (_, close) in found.items()}

    async def newest(self, symbols: Sequence[str], timeframe: str) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for symbol, of, ts_us in self.stored:
            if of == timeframe and symbol in symbols:
                found[symbol] = max(ts_us, found.get(symbol, ts_us))
        return found

    async def known(self, places: Sequence[Place]) -> Mapping[Place, tuple[int, int]]:
        return {place: self.stored[place] for place in places if place in self.stored}

    def _store(self, row: Row) -> None:
        ts_us = round(datetime.fromisoformat(row["ts"]).timestamp() * 1e6)
        o, h, l, c, v = (float(row[name]) for name in ("open", "high", "low", "close", "volume"))  # noqa: E741
        version = (row.get("revision", 0), content_hash(o, h, l, c, v, False))
        place = (row["symbol"], row["timeframe"], ts_us)
        self.stored[place] = max(version, self.stored.get(place, version))


@dataclass(slots=True)
class Heard:
    """A `Watcher` that remembers."""

    events: list[tuple[str, str]] = field(default_factory=list)

    def happened(self, event: str, sentence: str, **fields: object) -> None:
        self.events.append((event, sentence))

    def stands(self, standing: Standing) -> None:
        return None

    def said(self, event: str) -> list[str]:
        return [sentence for of, sentence in self.events if of == event]


def outgoing_to(tape: Tape, standing: Standing | None = None) -> Outgoing:
    return Outgoing("test", tape.send, Framer(16), calendars.sessions(), standing or Standing())
