"""Feeds of bars in every order and repetition, from real or made-up history, and what must come of them.

What must come of a feed is computed by the pure domain alone, from all of its bars at once: no stream, no
database, no batches. Everything is drawn from a seed, so a run can be repeated.
"""

import csv
import gzip
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import compress
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import orjson

from rollotape import calendars
from rollotape.domain import bars as domain
from rollotape.domain.analysis import Analysis, Window, analyse, settle
from rollotape.seed import sectors as listings
from rollotape.streams.partitions import partition_of, stream_name

PARTITIONS = 16
LATE = RESTATED = 0.01
MOST_IN_A_FRAME = 60
SECTORS = ("Energy", "Industrials", "Information Technology")
BENCHMARKS = ("SPY", "QQQ", "XLE", "XLI", "XLK")
UNLISTED = "WYNN"
"""A stock of which the sectors of a new installation know nothing."""
EXTREMES = (0.02, 0.05, 0.4, 2.0, 4.0)
"""Factors on spread or volume that make volume-spread events of made-up bars."""

Message = tuple[str, bytes]
"""A stream and the payload of one entry."""


class Bar(NamedTuple):
    """A bar as its sender says it; `ts` in seconds since 1970, a missing number is None."""

    symbol: str
    timeframe: str
    ts: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None
    revision: int = 0
    synthetic: bool = False

    @property
    def key(self) -> tuple[str, str, int]:
        return self[:3]


Bars = Sequence[Bar]


# ---- history


def daily(path: Path, symbols: Iterable[str] | None = None) -> list[Bar]:
    """Daily bars of a file, bad rows included, by date and symbol."""
    chosen = None if symbols is None else set(symbols)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        found = [
            _bar(symbol, "1d", _seconds(date), map(_number, numbers))
            for symbol, date, *numbers in rows
            if chosen is None or symbol in chosen
        ]
    return sorted(found, key=lambda b: (b.ts, b.symbol))


def sample(path: Path, seed: int, *, symbols: int, days: int) -> list[Bar]:
    """Daily bars of some symbols over some days of their history."""
    rng = Random(seed)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        names = sorted({line.partition(",")[0] for line in file} - {"symbol"})
    histories = _by_symbol(daily(path, rng.sample(names, symbols)))
    found = [b for history in histories.values() for b in _cut(history, days, rng)]
    return sorted(found, key=lambda b: (b.ts, b.symbol))


