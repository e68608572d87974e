"""Relative strength as a reader of docs/strength.md would compute it by hand: decimals, dates, and patience.

Shares nothing with the code it judges, the names of the funds included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal, getcontext

getcontext().prec = 40

FUNDS = {
    "Information Technology": "XLK", "Health Care": "XLV", "Financials": "XLF", "Energy": "XLE",
    "Consumer Discretionary": "XLY", "Consumer Staples": "XLP", "Industrials": "XLI", "Materials": "XLB",
    "Utilities": "XLU", "Real Estate": "XLRE", "Communication Services": "XLC",
}  # fmt: skip
SESSIONS = (None, 21, 63, 126, 252)
"""None stands for the month."""
BILLIONTH = Decimal("1e-9")

Closes = Mapping[date, Decimal]


@dataclass(slots=True)
class Answer:
    """One stock as of one date."""

    market: list[Decimal | None] = field(default_factory=lambda: [None] * 5)
    sector: list[Decimal | None] = field(default_factory=lambda: [None] * 5)
    ratio: list[Decimal | None] = field(default_factory=lambda: [None] * 5)
    market_status: list[str] = field(default_factory=list)
    sector_status: list[str] = field(default_factory=list)
    mansfield: Decimal | None = None
    strength: Decimal | None = None
    rating: int | None = None
    rank: int | None = None
    leader: bool = False


class Together:
    """Dates that a stock and a benchmark share, in order."""

    def __init__(self, stock: Closes, benchmark: Closes) -> None:
        self.dates = sorted(stock.keys() & benchmark.keys())
        self.p = [stock[d] for d in self.dates]
        self.b = [benchmark[d] for d in self.dates]
        self.line = [p / b for p, b in zip(self.p, self.b, strict=True)]

    def until(self, as_of: date) -> int:
        """How many of them are not after a date."""
        low, high = 0, len(self.dates)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.dates[middle] <= as_of else (low, middle)
        return low


def cross_section(
    as_of: date, stocks: Mapping[str, Mapping[str, Together]], sectors: Mapping[str, str | None]
) -> dict[str, Answer]:
    """Every stock as of a date; `stocks` gives each one beside SPY and beside its fund if it has one."""
    answers = {symbol: _alone(as_of, beside) for symbol, beside in stocks.items()}
    _rate(answers)
    for sector in {s for s in sectors.values() if s}:
        _rank({s: a for s, a in answers.items() if sectors.get(s) == sector and a.market[0] is not None})
    return answers


def _alone(as_of: date, beside: Mapping[str, Together]) -> Answer:
    answer = Answer()
    market = beside["SPY"]
    answer.market, answer.ratio, answer.market_status = _against(as_of, market)
    if "fund" in beside:
        answer.sector, _, answer.sector_status = _against(as_of, beside["fund"])
    else:
        answer.sector_status = ["no_benchmark"] * 5
    count = market.until(as_of)
    if answer.market_status[0] == "stale" or not count:
        return answer
    if count >= 200:
        line = market.line[count - 200 : count]
        answer.mansfield = (line[-1] / (sum(line, Decimal(0)) / 200) - 1) * 100
    if count >= 253:
        p = market.p[:count]
        answer.strength = (2 * p[-1] / p[-64] + p[-1] / p[-127] + p[-1] / p[-190] + p[-1] / p[-253]) / 5
    return answer


def _against(
    as_of: date, pair: Together
) -> tuple[list[Decimal | None], list[Decimal | None], list[str]]:
    count = pair.until(as_of)
    excess: list[Decimal | None] = [None] * 5
    ratio: list[Decimal | None] = [None] * 5
    if count and pair.dates[count - 1] < as_of - timedelta(days=5):
        return excess, ratio, ["stale"] * 5
    status = ["insufficient_history"] * 5
    for i, sessions in enumerate(SESSIONS):
        start = _month(pair, count) if sessions is None else count - 1 - sessions
        if count and start is not None and start >= 0:
            gain, level = pair.p[count - 1] / pair.p[start], pair.b[count - 1] / pair.b[start]
            excess[i], ratio[i], status[i] = 100 * (gain - level), gain / level, "ok"
    return excess, ratio, status


def _month(pair: Together, count: int) -> int | None:
    if not count:
        return None
    t = pair.dates[count - 1]
    if pair.dates[0] > t - timedelta(days=30):
        return None
    earliest, start = t - timedelta(days=30), count - 1
    while start and pair.dates[start - 1] >= earliest:
        start -= 1
    return start if pair.dates[start] <= t - timedelta(days=25) else None


def _rate(answers: Mapping[str, Answer]) -> None:
    rounded = {s: _rounded(a.strength) for s, a in answers.items() if a.strength is not None}
    known = list(rounded.values())
    for symbol, answer in answers.items():
        if answer.strength is not None:
            mine = rounded[symbol]
            below, equal = len([x for x in known if x < mine]), known.count(mine)
            exact = Decimal(99) * (below + Decimal(equal) / 2) / len(known)
            answer.rating = int(exact) + (exact != int(exact))


def _rank(members: Mapping[str, Answer]) -> None:
    rounded = {s: _rounded(_known(a.market[0])) for s, a in members.items()}
    scores = list(rounded.values())
    for symbol, answer in members.items():
        mine = rounded[symbol]
        answer.rank = 1 + len([x for x in scores if x > mine])
        fifth = (len(scores) + 4) // 5
        answer.leader = len(scores) >= 5 and answer.rank <= fifth


def _known(value: Decimal | None) -> Decimal:
    assert value is not None
    return value


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(BILLIONTH)


def beside(
    stocks: Mapping[str, Closes], benchmarks: Mapping[str, Closes], sectors: Mapping[str, str | None]
) -> dict[str, dict[str, Together]]:
    """Every stock beside SPY, and beside the fund of its sector."""
    found: dict[str, dict[str, Together]] = {}
    for symbol, closes in stocks.items():
        found[symbol] = {"SPY": Together(closes, benchmarks.get("SPY", {}))}
        fund = FUNDS.get(sectors.get(symbol) or "")
        if fund:
            found[symbol]["fund"] = Together(closes, benchmarks.get(fund, {}))
    return found


def decimals(closes: Sequence[tuple[date, float]]) -> dict[date, Decimal]:
    return {day: Decimal(repr(close)) for day, close in closes}
