"""`rollo chart`: a picture of one symbol with what was read in its tape."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import numpy as np
import orjson
import typer

from rollotape import calendars
from rollotape.charts import drawing
from rollotape.charts.content import Bar, Content, Vsa, content
from rollotape.charts.layout import Layout
from rollotape.cli import ends
from rollotape.cli.files import options_of
from rollotape.cli.replay import moment
from rollotape.domain import bars as domain
from rollotape.domain.bars import Rows, symbol_is_valid
from rollotape.domain.bars import timeframe as known_timeframe
from rollotape.domain.vsa import arrays
from rollotape.domain.vsa.rules import RULE_SETS
from rollotape.domain.wyckoff import facts, tape
from rollotape.domain.wyckoff.facts import Fact
from rollotape.domain.wyckoff.fold import advance
from rollotape.domain.wyckoff.state import EMPTY
from rollotape.errors import Refused
from rollotape.postgres import markers, market
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.producers import replay
from rollotape.producers.csv import CsvFile
from rollotape.settings import Settings
from rollotape.simulation.files import text_of

USUAL_BARS, MOST_BARS = 250, 2_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALWAYS, _FOREVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bars from `first` until before `before`, in microseconds; None: as many as usual, or to the end."""

    symbol: str
    timeframe: str
    first: int | None
    before: int | None


def chart(
    symbol: Annotated[str, typer.Argument(help="Of the tape that is to be drawn.")],
    out: Annotated[Path, typer.Option(help="FILE.png or FILE.svg.")],
    timeframe: Annotated[str, typer.Option(help="Of the bars.")] = "1d",
    first: Annotated[
        str | None,
        typer.Option("--from", help="First bar: 2017-01-03, or a timestamp. [default: the last 250 bars]"),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="Bars that start before; of a day without a time, its end.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Read the bars of this CSV file here and now; no stack is needed.")
    ] = None,
    vsa: Annotated[bool, typer.Option(help="Volume-spread events, too, in small letters.")] = True,
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is in the picture as JSON.")] = False,
) -> None:
    """Draw bars, volume and ranges with their phases, and write every Wyckoff event on its bar.

    The picture shows what was known at its last bar: with an earlier --to it is the one of that day.
    Accumulation is blue, distribution brown; events that lost their standing are grey and in brackets.
    Prices are logarithmic. It needs matplotlib: pip install 'rollotape\\[charts]'.

    Example: rollo chart AAPL --from 2016-01-04 --to 2016-12-30 --out aapl.png
    """
    with ends.refusals():
        drawing.check(out)
    if not out.parent.is_dir():
        ends.stop(f"{out}: there is no folder {out.parent}", ends.USAGE)
    wanted = _wanted(symbol, timeframe, first, last)
    if file is not None:
        with ends.refusals():
            shown = of_file(file, wanted)
    else:
        shown = ends.run(of_stack(ends.database_of(data), wanted))
    if not vsa:
        shown = Content(shown.title, shown.is_daily, shown.bars, shown.marks, shown.boxes, ())
    try:
        drawing.draw(Layout(shown), out)
    except OSError as error:
        ends.stop(f"{out}: {error.strerror or error}", ends.FAILURE)
    if as_json:
        typer.echo(orjson.dumps(_summary(shown, out), option=orjson.OPT_INDENT_2).decode())
        return
    count, marks, boxes = len(shown.bars), len(shown.marks), len(shown.boxes)
    typer.echo(f"{count:,} bars, {marks} events, {boxes} ranges in {out}", err=True)


def _summary(shown: Content, out: Path) -> dict[str, Any]:
    """The letters with the starts of their bars, and the boxes."""
    starts = [text_of(bar.ts) for bar in shown.bars]
    return {
        "file": str(out),
        "title": shown.title,
        "bars": len(starts),
        "from": starts[0],
        "to": starts[-1],
        "events": [{"kind": m.text, "side": m.side, "event_ts": starts[m.at]} for m in shown.marks],
        "ranges": [
            {"side": b.side, "status": b.status, "from": starts[b.first], "to": starts[b.last],
             "low": b.low, "high": b.high, "phase": b.phases[-1][0]}
            for b in shown.boxes
        ],
        "vsa": len(shown.dots),
    }  # fmt: skip


