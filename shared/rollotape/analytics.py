"""Questions about trades, and their answers as they are kept: the same bytes from every process."""

from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

import orjson
import structlog

from rollotape import metrics
from rollotape.domain.performance import told
from rollotape.postgres import analytics as stored
from rollotape.postgres.analytics import Analytics, Filters, Window
from rollotape.postgres.generations import TAPE, TRADES, Moment, has_patterns
from rollotape.postgres.pages import Page, Sort, Status

if TYPE_CHECKING:
    from rollotape.postgres.market import Connection

DATASET = TRADES
DEFAULT_DAYS = 30
OWN_TYPES = ("SPRING", "SOS", "LPS", "UTAD", "SOW", "LPSY")
DEFAULT_PER_PAGE = 30

LARGEST_R = 50.0
ALL_WON = 30
"""Nobody wins more trades than this in a row."""
_AS_OF = b',"as_of":'

Name = Literal["pattern_performance", "sector_breakdown", "trend", "trades", "vsa"]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about the trades of a window; unless said otherwise, of those on paper."""

    name: Name
    days: int | None = DEFAULT_DAYS
    filters: Filters = field(default=Filters(origin="paper"))
    pattern_type: str | None = None
    """Of a trend."""
    page: Page | None = None
    """Of trades, as what follows."""
    status: Status = "closed"
    sort: Sort = "desc"

    @property
    def words(self) -> str:
        """The same for the same question alone; those most asked for can be read."""
        f = self.filters
        shown = self.page and (self.page.size, self.page.number, self.page.after, self.status, self.sort)
        rest = (f.pattern_types, f.symbols, f.sectors, shown)
        tag = blake2b(repr(rest).encode(), digest_size=12).hexdigest() if any(rest) else "-"
        days = "all" if self.days is None else str(self.days)
        name = self.name if self.pattern_type is None else f"{self.name}.{self.pattern_type}"
        return ":".join((name, days, f.phase or "all", f.timeframe or "all", f.origin or "all", tag))

    @property
    def dataset(self) -> str:
        """What its answer is made of, and kept with."""
        return TAPE if self.name == "vsa" else TRADES


def defaults() -> list[Question]:
    """Sixteen questions that somebody will ask: their answers are made ready after every change."""
    windows = (7, 30, 90, None)
    return [
        *(Question("pattern_performance", days) for days in windows),
        *(Question("sector_breakdown", days) for days in windows),
        *(Question("trend", pattern_type=name) for name in OWN_TYPES),
        *(Question("trades", days, page=Page(DEFAULT_PER_PAGE, 1)) for days in (DEFAULT_DAYS, None)),
    ]


async def answer(connection: "Connection", question: Question, moment: Moment) -> bytes:
    """The answer at this moment, a JSON object whose last name is `as_of`; the same bytes from everybody.

    Raises:
        Unavailable: PostgreSQL is away.
    """
    window = Window(question.days, moment.now_us)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        said = await _ANSWERS[question.name](Analytics(connection), question, window)
        doubts = [*suspicions(said)]
        if _no_trades(question, said) and await has_patterns(
            connection, window.first, window.now, _of_question(question)
        ):
            doubts.append("no trades where patterns exist")
    for doubt in dict.fromkeys(doubts):
        metrics.ANSWERS_SUSPICIOUS.inc()
        log.warning("answer_suspicious", doubt=doubt, question=question.words, generation=moment.generation)
    return orjson.dumps(_head(question, window) | said, option=orjson.OPT_UTC_Z)


def with_standing(content: bytes, generation: int, *, stale: bool) -> bytes:
    """An answer that also says of which generation it is, and whether it is stale.

    What there is of it stays as it is: to read years of days and write them again takes long.
    """
    before, as_of, after = content.rpartition(_AS_OF)
    assert as_of, "the last name of every answer"
    told = b"true" if stale else b"false"
    return b'%s,"generation":%d%s%s,"stale":%s}' % (before, generation, as_of, after[:-1], told)


def suspicions(said: Any) -> Iterator[str]:
    """What in an answer is hard to believe."""
    if isinstance(said, list):
        for one in said:
            if isinstance(one, dict):
                yield from suspicions(one)
        return
    trades = said.get("trade_count")
    confirmed = (said.get("test_confirmed") or {}) if trades is not None else {}
    if confirmed and confirmed["trade_count"] > trades:
        yield f"{confirmed['trade_count']} trades with their test of {trades}"
    if trades is not None and trades > ALL_WON and said["win_rate"] == 100:
        yield f"every one of {trades} trades won"
    for name in ("avg_r_multiple", "realized_r", "avg_r"):
        if (r := said.get(name)) is not None and abs(r) > LARGEST_R:
            yield f"{name} of {r:g}"
    for one in said.values():
        if isinstance(one, dict | list):
            yield from suspicions(one)


def _no_trades(question: Question, said: Mapping[str, Any]) -> bool:
    """Nothing closed at all; that a later page is empty, or that nothing goes on, is nothing odd."""
    if question.name in ("pattern_performance", "sector_breakdown"):
        return bool(said["total"]["trade_count"] == 0)
    if question.name == "trend":
        return not said["trend"]
    page = question.page
    first = page is not None and page.after is None and page.number in (None, 1)
    return question.name == "trades" and question.status == "closed" and first and not said["trades"]


def _of_question(question: Question) -> Filters:
    of = question.pattern_type
    return question.filters if of is None else replace(question.filters, pattern_types=(of,))


def _head(question: Question, window: Window) -> dict[str, Any]:
    """What was asked, in the answer: nobody has to remember it, or what was taken for granted."""
    f = question.filters
    return {
        "days": "all" if question.days is None else question.days,
        "since": None if question.days is None else window.first,
        "filters": {
            "origin": f.origin or "all",
            "phase": f.phase,
            "timeframe": f.timeframe,
            "pattern_types": list(f.pattern_types) or None,
            "symbols": [symbol for symbol in f.symbols if symbol] if f.symbols else None,
            "sectors": list(f.sectors) or None,
        },
    }


async def _pattern_performance(repository: Analytics, question: Question, window: Window) -> dict[str, Any]:
    found = await repository.pattern_performance(window, question.filters)
    rows = [
        {"pattern_type": row.pattern_type, **_split(row.split), "phases": _phases(row.phases)}
        for row in found.rows
    ]
    total = {**_split(found.total), "phases": _phases(found.phases)}
    return {"patterns": rows, "total": total, "as_of": found.as_of}


async def _sector_breakdown(repository: Analytics, question: Question, window: Window) -> dict[str, Any]:
    found = await repository.sector_breakdown(window, question.filters)
    rows = [
        {
            "sector": row.sector,
            "etf": row.etf,
            "leader_count": row.leader_count,
            "median_rs": _number(row.median_rs),
            **_split(row.split),
        }
        for row in found.rows
    ]
    total = {"leader_count": found.leader_count, **_split(found.total)}
    return {"sectors": rows, "total": total, "as_of": found.as_of}


async def _trend(repository: Analytics, question: Question, window: Window) -> dict[str, Any]:
    assert question.pattern_type is not None
    found = await repository.trend(question.pattern_type, window, question.filters)
    rows = [dict(zip(row._fields, map(_number, row), strict=True)) for row in found.rows]
    return {
        "pattern_type": found.pattern_type,
        "trend": rows,
        "rolling_state": found.rolling_state,
        "as_of": found.as_of,
    }


async def _trades(repository: Analytics, question: Question, window: Window) -> dict[str, Any]:
    assert question.page is not None
    page = question.page
    found = await repository.trades(
        window, question.filters, status=question.status, sort=question.sort, page=page
    )
    return {
        "status": question.status,
        "sort": question.sort,
        "trades": [trade_item(row) for row in found.rows],
        "pagination": _pagination(page, found.total),
        "next": found.next and [found.next.at, str(found.next.id)],
        "as_of": max((row["changed_at"] for row in found.rows), default=None),
    }


def _pagination(page: Page, total: int | None) -> dict[str, Any]:
    numbered = page.number is not None
    return {
        "total": total,
        "page": page.number,
        "per_page": page.size if numbered else None,
        "pages": None if total is None else -(-total // page.size),
        "limit": None if numbered else page.size,
    }


async def _vsa(repository: Analytics, question: Question, window: Window) -> dict[str, Any]:
    found = await repository.vsa(window, question.filters)
    return {
        "events": [asdict(row) for row in found.events],
        "patterns": [asdict(row) for row in found.patterns],
        "as_of": window.now,
    }


def trade_item(row: Any) -> dict[str, Any]:
    """A trade as it is shown."""
    said = {name: _number(value) for name, value in row.items() if name != "at"}
    return said | {name: said[name] and str(said[name]) for name in ("id", "pattern_id")}


def _split(split: stored.Split) -> dict[str, Any]:
    parts = {"test_confirmed": split.test_confirmed, "test_unconfirmed": split.test_unconfirmed}
    return told(split.performance) | {name: part and told(part) for name, part in parts.items()}


def _phases(found: Mapping[str, int]) -> dict[str, int]:
    """Every phase has its number, be it 0."""
    return {name: found.get(name, 0) for name in ("A", "B", "C", "D", "E", stored.UNKNOWN)}


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


_Answering = Callable[[Analytics, Question, Window], Coroutine[Any, Any, dict[str, Any]]]
_ANSWERS: dict[Name, _Answering] = {
    "pattern_performance": _pattern_performance,
    "sector_breakdown": _sector_breakdown,
    "trend": _trend,
    "trades": _trades,
    "vsa": _vsa,
}