def minutes(path: Path, seed: int, *, symbols: int, bars: int) -> list[Bar]:
    """One-minute bars as they lie in the file: out of hours, doubled, without prices; some gaps filled."""
    rng = Random(seed)
    histories: dict[str, list[Bar]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for symbol, when, *numbers in rows:
            bar = _bar(symbol, "1m", _seconds(when), map(_number, numbers))
            histories.setdefault(symbol, []).append(bar)
    chosen = rng.sample(sorted(histories), symbols)
    cut = [b for symbol in chosen for b in _filled(_cut(histories[symbol], bars, rng), rng)]
    return sorted(cut, key=lambda b: (b.ts, b.symbol))


def made_up(seed: int, *, symbols: int, days: int) -> list[Bar]:
    """Daily bars that wander, with the quiet and the wild ones that events are made of."""
    rng = Random(seed)
    found = [
        bar
        for n in range(symbols)
        for bar in _wander(f"MADE{n}", "1d", _weekdays(datetime(2021, 1, 4, tzinfo=UTC), days), rng)
    ]
    return sorted(found, key=lambda b: (b.ts, b.symbol))


def made_up_minutes(seed: int, *, symbols: int, bars: int) -> list[Bar]:
    """Five-minute bars from before the open to after the close, with gaps, some of them filled."""
    rng = Random(seed)
    found: list[Bar] = []
    for n in range(symbols):
        times = [t for t in _five_minutes(datetime(2021, 3, 8, tzinfo=UTC), bars) if rng.random() > 0.05]
        found += _filled(_wander(f"MADE{n}", "5m", times, rng), rng)
    return sorted(found, key=lambda b: (b.ts, b.symbol))


def history(market: Path | None, seed: int, *, symbols: int) -> list[Bar]:
    """Days and minutes of some symbols; real ones, bad rows included, where there is market data."""
    few = max(2, symbols // 4)
    if market is None:
        return made_up(seed, symbols=symbols, days=250) + made_up_minutes(seed, symbols=few, bars=400)
    days = sample(market / "bars_daily_sp500.csv.gz", seed, symbols=symbols, days=250)
    return days + minutes(market / "bars_intraday.csv.gz", seed, symbols=few, bars=400)


def market(data: Path | None, seed: int, *, members: int, days: int) -> list[Bar]:
    """Days of so many stocks of some sectors, their funds, SPY and QQQ, all of the same time; some minutes.

    Real ones, bad rows included, where there is market data.
    """
    rng = Random(seed)
    stocks = [s for sector in SECTORS for s in rng.sample(_members(sector), members)]
    names = [*stocks, UNLISTED, *BENCHMARKS]
    if data is None:
        times = _weekdays(datetime(2021, 1, 4, tzinfo=UTC), days)
        found = [bar for name in names for bar in _wander(name, "1d", times, rng)]
        return found + made_up_minutes(seed, symbols=3, bars=250)
    whole = daily(data / "bars_daily_sp500.csv.gz", names) + daily(data / "bars_daily_etf.csv.gz", names)
    times = sorted({b.ts for b in whole if b.symbol == UNLISTED})
    first = rng.randrange(len(times) - days)
    found = [b for b in whole if times[first] <= b.ts < times[first + days]]
    return found + minutes(data / "bars_intraday.csv.gz", seed, symbols=3, bars=250)


def _members(sector: str) -> list[str]:
    return sorted(symbol for symbol, _, of, _, kind in listings() if of == sector and kind == "stock")


def some(bars: Bars, rng: Random, *, symbols: int, always: Sequence[str] = ()) -> list[Bar]:
    """The bars of some symbols by chance, and of others in any case."""
    names = sorted({b.symbol for b in bars}.difference(always))
    chosen = {*rng.sample(names, min(symbols, len(names))), *always}
    return [b for b in bars if b.symbol in chosen]


def _bar(symbol: str, timeframe: str, ts: int, numbers: Iterable[float | None]) -> Bar:
    o, h, low, c, v = numbers
    return Bar(symbol, timeframe, ts, o, h, low, c, v)


def _cut(history: list[Bar], count: int, rng: Random) -> list[Bar]:
    start = rng.randrange(max(1, len(history) - count))
    return history[start : start + count]


def _filled(history: list[Bar], rng: Random) -> Iterator[Bar]:
    """Some bars are followed by one that the feed made up, at times where a real bar is, too."""
    for bar in history:
        yield bar
        if rng.random() < 0.05 and bar.close is not None:
            length = domain.TIMEFRAMES[bar.timeframe].length_us // 1_000_000
            after = bar.ts + length * rng.randint(0, 2)
            yield Bar(bar.symbol, bar.timeframe, after, *(bar.close,) * 4, 0.0, synthetic=True)


def _wander(symbol: str, timeframe: str, times: Iterable[int], rng: Random) -> list[Bar]:
    found, price, drift = [], rng.uniform(20, 400), 0.0
    for ts in times:
        if rng.random() < 0.04:
            drift = rng.choice((-0.006, 0.0, 0.006))
        spread = price * 0.02 * (rng.choice(EXTREMES) if rng.random() < 0.2 else rng.uniform(0.7, 1.3))
        volume = 1e6 * (rng.choice(EXTREMES) if rng.random() < 0.3 else rng.uniform(0.7, 1.3))
        low = price * (1 + drift) - spread / 2
        prices = [round(low + spread * part, 2) for part in (rng.random(), 1.0, 0.0, rng.random())]
        found.append(_bar(symbol, timeframe, ts, (*prices, float(round(volume)))))
        price = max(prices[3], 5.0)
    return found


def _weekdays(first: datetime, count: int) -> list[int]:
    days = (first + timedelta(days=n) for n in range(count * 7 // 5 + 7))
    return [int(d.timestamp()) for d in days if d.weekday() < 5][:count]


def _five_minutes(first: datetime, count: int) -> list[int]:
    """13:00 to 21:55 UTC of every day: an hour and more of it lies outside the session."""
    slots = (first + timedelta(days=n // 108, hours=13, minutes=5 * (n % 108)) for n in range(count))
    return [int(slot.timestamp()) for slot in slots]


def _by_symbol(bars: Bars) -> dict[str, list[Bar]]:
    found: dict[str, list[Bar]] = {}
    for bar in bars:
        found.setdefault(bar.symbol, []).append(bar)
    return found


def _seconds(text: str) -> int:
    when = datetime.fromisoformat(text)
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def _number(text: str) -> float | None:
    return float(text) if text else None


def sound(bars: Bars) -> list[Bar]:
    """Without the bars that will be refused."""
    found: list[Bar] = []
    for timeframe in sorted({b.timeframe for b in bars}):
        of_it = [b for b in bars if b.timeframe == timeframe]
        good = domain.valid(_candidates(timeframe, of_it), calendars.sessions())
        found += compress(of_it, good.tolist())
    return sorted(found, key=lambda b: (b.ts, b.symbol))


# ---- orders and repetitions


def as_it_was(bars: Bars, rng: Random) -> list[Bar]:
    return list(bars)


def shuffled(bars: Bars, rng: Random) -> list[Bar]:
    mixed = list(bars)
    rng.shuffle(mixed)
    return mixed


def twice(bars: Bars, rng: Random) -> list[Bar]:
    """Every bar comes again: soon, or long after."""
    again = [(bar, i + rng.choice((0, 1, 40, rng.randrange(len(bars))))) for i, bar in enumerate(bars)]
    return _later(again, bars)


def late(bars: Bars, rng: Random) -> list[Bar]:
    """One in a hundred comes later than it should."""
    behind = {i for i in range(len(bars)) if rng.random() < LATE}
    return _later([(bars[i], rng.randint(i, len(bars))) for i in sorted(behind)], bars, behind)


def restated(bars: Bars, rng: Random) -> list[Bar]:
    """One in a hundred is wrong at first and put right later, with a higher revision."""
    sent, corrections = list(bars), []
    rivals = Counter(b.key for b in bars)  # restating one of several bars of a key would make it win
    for i, bar in enumerate(bars):
        if rng.random() < RESTATED and bar.close is not None and rivals[bar.key] == 1:
            sent[i] = _wrong(bar, rng)
            corrections.append((bar._replace(revision=1), rng.randint(i + 1, len(bars))))
    return _later(corrections, sent)


def storm(bars: Bars, rng: Random) -> list[Bar]:
    """All of it at once, and more often: late, doubled, restated in either order, contradicted."""
    order: list[tuple[float, Bar]] = []
    for i, bar in enumerate(bars):
        here = i + (rng.uniform(0, len(bars) - i) if rng.random() < 0.05 else rng.uniform(0, 30))
        order.append((here, bar))
        if bar.close is None:
            continue
        if rng.random() < 0.05:
            order.append((here + rng.uniform(0, 500), bar))
        if rng.random() < 0.05:
            order.append((rng.uniform(0, len(bars)), _wrong(bar, rng)._replace(revision=1)))
            order.append((rng.uniform(0, len(bars)), bar._replace(revision=2)))
        if rng.random() < 0.01:
            order.append((here + rng.uniform(-50, 500), _wrong(bar, rng)))
    return [bar for _, bar in sorted(order, key=lambda pair: pair[0])]


ORDERS: Mapping[str, Callable[[Bars, Random], list[Bar]]] = {
    "sorted": as_it_was,
    "shuffled": shuffled,
    "twice": twice,
    "late": late,
    "restated": restated,
    "storm": storm,
}


def _later(moved: list[tuple[Bar, int]], bars: Bars, without: set[int] | None = None) -> list[Bar]:
    """`bars` without some of them, and each moved bar after the position it is given."""
    kept = [(i, 0, bar) for i, bar in enumerate(bars) if without is None or i not in without]
    added = [(position, 1, bar) for bar, position in moved]
    return [bar for _, _, bar in sorted(kept + added, key=lambda entry: entry[:2])]


def _wrong(bar: Bar, rng: Random) -> Bar:
    """Another bar of the same key, as valid as the right one."""
    factor = rng.choice((0.9, 1.1, 1.02))
    prices = [None if p is None else round(p * factor, 2) for p in bar[3:7]]
    volume = None if bar.volume is None else bar.volume * rng.choice((0.25, 3.0)) + 1.0
    said = dict(zip(domain.NUMBERS, (*prices, volume), strict=True))
    return Bar(**bar._asdict() | said)


# ---- messages


def singles(bars: Iterable[Bar], partitions: int = PARTITIONS) -> list[Message]:
    """One entry per bar."""
    streams = _Streams(partitions)
    return [(streams[b.symbol], _single(b)) for b in bars]


def frames(bars: Iterable[Bar], size: int, partitions: int = PARTITIONS) -> list[Message]:
    """Frames of one size; the bars of a symbol keep their order."""
    return _packed(bars, partitions, lambda: size)


def mixed(
    bars: Iterable[Bar], rng: Random, *, framed: float = 0.1, partitions: int = PARTITIONS
) -> list[Message]:
    """Single bars and frames of every size; the bars of a symbol keep their order."""
    return _packed(bars, partitions, lambda: rng.randint(2, MOST_IN_A_FRAME) if rng.random() < framed else 1)


class _Streams(dict[str, str]):
    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def __missing__(self, symbol: str) -> str:
        self[symbol] = stream = stream_name("bars", partition_of(symbol, self._partitions))
        return stream


def _packed(bars: Iterable[Bar], partitions: int, size: Callable[[], int]) -> list[Message]:
    streams, messages = _Streams(partitions), list[Message]()
    open_frames: dict[tuple[str, str], tuple[int, list[Bar]]] = {}
    for bar in bars:
        place = streams[bar.symbol], bar.timeframe
        wanted, waiting = open_frames.setdefault(place, (size(), []))
        waiting.append(bar)
        if len(waiting) == wanted:
            del open_frames[place]
            messages.append((place[0], _single(bar) if wanted == 1 else _frame(waiting)))
    return messages + [(stream, _frame(waiting)) for (stream, _), (_, waiting) in open_frames.items()]


def _single(bar: Bar) -> bytes:
    said = bar._asdict() | {"version": 1, "ts": datetime.fromtimestamp(bar.ts, UTC)}
    return orjson.dumps(said, option=orjson.OPT_UTC_Z)


def _frame(bars: Bars) -> bytes:
    columns = dict(zip(Bar._fields, map(list, zip(*bars, strict=True)), strict=True))
    columns["ts"] = [datetime.fromtimestamp(b.ts, UTC) for b in bars]
    timeframes = set(columns.pop("timeframe"))
    assert len(timeframes) == 1, "a frame has one timeframe"
    return orjson.dumps({"version": 1, "timeframe": timeframes.pop(), "frame": columns})


# ---- what must come of it


@dataclass(frozen=True)
class Expected:
    """Exports as `rollo export` writes them, and how many of the sent bars are refused."""

    bars: str
    vsa_events: str
    refused: int

    @property
    def unrevised(self) -> str:
        """`bars` without the column `revision`, which differs where bars were restated."""
        return "".join(f"{line.rpartition(',')[0]}\n" for line in self.bars.splitlines())

    def times(self, count: int) -> "Expected":
        """The same, sent so often."""
        return replace(self, refused=self.refused * count)


def expected(sent: Bars) -> Expected:
    """What any sending of these bars must end in, from all of them in one batch."""
    keys: dict[tuple[str, str], int] = {}
    owners, parts, refused = [], [], 0
    for timeframe in sorted({b.timeframe for b in sent}):
        offered = _candidates(timeframe, [b for b in sent if b.timeframe == timeframe])
        good = domain.valid(offered, calendars.sessions())
        refused += int((~good).sum())
        offered = offered.only(good)
        owners += [keys.setdefault((s, timeframe), len(keys)) for s in offered.symbols]
        parts.append(domain.complete(offered, calendars.sessions()))
    nothing = domain.concatenate([])
    windows = {key: Window(nothing) for key in keys}
    index = np.array(owners, np.int64)
    settled = settle(windows, list(keys), index, domain.concatenate(parts))
    analysis = analyse(settled, [])
    return Expected(_bars_text(analysis), _events_text(analysis), refused)


def _candidates(timeframe: str, sent: Bars) -> domain.Candidates:
    now_ms = int(datetime.now(UTC).timestamp() * 1_000)
    columns = dict(zip(Bar._fields, map(list, zip(*sent, strict=True)), strict=True))
    return domain.candidates(
        timeframe, columns["symbol"], columns["ts"], {name: columns[name] for name in domain.NUMBERS},
        columns["revision"], columns["synthetic"], [now_ms] * len(sent),
    )  # fmt: skip


def _bars_text(analysis: Analysis) -> str:
    index, rows = analysis.inserted
    numbers = (rows[name].tolist() for name in domain.NUMBERS)
    columns = (index.tolist(), rows["ts"].tolist(), *numbers, rows["revision"].tolist())
    found = [(*analysis.keys[at], ts, *said) for at, ts, *said in zip(*columns, strict=True)]
    lines = (
        f"{symbol},{timeframe},{_text(ts)},{','.join(map(_decimal, prices))},{revision}\n"
        for symbol, timeframe, ts, *prices, revision in sorted(found)
    )
    return "symbol,timeframe,ts,open,high,low,close,volume,revision\n" + "".join(lines)


def _events_text(analysis: Analysis) -> str:
    header = "symbol,timeframe,rule_set,kind,direction,event_ts,confirmed_ts,knowable_at\n"
    return header + "".join(
        f"{','.join(e.key[:4])},{e.direction},{_text(e.event_ts)},{_text(e.confirmed_ts)},{_text(e.knowable_at)}\n"
        for e in sorted(analysis.appeared)
    )


def _text(us: int) -> str:
    return f"{datetime.fromtimestamp(us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _decimal(value: float) -> str:
    """As PostgreSQL writes a double precision of our range."""
    return repr(value).removesuffix(".0")
