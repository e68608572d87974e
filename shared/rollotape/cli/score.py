"""`rollo score`: what a detector found in a simulated market, against what is there."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer

from rollotape import calendars
from rollotape.cli import ends
from rollotape.cli import simulated as options
from rollotape.cli.meters import Meter
from rollotape.domain.wyckoff.facts import Event, Status
from rollotape.domain.wyckoff.fold import advance
from rollotape.domain.wyckoff.rules import CURRENT, RULE_SETS
from rollotape.domain.wyckoff.state import EMPTY
from rollotape.domain.wyckoff.tape import read
from rollotape.simulation import files
from rollotape.simulation.difficulty import DIFFICULTIES
from rollotape.simulation.scoring import (
    BOTH,
    PATTERNS,
    TOLERANCE_BARS,
    Detect,
    Detection,
    FalseAlarms,
    Score,
    Scoring,
)
from rollotape.simulation.series import Series, rows

ALL = "all"

Difficulty = Annotated[
    str, typer.Option(help=f"{', '.join(DIFFICULTIES)}; or {ALL}: a table of each, of three markets.")
]


def detector(rule_set: str | None) -> Detect:
    """The product's own fold over bars; what it took back later (superseded, expired) is no detection.

    Raises:
        typer.Exit: there is no such rule set.
    """
    by_name = {rules.name: rules for rules in RULE_SETS}
    rules = by_name.get(rule_set or CURRENT.name)
    if rules is None:
        ends.stop(f"--rule-set is one of {', '.join(sorted(by_name))}; found {rule_set!r}", ends.USAGE)

    def detect(series: Series) -> list[Detection]:
        [tape] = read([rows(series, calendars.sessions())], [0], [series.timeframe == "1d"], rules)
        facts = advance((series.symbol, series.timeframe), EMPTY, tape).facts
        gone = {f.key for f in facts if isinstance(f, Status) and f.status in ("superseded", "expired")}
        return [
            Detection(f.side, f.kind, f.event_ts, f.confirmed_ts)
            for f in facts
            if isinstance(f, Event) and f.key not in gone
        ]

    return detect


def score(
    market: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="What `rollo simulate --out` has written.")
    ] = None,
    detections: Annotated[
        Path | None, typer.Option(help="What was detected in it, as `rollo export wyckoff_events` writes it.")
    ] = None,
    rule_set: Annotated[
        str | None, typer.Option(help="Only its detections, or the detector by these rules, like wyckoff-1.")
    ] = None,
    tolerance: Annotated[int, typer.Option(min=0, max=20, help="Bars between detection and label.")] = (
        TOLERANCE_BARS
    ),
    symbols: options.Symbols = 100,
    years: options.Years = None,
    bars: options.BarCount = None,
    seed: options.Seed = 1,
    difficulty: Difficulty = "middle",
    kinds: options.Kinds = None,
    timeframe: options.Timeframe = "1d",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Compare detections with the labels of a simulated market.

    A detection is right when a label of its symbol, side and kind is at most --tolerance bars away; every
    label serves one detection. Precision is the share of detections that are right, recall the share of
    labels that are found, F1 their harmonic mean, delay the bars from an event to its confirmation. False
    alarms are patterns on series in which there is nothing.

    With a FOLDER and --detections it needs no detector, and neither way needs a stack. Without --detections
    the detector of this version reads the bars here and now; without a FOLDER, those of the market that
    --seed, --difficulty and so on describe.

    Example: rollo score simulated --detections events.csv
    """
    made: dict[str, Score] = {}
    if detections is not None:
        if market is None:
            ends.stop("--detections needs the FOLDER of the market that they were made of", ends.USAGE)
        result = _of_file(market, detections, rule_set, tolerance)
    elif market is not None:
        series, detect = _read(market), detector(rule_set)
        result = _scored(len(series), series, detect, tolerance)
    else:
        detect = detector(rule_set)
        for one in DIFFICULTIES if difficulty == ALL else [difficulty]:
            wanted = options.wanted(symbols, years, bars, seed, one, kinds, options.START, None, timeframe)
            result = _scored(len(wanted.market.symbols), wanted.market.series(wanted.ts), detect, tolerance)
            made[one] = result
    if as_json:
        many = {one: asdict(found) for one, found in made.items()}
        said = many if len(many) > 1 else asdict(result)
        typer.echo(orjson.dumps(said, option=orjson.OPT_INDENT_2).decode())
    elif made:
        tables = [in_words(found, f"seed {seed}, {one}") for one, found in made.items()]
        typer.echo("\n\n".join(tables))
    else:
        typer.echo(in_words(result))


def _of_file(market: Path, detections: Path, rule_set: str | None, tolerance: int) -> Score:
    series = _read(market)
    with ends.refusals():
        found = files.detections(detections, series, rule_set)
    if found.rows and found.elsewhere == found.rows:
        ends.stop(f"no row of {detections} is about a symbol of {market}", ends.USAGE)
    if found.elsewhere:
        typer.echo(f"{found.elsewhere:,} rows of other symbols or timeframes were not looked at", err=True)
    return _scored(len(series), series, lambda one: found.of.get(one.symbol, ()), tolerance)


def _read(folder: Path) -> list[Series]:
    with ends.refusals():
        return files.read(folder)


def _scored(count: int, market: Iterable[Series], detect: Detect, tolerance: int) -> Score:
    scoring = Scoring(tolerance)
    with Meter() as meter:
        for series in _counted(market, meter.rows("symbols", count)):
            scoring.add(series, detect(series))
    return scoring.score()


def _counted(market: Iterable[Series], done: Callable[[int], None]) -> Iterator[Series]:
    for number, series in enumerate(market, 1):
        yield series
        done(number)


HEADS = ("side", "kind", "labels", "found", "right", "precision", "recall", "F1", "delay", "p90")


def in_words(score: Score, told: str | None = None) -> str:
    """A table of kinds and a line on false alarms; what is a share of nothing is a dash."""
    table = [
        (k.side if k.side != BOTH else "both sides", k.kind, f"{k.labels:,}", f"{k.detections:,}",
         f"{k.matched:,}", _number(k.precision), _number(k.recall), _number(k.f1),
         _number(k.delay_median_bars, ".1f"), _number(k.delay_p90_bars, "d"))
        for k in score.kinds
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(HEADS, *table, strict=True)]
    lines = [_line(row, widths) for row in (HEADS, *table)]
    of = f" ({told})" if told else ""
    lines += [
        "",
        f"{score.series:,} series, {score.bars:,} bars{of}; right within {score.tolerance_bars} bars; "
        "delay in bars from event to confirmation, median and p90",
        _alarms("series without events", score.false_alarms),
        *(_alarms(f"  {kind}", part) for kind, part in score.false_alarms_by_series_kind.items()),
    ]
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    words = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(words + numbers)


def _alarms(what: str, found: FalseAlarms) -> str:
    if found.per_1000_bars is None:
        return f"{what}: none in this market"
    seen = ", ".join(f"{found.by_kind[kind]} {kind}" for kind in PATTERNS if found.by_kind[kind])
    rate = f"{found.per_1000_bars:.3f} false patterns per 1,000 bars"
    return f"{what}: {rate} ({found.alarms:,} in {found.bars:,}{': ' + seen if seen else ''})"


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)
