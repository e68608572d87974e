"""A backtest on paper: the tables that a person reads, and the file of its trades."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rollotape.backtest.report import CELL, EVENTS, GROUPINGS, moment
from rollotape.backtest.trades import Followed
from rollotape.cli.export import naming
from rollotape.domain.performance import FEWEST

Document = Mapping[str, Any]

COLUMNS = (
    "symbol", "timeframe", "rule_set", "sector", "side", "kind", "phase", "event_ts", "confirmed_ts",
    "confidence", "test_confirmed", "status", "reason", "entry_date", "entry_price", "stop", "target",
    "planned_r", "exit_date", "exit_price", "realized_r", "sessions",
)  # fmt: skip
_HEADS = ("", "patterns", "closed", "win %", "95 %", "mean R", "factor", "fall R", "held", "median")
_NULL_HEADS = ("", "trades", "mean R", "by chance", "95 of 100 turns", "p")
_RUN_HEADS = (
    "run", "ended", "rules", "bars", "symbols", "patterns", "closed", "mean R", "by chance", "p"
)  # fmt: skip


def in_words(told: Document, *, cells: bool = False) -> str:
    """Tables of events, types, phases, sides and sectors, and of chance; a dash is a figure there is none of.

    With `cells` also of every type, phase and sector together.
    """
    [whole] = told["groups"]["all"]
    period = f"{(told['first_bar'] or '')[:10]} to {(told['last_bar'] or '')[:10]}"
    lines = [
        f"{told['rule_set']}, {told['timeframe']}: {told['symbols']:,} symbols, {told['bars']:,} bars,"
        f" {period}; {whole['patterns']:,} patterns, {whole['trade_count']:,} trades closed,"
        f" {whole['cancelled']:,} cancelled at the open, {whole['unfinished']:,} unfinished"
    ]
    if told["unusable_rows"]:
        lines.append(f"{told['unusable_rows']:,} rows that no bar can come from were left out")
    lines += ["", *_events(told["events"])]
    for name in ("all", *GROUPINGS):
        rows = [_row(group["value"], group) for group in told["groups"][name]]
        lines += ["", *_table((name if name != "all" else "", *_HEADS[1:]), rows)]
    if cells:
        rows = [_row(_cell(*(one[name] for name in CELL)), one) for one in told["cells"]]
        lines += ["", *_table((_cell(*CELL), *_HEADS[1:]), rows)]
    lines += ["", f"* fewer than {FEWEST}; factor: R won by R lost; fall: of R added up; held: sessions"]
    if told["null"] is not None:
        lines += ["", *_chance(told["null"])]
    if "job_id" in told:
        lines += ["", f"run {told['job_id']}, {told['started_at']} to {told['ended_at']}"]
    return "\n".join(lines)


def runs_in_words(runs: Sequence[Document]) -> str:
    """A line for each run, as `--list --json` has them."""
    rows = [
        (
            run["id"], run["ended_at"], run["rule_set"], run["timeframe"], f"{run['symbols']:,}",
            f"{run['patterns']:,}", f"{run['trade_count']:,}", _number(run["avg_r_multiple"], "+.3f"),
            _number(run["null_avg_r"], "+.3f"), _number(run["null_p"], ".3f"),
        )
        for run in runs
    ]  # fmt: skip
    return "\n".join(_table(_RUN_HEADS, rows))


def _events(counted: Sequence[Document]) -> list[str]:
    """Both sides beneath each other: a kind and its mirror are one column."""
    kinds = [dict.fromkeys(pair) for pair in zip(*EVENTS.values(), strict=True)]
    rows = [(side, *(f"{one['events']:,}" for one in counted if one["side"] == side)) for side in EVENTS]
    return _table(("events", *("/".join(pair) for pair in kinds)), rows)


def _cell(kind: str, phase: str, sector: str) -> str:
    return f"{kind:<6}  {phase:<5}  {sector}"


def _row(value: str, group: Document) -> tuple[str, ...]:
    interval = group["win_rate_ci95"]
    return (
        value,
        f"{group['patterns']:,}",
        f"{group['trade_count']:,}" + ("*" if group["low_sample"] else " "),
        _number(group["win_rate"], ".1f"),
        "-" if interval is None else f"{interval[0]:.1f}..{interval[1]:.1f}",
        _number(group["avg_r_multiple"], "+.3f"),
        group["profit_factor_state"] or _number(group["profit_factor"], ".2f"),
        _number(group["max_drawdown_r"], ".1f"),
        _number(group["avg_holding_sessions"], ".1f"),
        _number(group["median_holding_sessions"], ".1f"),
    )


def _chance(null: Document) -> list[str]:
    if not null["kinds"]:
        return ["chance: no trade with enough bars before and after it"]
    rows = [
        (
            one["value"], f"{one['trade_count']:,}", f"{one['avg_r']:+.3f}", f"{one['null_avg_r']:+.3f}",
            f"{one['null_low']:+.3f}..{one['null_high']:+.3f}", f"{one['p']:.3f}",
        )
        for one in null["kinds"]
    ]  # fmt: skip
    said = (
        f"chance: all entries turned together around {null['dates']:,} dates, {null['turns']:,} times"
        f" (seed {null['seed']})"
    )
    types = len(rows) - 1
    any_p = f"the smallest p of {types} types, times {types} for having been chosen: {null['any_p']:.3f}"
    return [said, *_table(_NULL_HEADS, rows), any_p]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in (heads, *rows)
    ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def write(out: Path, followed: Sequence[Followed]) -> None:
    """Every pattern and its trade, a row each, as they were confirmed; what is unknown is empty."""
    rows = sorted(followed, key=lambda f: (f.pattern.confirmed_ts, f.pattern.symbol, f.trade.pattern_id))
    with naming(out), out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(map(_cells, rows))


def _cells(one: Followed) -> list[Any]:
    pattern, trade = one.pattern, one.trade
    flag = {None: "", True: "t", False: "f"}[one.test_confirmed]
    return [
        pattern.symbol, pattern.timeframe, pattern.rule_set, one.sector, pattern.side, pattern.kind,
        pattern.phase, moment(pattern.event_ts), moment(pattern.confirmed_ts), pattern.confidence, flag,
        trade.status, trade.reason, moment(trade.entry_date), trade.entry_price, trade.stop, trade.target,
        trade.planned_r, moment(trade.exit_date), trade.exit_price, trade.realized_r, one.sessions,
    ]  # fmt: skip
