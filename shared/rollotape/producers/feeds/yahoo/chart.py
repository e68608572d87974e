"""Yahoo's chart of one symbol, as JSON: what is asked for and what it says; no I/O.

A time is the start of its bar, of a day the open of its session. Where nothing traded all numbers are null.
The last bar may still be running, and an extra one may stand behind it, at the moment of the last trade.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.sessions import Sessions
from rollotape.errors import RolloError, Unavailable
from rollotape.producers.feeds.closing import DAY_US, end_us
from rollotape.producers.feeds.said import Said, weight

INTERVALS = {"1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "60m", "1d": "1d", "1w": "1wk"}
"""60m begins with the session, as ours do; of four hours it has none."""
DEPTH_US = {"1m": 7 * DAY_US, "5m": 59 * DAY_US, "15m": 59 * DAY_US, "30m": 59 * DAY_US, "1h": 729 * DAY_US}
"""How far back it goes; days and weeks have no end. Of minutes one question may span so much."""
NUMBERS = ("open", "high", "low", "close", "volume")


class Unknown(RolloError):
    """There is no such symbol, or it is no longer listed."""


def path(symbol: str) -> str:
    return f"/v8/finance/chart/{symbol}"


def query(timeframe: str, first_us: int, last_us: int, *, extended: bool) -> dict[str, str]:
    """Both starts are included; Yahoo leaves out the second one, and knows days by their open."""
    beyond = 1_000_000 if TIMEFRAMES[timeframe].intraday else DAY_US
    return {
        "period1": str(first_us // 1_000_000),
        "period2": str((last_us + beyond) // 1_000_000),
        "interval": INTERVALS[timeframe],
        "includePrePost": "true" if extended else "false",
        "events": "",
    }


def read(body: bytes, symbol: str, timeframe: str, asked_us: int, sessions: Sessions) -> list[Said]:
    """Bars whose numbers are all there.

    Raises:
        Unknown: Yahoo has no such symbol. Unavailable: this is no chart.
    """
    try:
        chart = orjson.loads(body)["chart"]
        if chart.get("error"):
            raise _complaint(chart["error"], symbol)
        [result] = chart["result"]
        return list(_bars(result, symbol, timeframe, asked_us, sessions))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ZoneInfoNotFoundError) as error:
        shown = body[:80].decode("utf-8", "replace")
        raise Unavailable(f"Yahoo answers what is no chart of {symbol}: {shown!r}") from error


def _complaint(error: Any, symbol: str) -> RolloError:
    code, said = str(error.get("code")), str(error.get("description"))[:200]
    if code == "Not Found":
        return Unknown(f"{symbol}: Yahoo says: {said}")
    return Unavailable(f"{symbol}: Yahoo says {code}: {said}")


def _bars(
    result: dict[str, Any], symbol: str, timeframe: str, asked_us: int, sessions: Sessions
) -> Iterator[Said]:
    frame, zone = TIMEFRAMES[timeframe], ZoneInfo(result["meta"]["exchangeTimezoneName"])
    [quote] = result["indicators"]["quote"]
    times = result.get("timestamp") or []
    columns = [quote.get(name) or [None] * len(times) for name in NUMBERS]
    found: dict[int, list[Said]] = {}
    for seconds, *numbers in zip(times, *columns, strict=True):
        ts_us = seconds * 1_000_000 if frame.intraday else _day_us(seconds, zone, timeframe)
        if ts_us % frame.grid_us or None in numbers:
            continue  # the moment of the last trade is no bar, and a number that is missing may still come
        told = weight(end_us(timeframe, ts_us, sessions), asked_us)
        o, h, l, c, v = map(float, numbers)  # noqa: E741 - the letters of the field
        found.setdefault(ts_us, []).append(Said(symbol, timeframe, ts_us, o, h, l, c, v, told))
    for twice in found.values():
        if len(twice) == 1 or timeframe == "1d":
            yield twice[-1]  # of a day the last one is whole; of a week none is, and it comes as one later


def _day_us(seconds: int, zone: ZoneInfo, timeframe: str) -> int:
    """Midnight UTC of the day at the exchange; of a week, that of its Monday."""
    day = datetime.fromtimestamp(seconds, zone).date()
    if timeframe == "1w":
        day -= timedelta(days=day.weekday())
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