def _wanted(symbol: str, timeframe: str, first: str | None, last: str | None) -> Wanted:
    frame = known_timeframe(timeframe)
    if frame is None:
        names = " ".join(domain.TIMEFRAMES)
        ends.stop(f"--timeframe {timeframe}: must be one of {names}", ends.USAGE)
    raised = symbol.upper() if symbol.isascii() else symbol
    if not symbol_is_valid(raised):
        ends.stop(f"{symbol!r} is no symbol: 1 to 20 characters A-Z 0-9 . - ^ /", ends.USAGE)
    first_us = moment("--from", first, timedelta(0)) if first else None
    before_us = moment("--to", last, timedelta(days=1)) if last else None
    if first_us is not None and before_us is not None and first_us >= before_us:
        ends.stop(f"--from {first} is not before --to {last}", ends.USAGE)
    return Wanted(raised, frame.name, first_us, before_us)


def of_file(path: Path, wanted: Wanted) -> Content:
    """Read a file, fold all bars up to the last one that is wanted, and choose.

    Raises:
        Refused: the file cannot be read, or has no such bars.
    """
    rows = _rows(path, wanted)
    bars = _bars(rows)
    daily = wanted.timeframe == "1d"
    [read] = tape.read([rows], [0], [daily])
    told = advance((wanted.symbol, wanted.timeframe), EMPTY, read).facts
    return _content(wanted, bars, told, list(_vsa(rows, daily)), str(path))


def _rows(path: Path, wanted: Wanted) -> Rows:
    """The analysed bars of one symbol up to the last one that is wanted, oldest first, restated ones once."""
    sessions = calendars.sessions()
    source = _opened(path, wanted)
    choice = replay.Choice(wanted.timeframe, {wanted.symbol}, None, wanted.before)
    found = replay.read([source], choice, sessions, int(time.time() * 1_000))
    count = len(found)
    numbers = {name: column.tolist() for name, column in found.numbers.items()}
    sent = domain.candidates(
        wanted.timeframe, [wanted.symbol] * count, (found.ts / 1e6).tolist(), numbers,
        found.revision.tolist(), [False] * count, [int(time.time() * 1_000)] * count,
    )  # fmt: skip
    rows = domain.complete(sent.only(domain.valid(sent, sessions)), sessions)
    rows = rows[domain.analysed(rows)]
    rows = rows[np.lexsort((*domain.precedence(rows), rows["ts"]))]
    return rows[np.append(rows["ts"][1:] != rows["ts"][:-1], True)] if len(rows) else rows


def _opened(path: Path, wanted: Wanted) -> CsvFile:
    """The file, whether or not it has columns for symbol and timeframe."""
    plain = options_of(None, None, None, None)
    try:
        source = CsvFile(path, plain)
    except Refused as error:
        if "--symbol" not in str(error):
            raise
        source = CsvFile(path, options_of(None, None, wanted.symbol, None))
    if "timeframe" in source.layout.at:
        return source
    symbol = None if source.layout.at["symbol"] >= 0 else wanted.symbol
    return CsvFile(path, options_of(wanted.timeframe, None, symbol, None))


def _bars(rows: Rows) -> list[Bar]:
    columns = [rows[name].tolist() for name in ("ts", *domain.NUMBERS)]
    return [Bar(*values) for values in zip(*columns, strict=True)]


def _vsa(rows: Rows, daily: bool) -> Iterator[Vsa]:
    ts = rows["ts"].tolist()
    tape_of_all = arrays.series([rows], [daily])
    for rule_set in RULE_SETS:
        for found in tape_of_all.find(rule_set):
            for at in found.confirmed.tolist():
                described = ts[at + found.rule.described]
                yield Vsa(rule_set.name, found.rule.kind, str(found.rule.direction), described, ts[at])


