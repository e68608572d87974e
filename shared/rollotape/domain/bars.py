"""What a bar is, when it is valid, and which of two bars for one key wins."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import compress
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from rollotape.domain.sessions import DAY_US, Sessions, Times
from rollotape.errors import Fault, short

MINUTE_US = 60_000_000
MAX_PRICE = 1e8
MAX_VOLUME = 1e15
FIRST_US = -2_208_988_800 * 1_000_000
"""1900-01-01T00:00:00Z: what is older is a mistake, and would make every day since then one to look at."""
EARLY_US = 5 * MINUTE_US
"""A bar may end this much after its arrival: clocks differ."""

NUMBERS = ("open", "high", "low", "close", "volume")

Flags = NDArray[np.bool_]

BAR = np.dtype(
    [
        ("ts", "i8"),
        ("open", "f8"),
        ("high", "f8"),
        ("low", "f8"),
        ("close", "f8"),
        ("volume", "f8"),
        ("revision", "i8"),
        ("synthetic", "?"),
        ("hash", "i8"),
        ("end_ts", "i8"),
        ("session", "i8"),
        ("regular", "?"),
        ("arrived", "i8"),
        ("evaluable", "i1"),
    ]
)
"""One bar without symbol and timeframe; times in microseconds since 1970, `session` in days since 1970.

