"""Alpaca's historical bars: pages of a question for many symbols, asked as often as its limits allow."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import orjson

from rollotape.domain.bars import TIMEFRAMES
from rollotape.domain.sessions import Sessions
from rollotape.errors import Refused, Unavailable
from rollotape.facts import instant
from rollotape.producers.feeds import http
from rollotape.producers.feeds.alpaca.protocol import bar, moment_us
from rollotape.producers.feeds.closing import DAY_US, end_us
from rollotape.producers.feeds.http import Answer
from rollotape.producers.feeds.said import Said, weight
from rollotape.producers.keeper import Request

NAMES = {"1m": "1Min", "5m": "5Min", "15m": "15Min", "30m": "30Min", "1d": "1Day", "1w": "1Week"}
"""Its hours begin with the hours of the clock and not with the session, so none of ours could be analysed."""
NEW_YORK = ZoneInfo("America/New_York")
PAGE = 10_000
DELAYED_US = 16 * 60_000_000
PATIENCE = 5

Get = Callable[[str, Mapping[str, str]], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks, for what data, and where."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    source: str
    data_url: str
    adjustment: str = "split"

    @property
    def headers(self) -> dict[str, str]:
        return {
            "APCA-API-KEY-ID": self.key,
            "APCA-API-SECRET-KEY": self.secret,
            "Accept": "application/json",
        }


class AlpacaHistory:
    """`producers.feeds.history.History` of Alpaca."""

    def __init__(
        self,
        account: Account,
        sessions: Sessions,
        *,
        get: Get = http.get,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._account = account
        self._sessions = sessions
        self._get = get
        self._now_us = now_us
        self._sleep = sleep

    async def bars(
        self, timeframe: str, symbols: Sequence[str], first_us: int, last_us: int
    ) -> AsyncIterator[list[Said]]:
        if self._account.source == "delayed_sip":
            last_us = min(last_us, self._now_us() - DELAYED_US)
        if first_us > last_us:
            return
        token: str | None = None
        while True:
            asked_us = self._now_us()
            url = question(self._account, timeframe, symbols, first_us, last_us, token)
            answer = await self._ask(url)
            bars, token = page(answer, timeframe, asked_us, self._sessions)
            if bars:
                yield bars
            if token is None:
                return

    def tells(self, request: Request) -> bool:
        """Whether that Alpaca has no bars of a span means that nothing traded then."""
        return self._account.source != "delayed_sip" or request.last_us <= self._now_us() - DELAYED_US

    async def _ask(self, url: str) -> Answer:
        """The answer to a question that was taken.

        Raises:
            Refused: it is never taken like this. Unavailable: not now.
        """
        for _ in range(PATIENCE):
            answer = await self._get(url, self._account.headers)
            if answer.status != http.TOO_MANY:
                break
            await self._sleep(http.pause_s(answer, self._now_us() / 1e6))
        if answer.status == 200:
            return answer
        raise complaint(answer, self._account.source)


def question(
    account: Account, timeframe: str, symbols: Sequence[str], first_us: int, last_us: int, token: str | None
) -> str:
    """Both times are included. A day is labelled by its midnight in New York, and asked for by it."""
    if not TIMEFRAMES[timeframe].intraday:
        last_us += DAY_US
    asked = {
        "symbols": ",".join(symbols),
        "timeframe": NAMES[timeframe],
        "start": _rfc_3339(first_us),
        "end": _rfc_3339(last_us),
        "limit": str(PAGE),
        "adjustment": account.adjustment,
        "feed": "sip" if account.source == "delayed_sip" else account.source,
        "sort": "asc",
    }
    if token is not None:
        asked["page_token"] = token
    return f"{account.data_url.rstrip('/')}/v2/stocks/bars?{urlencode(asked)}"


def page(answer: Answer, timeframe: str, asked_us: int, sessions: Sessions) -> tuple[list[Said], str | None]:
    """Bars of one page, and the token of the next.

    Raises:
        Unavailable: this is no page of bars.
    """
    try:
        decoded = orjson.loads(answer.body)
        found = [
            _bar(item, symbol, timeframe, asked_us, sessions)
            for symbol, items in (decoded["bars"] or {}).items()
            for item in items
        ]
        return [said for said in found if said is not None], decoded.get("next_page_token") or None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(f"Alpaca's history answers what is no page of bars: {error!r}") from error


def complaint(answer: Answer, source: str) -> Refused | Unavailable:
    """An answer that is none, as what follows from it."""
    try:
        said = str(orjson.loads(answer.body)["message"])[:200]
    except (ValueError, KeyError, TypeError):
        said = answer.body[:200].decode("utf-8", "replace").strip()
    told = f"Alpaca's history says {answer.status} {said}".strip()
    if answer.status in (401, 403) and "subscription" in said:
        return Refused(f"{told}: the subscription of this key does not include --source {source}")
    if answer.status in (401, 403):
        return Refused(f"{told}: see to ROLLO_ALPACA_KEY and ROLLO_ALPACA_SECRET")
    if answer.status in (400, 404, 422):
        return Refused(f"{told}: see to --symbols, --source and ROLLO_ALPACA_DATA_URL")
    return Unavailable(told)


def _bar(item: dict[str, Any], symbol: str, timeframe: str, asked_us: int, sessions: Sessions) -> Said | None:
    ts_us = moment_us(item["t"])
    if ts_us is None:
        return None
    if not TIMEFRAMES[timeframe].intraday:
        ts_us = day_us(ts_us)
    return bar(item, symbol, timeframe, ts_us, weight(end_us(timeframe, ts_us, sessions), asked_us))


def day_us(ts_us: int) -> int:
    """Midnight UTC of the day that an instant has in New York."""
    day = instant(ts_us).astimezone(NEW_YORK).date()
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


def _rfc_3339(us: int) -> str:
    return instant(us).isoformat().replace("+00:00", "Z")
