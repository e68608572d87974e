"""What is said over Alpaca's WebSocket of market data, in both directions; no I/O.

Every message is an array of objects, each with its type in `T`. Bars are labelled by their start, there is
none where nothing traded, and one whose trades were reported late comes again half a minute later.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

import orjson

from rollotape.domain.bars import MINUTE_US
from rollotape.producers.feeds.said import Said, weight

MINUTES = "1m"
SYMBOLS_AT_ONCE = 500


class Then(Enum):
    """What follows from an error."""

    AGAIN = "connect again"
    STOP = "stop: it will be the same next time"
    NOTHING = "nothing"


class Welcome(NamedTuple):
    pass


class Authenticated(NamedTuple):
    pass


class Subscribed(NamedTuple):
    """Everything that is subscribed to by now."""

    bars: frozenset[str]
    updated: frozenset[str]


class Trouble(NamedTuple):
    code: int
    message: str

    @property
    def then(self) -> Then:
        return _CONSEQUENCES.get(self.code, Then.AGAIN)


class Strange(NamedTuple):
    """Something that the protocol does not have."""

    text: str


Word = Welcome | Authenticated | Subscribed | Trouble | Strange | Said

_CONSEQUENCES = {
    400: Then.STOP,
    402: Then.STOP,
    403: Then.NOTHING,
    405: Then.STOP,
    409: Then.STOP,
    410: Then.STOP,
}
"""401 not authenticated, 404 too late, 406 too many connections, 407 too slow, 500: they pass."""

_MEANING = {
    400: "a symbol of --symbols is none that Alpaca could have",
    402: "the key and its secret are rejected: see to ROLLO_ALPACA_KEY and ROLLO_ALPACA_SECRET",
    405: "--symbols names {count:,}, more than the subscription of this key allows",
    406: "another program is connected with this key, and one connection is allowed",
    407: "this program reads too slowly",
    409: "the subscription of this key does not include --source {source}",
    410: "--source {source} has no minute bars",
}


def in_words(trouble: Trouble, *, source: str, count: int) -> str:
    """With what was asked for: the source, and how many symbols."""
    said = f"Alpaca says {trouble.code} {trouble.message}"
    meaning = _MEANING.get(trouble.code)
    return f"{said}: {meaning.format(source=source, count=count)}" if meaning else said


def authenticate(key: str, secret: str) -> str:
    return orjson.dumps({"action": "auth", "key": key, "secret": secret}).decode()


def subscribe(symbols: Sequence[str]) -> list[str]:
    """Messages for minutes, and for minutes as they are restated; the server adds them up."""
    parts = [symbols[at : at + SYMBOLS_AT_ONCE] for at in range(0, len(symbols), SYMBOLS_AT_ONCE)]
    said = [{"action": "subscribe", "bars": part, "updatedBars": part} for part in parts]
    return [orjson.dumps(message).decode() for message in said]


def read(text: str | bytes, now_us: int) -> list[Word]:
    """The words of one message that came now; what we did not ask for is passed by."""
    try:
        decoded = orjson.loads(text)
    except ValueError:
        return [Strange(repr(text[:100]))]
    if not isinstance(decoded, list):
        return [Strange(repr(text[:100]))]
    words = (_word(item, now_us) for item in decoded)
    return [word for word in words if word is not None]


def bar(item: dict[str, Any], symbol: str, timeframe: str, ts_us: int, revision: int) -> Said | None:
    """A bar of the stream or of the history; None where a number is missing."""
    try:
        o, h, l, c, v = (float(item[name]) for name in "ohlcv")  # noqa: E741 - the letters of the message
    except (KeyError, TypeError, ValueError):
        return None
    return Said(symbol, timeframe, ts_us, o, h, l, c, v, revision)


def moment_us(text: Any) -> int | None:
    """Microseconds since 1970 of an RFC 3339 time; of its nanoseconds nothing is left."""
    try:
        when = datetime.fromisoformat(text)
        return round(when.timestamp() * 1_000_000) if when.tzinfo else None
    except (TypeError, ValueError):
        return None


def _word(item: Any, now_us: int) -> Word | None:
    kind = item.get("T") if isinstance(item, dict) else None
    if kind in ("b", "u"):
        return _minute(item, now_us)
    if kind == "subscription":
        return Subscribed(frozenset(item.get("bars") or ()), frozenset(item.get("updatedBars") or ()))
    if kind == "error":
        code = item.get("code")
        return Trouble(code if isinstance(code, int) else 0, str(item.get("msg", ""))[:200])
    if kind == "success":
        return _success(str(item.get("msg")))
    return None if isinstance(kind, str) else Strange(repr(item)[:100])


def _success(said: str) -> Welcome | Authenticated | None:
    if said == "connected":
        return Welcome()
    return Authenticated() if said == "authenticated" else None


def _minute(item: dict[str, Any], now_us: int) -> Word:
    """A restated minute weighs more than its first telling, whatever our clock says."""
    symbol, ts_us = item.get("S"), moment_us(item.get("t"))
    if not isinstance(symbol, str) or ts_us is None:
        return Strange(repr(item)[:100])
    told = max(weight(ts_us + MINUTE_US, now_us), 1 if item["T"] == "u" else 0)
    return bar(item, symbol, MINUTES, ts_us, told) or Strange(repr(item)[:100])