`evaluable` is derived from the bars before: 1, 0, or -1 where the bar is not analysed.
"""
Rows = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Timeframe:
    name: str
    length_us: int
    grid_us: int

    @property
    def intraday(self) -> bool:
        return self.length_us < DAY_US


TIMEFRAMES = {
    name: Timeframe(name, minutes * MINUTE_US, grid * MINUTE_US)
    for name, minutes, grid in (
        ("1m", 1, 1),
        ("5m", 5, 5),
        ("15m", 15, 15),
        ("30m", 30, 15),
        ("1h", 60, 15),
        ("4h", 240, 15),
        ("1d", 1_440, 1_440),
        ("1w", 10_080, 1_440),
    )
}
_LONG_NAMES = {
    "1Min": "1m",
    "5Min": "5m",
    "15Min": "15m",
    "30Min": "30m",
    "1Hour": "1h",
    "4Hour": "4h",
    "1Day": "1d",
    "1Week": "1w",
}
_SYMBOL = re.compile(r"[A-Z0-9.\-^/]{1,20}")


def timeframe(name: str) -> Timeframe | None:
    """The timeframe of either spelling (`1d`, `1Day`), or None; `1M`, a month elsewhere, is no minute."""
    return TIMEFRAMES.get(_LONG_NAMES.get(name, name))


def symbol_is_valid(symbol: str) -> bool:
    return _SYMBOL.fullmatch(symbol) is not None


def content_hash(o: float, h: float, l: float, c: float, v: float, synthetic: bool) -> int:  # noqa: E741 - the letter of the field
    """Signed 64 bits of sha256 over the shortest decimal form of what the bar says."""
    text = f"{o!r}|{h!r}|{l!r}|{c!r}|{v!r}|{1 if synthetic else 0}"
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)


def _content_hashes(bars: Rows) -> NDArray[Any]:
    """`content_hash` of every bar, in a third of the time."""
    columns = [*(_decimals(bars[name]) for name in NUMBERS), np.where(bars["synthetic"], b"1", b"0").tolist()]
    texts = map(b"|".join, zip(*columns, strict=True))
    if not len(bars):
        return bars["hash"]
    digests = b"".join([sha256(text).digest() for text in texts])
    return np.frombuffer(digests, ">i8")[::4]


def _decimals(column: Times) -> list[bytes]:
    """Shortest decimal forms as repr() gives them; orjson's are the same where repr() needs no exponent."""
    numbers = column.tolist()
    if (((column >= 1e-4) & (column < 1e16)) | (column == 0)).all():
        return orjson.dumps(numbers)[1:-1].split(b",")
    return [repr(number).encode() for number in numbers]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Bars of one timeframe as they arrived, not yet known to be valid.

    Of `bars`, what the sender said and `arrived` are filled in; a missing number is NaN.
    """

    timeframe: str
    symbols: list[str]
    bars: Rows

    def __len__(self) -> int:
        return len(self.symbols)

    def only(self, chosen: Flags) -> "Candidates":
        return Candidates(self.timeframe, list(compress(self.symbols, chosen.tolist())), self.bars[chosen])

    def row(self, i: int) -> "Candidates":
        return Candidates(self.timeframe, self.symbols[i : i + 1], self.bars[i : i + 1])


def candidates(
    timeframe: str,
    symbols: list[str],
    seconds: Sequence[float],
    numbers: Mapping[str, Sequence[float | None]],
    revision: Sequence[int],
    synthetic: Sequence[bool],
    arrived_ms: Sequence[int],
) -> Candidates:
    """Columns of equal length; `seconds` since 1970, `numbers` by the names of `NUMBERS`."""
    bars = np.zeros(len(symbols), BAR)
    bars["ts"] = np.rint(np.array(seconds, float) * 1e6)
    for name in NUMBERS:
        bars[name] = np.array(numbers[name], float)
    bars["revision"] = revision
    bars["synthetic"] = synthetic
    bars["arrived"] = np.array(arrived_ms, np.int64) * 1_000
    return Candidates(timeframe, symbols, bars)


def end_ts(frame: Timeframe, ts: Times, sessions: Sessions) -> Times:
    """When each bar is known: start + length; the session's close for 1d; Saturday 00:00 UTC for 1w."""
    if frame.name == "1d":
        return sessions.close_of(ts // DAY_US)
    if frame.name == "1w":
        return ts + 5 * DAY_US
    return ts + frame.length_us


def off_grid(frame: Timeframe, ts: Times) -> Flags:
    off: Flags = ts % frame.grid_us != 0
    if frame.name == "1w":
        off |= (ts // DAY_US + 3) % 7 != 0  # 1970-01-01 was a Thursday
    return off


def _price_rule(field: str) -> tuple[str, str, Callable[[Rows], Flags]]:
    def broken(b: Rows) -> Flags:
        return ~((b[field] > 0) & (b[field] < MAX_PRICE))

    return field, f"must be a finite number above 0 and below {MAX_PRICE:g}", broken


# Written so that a missing number (NaN) breaks its own rule and no other.
_RULES: tuple[tuple[str, str, Callable[[Rows], Flags]], ...] = (
    ("ts", "must not lie before 1900", lambda b: b["ts"] < FIRST_US),
    _price_rule("open"),
    _price_rule("high"),
    _price_rule("low"),
    _price_rule("close"),
    (
        "volume",
        f"must be a finite number from 0 to below {MAX_VOLUME:g}",
        lambda b: ~((b["volume"] >= 0) & (b["volume"] < MAX_VOLUME)),
    ),
    ("high", "must not be below low", lambda b: b["high"] < b["low"]),
    ("high", "must not be below open or close", lambda b: (b["open"] > b["high"]) | (b["close"] > b["high"])),
    ("low", "must not be above open or close", lambda b: (b["open"] < b["low"]) | (b["close"] < b["low"])),
)


def _broken_times(frame: Timeframe, bars: Rows, sessions: Sessions) -> tuple[Flags, Flags]:
    early = end_ts(frame, bars["ts"], sessions) > bars["arrived"] + EARLY_US
    return off_grid(frame, bars["ts"]), early


def valid(candidates: Candidates, sessions: Sessions) -> Flags:
    """Which of the bars may be stored."""
    frame = TIMEFRAMES.get(candidates.timeframe)
    if frame is None:
        return np.zeros(len(candidates), bool)
    off, early = _broken_times(frame, candidates.bars, sessions)
    broken = off | early
    for _, _, rule in _RULES:
        broken |= rule(candidates.bars)
    wrong = {s for s in set(candidates.symbols) if not symbol_is_valid(s)}
    if wrong:
        broken |= np.array([s in wrong for s in candidates.symbols])
    return ~broken


def faults(candidate: Candidates, sessions: Sessions) -> list[Fault]:
    """Every field and reason that applies to one bar (`Candidates` of length 1), in words."""
    found = []
    [symbol], bar = candidate.symbols, candidate.bars
    if not symbol_is_valid(symbol):
        found.append(Fault("symbol", f"must be 1 to 20 characters A-Z 0-9 . - ^ /, got {short(symbol)}"))
    frame, when = TIMEFRAMES.get(candidate.timeframe), np.datetime64(int(bar["ts"][0]), "us")
    if frame is None:
        names = " ".join(TIMEFRAMES)
        found.append(Fault("timeframe", f"must be one of {names}, got {short(candidate.timeframe)}"))
    else:
        [off], [early] = _broken_times(frame, bar, sessions)
        if off:
            found.append(Fault("ts", f"must lie on the grid of {frame.name} bars, got {when}Z"))
        if early:
            found.append(Fault("ts", f"the bar must have ended by its arrival + 5 minutes, got {when}Z"))
    for field, reason, rule in _RULES:
        if rule(bar)[0]:
            value = f"{when}Z" if field == "ts" else bar[field][0].item()
            missing = value != value
            found.append(Fault(field, "is missing or not a number" if missing else f"{reason}, got {value}"))
    return found


def complete(candidates: Candidates, sessions: Sessions) -> Rows:
    """The bars of valid candidates with everything that follows from a bar alone filled in."""
    frame = TIMEFRAMES[candidates.timeframe]
    bars = candidates.bars
    bars["hash"] = _content_hashes(bars)
    bars["end_ts"] = end_ts(frame, bars["ts"], sessions)
    bars["session"] = bars["ts"] // DAY_US
    bars["regular"] = True
    if frame.intraday:
        at, inside = sessions.around(bars["ts"])
        if frame.name in ("1h", "4h"):  # cut from the open, or it mixes two sessions' volume
            inside &= (bars["ts"] - sessions.opens[at]) % frame.length_us == 0
        bars["regular"] = inside
        bars["session"] = np.where(inside, sessions.days[at], bars["session"])
    return bars


def analysed(bars: Rows) -> Flags:
    """Synthetic bars and bars outside regular hours are stored and never analysed."""
    flags: Flags = bars["regular"] & ~bars["synthetic"]
    return flags


def precedence(bars: Rows) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Sort keys of the total order that decides a key, the last one first, as numpy.lexsort takes them."""
    return bars["hash"], ~bars["synthetic"], bars["revision"]


def concatenate(parts: Sequence[Rows]) -> Rows:
    return np.concatenate(parts) if parts else np.empty(0, BAR)