async def of_stack(settings: Settings, wanted: Wanted) -> Content:
    """Bars and markers as they are stored.

    Raises:
        Refused: there are no such bars.
        Unavailable: PostgreSQL is away.
    """
    first = _ALWAYS if wanted.first is None else _EPOCH + wanted.first * _US
    last = _FOREVER if wanted.before is None else _EPOCH + (wanted.before - 1) * _US
    asked = market.Bars([wanted.symbol], wanted.timeframe, first, last, newest_first=True)
    pool = await open_pool(settings, service="chart")
    try:
        with unavailable("postgres"):
            async with pool.acquire() as connection:
                rows = await market.bars(connection, asked, 4 * MOST_BARS)
                found = await markers.markers(
                    connection, markers.Markers(wanted.symbol, wanted.timeframe, _ALWAYS, last), None
                )
    finally:
        await pool.close()
    bars = [
        Bar(_us(r["t"]), r["o"], r["h"], r["l"], r["c"], r["v"])
        for r in reversed(rows)
        if r["hours"] == "regular" and not r["synthetic"]
    ]
    known = found.markers if found else []
    events = [
        Vsa(m["rule_set"], m["kind"], m["direction"], _us(m["event_ts"]), _us(m["confirmed_ts"]))
        for m in known
        if m["type"] == "vsa"
    ]
    return _content(wanted, bars, list(_facts(wanted, known)), events, "this stack")


def _facts(wanted: Wanted, found: Sequence[markers.Marker]) -> Iterator[Fact]:
    """Events, ranges and statuses as the fold says them."""
    for m in found:
        of = m.get("range_id")
        about: dict[str, Any] = {
            "symbol": wanted.symbol, "timeframe": wanted.timeframe, "rule_set": m["rule_set"],
            "side": m.get("side"), "range_id": of and UUID(of),
        }  # fmt: skip
        if m["type"] == "event":
            about |= {"kind": m["kind"], "event_ts": _us(m["event_ts"])}
            known: dict[str, Any] = {
                "confirmed_ts": _us(m["confirmed_ts"]), "knowable_at": _us(m["knowable_at"]),
            }  # fmt: skip
            terms = tuple(m["terms"].items())
            yield facts.Event(**about, **known, price=m["price"], confidence=m["confidence"], terms=terms)
            if m["status"]:
                yield facts.Status(**about, **known, status=m["status"])
        elif m["type"] == "range":
            yield facts.Range(
                **about, opened_ts=_us(m["opened_ts"]), climax_ts=_us(m["climax_ts"]),
                confirmed_ts=_us(m["confirmed_ts"]), knowable_at=_us(m["knowable_at"]), status=m["status"],
                phase=m["phase"], phases=tuple((p, at) for p, at in m["phases"]), support=m["support"],
                resistance=m["resistance"], unit=m["unit"],
            )  # fmt: skip


def _us(when: Any) -> int:
    return int((when - _EPOCH) // _US)


def _content(wanted: Wanted, bars: list[Bar], told: Sequence[Fact], vsa: list[Vsa], where: str) -> Content:
    """Choose the bars that are drawn.

    Raises:
        Refused: there are none, or too many for a picture.
    """
    shown = [bar for bar in bars if wanted.first is None or bar.ts >= wanted.first]
    shown = shown[-USUAL_BARS:] if wanted.first is None else shown
    if not shown:
        raise Refused(f"{where} has no {wanted.timeframe} bars of {wanted.symbol} in that time")
    if len(shown) > MOST_BARS:
        found = f"more than {MOST_BARS:,}" if len(shown) >= 4 * MOST_BARS else f"{len(shown):,}"
        raise Refused(f"{found} bars are too many for a picture of {MOST_BARS:,}: give --from and --to")
    daily, last = wanted.timeframe in ("1d", "1w"), _EPOCH + shown[-1].ts * _US
    title = f"{wanted.symbol} {wanted.timeframe} up to {last:{'%Y-%m-%d' if daily else '%Y-%m-%d %H:%M'}}"
    return content(title, shown, told, vsa, daily=daily)
