"""What `rollo simulate` and `rollo score` have in common: which market."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any

import typer

from rollotape import calendars
from rollotape.cli import ends
from rollotape.domain import bars as domain
from rollotape.domain.sessions import DAY_US
from rollotape.simulation.difficulty import DIFFICULTIES
from rollotape.simulation.market import KINDS, Market
from rollotape.simulation.series import Times, starts

START = "2021-01-04"
MOST_SYMBOLS = 10_000
LEAST_BARS, MOST_BARS = 60, 100_000
SESSIONS_A_YEAR = 252
MOST_YEARS = 100

Symbols = Annotated[int, typer.Option(min=1, max=MOST_SYMBOLS, help="How many: SIM001, SIM002, ...")]
Years = Annotated[float | None, typer.Option(help="Of bars; 5 unless --bars or --end says otherwise.")]
BarCount = Annotated[
    int | None,
    typer.Option("--bars", min=LEAST_BARS, max=MOST_BARS, help="Of each symbol, instead of years."),
]
Seed = Annotated[int, typer.Option(help="Equal seeds, equal markets, on every machine.")]
Difficulty = Annotated[
    str, typer.Option(help=f"{', '.join(DIFFICULTIES)}: noise, how pronounced volumes are, tempo.")
]
Kinds = Annotated[str | None, typer.Option(help=f"Only these of {', '.join(KINDS)}.")]
Start = Annotated[str, typer.Option(help="Day of the first bar, or the session after it.")]
End = Annotated[str | None, typer.Option(help="Day of the last bar, instead of years.")]
Timeframe = Annotated[str, typer.Option(help=" ".join(domain.TIMEFRAMES))]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A market, the starts of its bars, and how to say in market.json what it was made of."""

    market: Market
    ts: Times
    made_of: dict[str, Any]

    def end(self) -> datetime:
        """When the last bar is over."""
        frame = domain.TIMEFRAMES[self.market.timeframe]
        us = int(domain.end_ts(frame, self.ts[-1:], calendars.sessions())[0])
        return datetime.fromtimestamp(us / 1e6, UTC)


def wanted(
    symbols: int,
    years: float | None,
    bars: int | None,
    seed: int,
    difficulty: str,
    kinds: str | None,
    start: str,
    end: str | None,
    timeframe: str,
) -> Wanted:
    """The market that the options describe; ends the command when they make no sense."""
    frame = domain.timeframe(timeframe)
    if frame is None:
        ends.stop(f"--timeframe {timeframe}: must be one of {' '.join(domain.TIMEFRAMES)}", ends.USAGE)
    if difficulty not in DIFFICULTIES:
        ends.stop(f"--difficulty {difficulty}: must be one of {', '.join(DIFFICULTIES)}", ends.USAGE)
    chosen = _kinds(kinds)
    ts = _starts(frame, _day("--start", start), years, bars, end)
    market = Market(
        seed=seed, symbols=symbols, difficulty=DIFFICULTIES[difficulty], kinds=chosen, timeframe=frame.name
    )
    told = {
        "seed": seed, "symbols": symbols, "difficulty": difficulty, "kinds": chosen, "timeframe": frame.name,
        "start": start, "bars_each": len(ts),
    }  # fmt: skip
    return Wanted(market, ts, told)


def _kinds(text: str | None) -> list[str]:
    chosen = [part.strip().lower() for part in text.split(",")] if text else list(KINDS)
    for kind in chosen:
        if kind not in KINDS:
            ends.stop(f"--kinds {kind}: must be some of {','.join(KINDS)}", ends.USAGE)
    return [kind for kind in KINDS if kind in chosen]


def _starts(
    frame: domain.Timeframe, first: int, years: float | None, bars: int | None, end: str | None
) -> Times:
    if sum(said is not None for said in (years, bars, end)) > 1:
        ends.stop("say one of --years, --bars and --end", ends.USAGE)
    sessions = calendars.sessions()
    if end is not None:
        last = _day("--end", end)
        most = max(0, last - first + 1) * max(1, DAY_US // frame.length_us)
        found = starts(sessions, frame.name, first, min(most, 2 * MOST_BARS))
        found = found[found < (last + 1) * DAY_US]
    else:
        count = bars or _bars_of(frame, 5 if years is None else years)
        found = starts(sessions, frame.name, first, count)
        if len(found) < count <= MOST_BARS:
            ends.stop("the calendar ends before so many bars: say fewer, or an earlier --start", ends.USAGE)
    if not LEAST_BARS <= len(found) <= MOST_BARS:
        ends.stop(
            f"{len(found):,} {frame.name} bars of each symbol: must be {LEAST_BARS} to {MOST_BARS:,}; "
            "change --years, --bars or --end",
            ends.USAGE,
        )
    return found


def _bars_of(frame: domain.Timeframe, years: float) -> int:
    if not 0 < years < MOST_YEARS:
        ends.stop(f"--years {years:g}: must be above 0 and below {MOST_YEARS}", ends.USAGE)
    a_session = {"1d": 1.0, "1w": 0.2}.get(frame.name) or -(-390 * domain.MINUTE_US // frame.length_us)
    return min(MOST_BARS + 1, round(years * SESSIONS_A_YEAR * a_session))


def _day(option: str, text: str) -> int:
    try:
        return (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError:
        ends.stop(f"{option} {text}: must be a day like {START}", ends.USAGE)
