"""`rollo backtest` on the bars of a stack: the figures of a file, the detector's trades, stored and said."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from detector.wyckoff import Read
from rollotape import calendars
from rollotape.backtest import trades
from rollotape.backtest.trades import Followed
from rollotape.cli import backtest as command
from rollotape.domain.bars import NUMBERS
from rollotape.domain.reading import paper_id
from rollotape.domain.wyckoff.rules import CURRENT
from rollotape.events import BacktestProgress, BacktestResult
from rollotape.facts import Message
from rollotape.postgres.backtests import Backtests, Kept
from rollotape.postgres.history import History
from rollotape.postgres.outbox import Unsaid
from rollotape.postgres.wyckoff import Wyckoff
from rollotape.settings import Settings
from support import feeds
from support.applying import Bench, open_bench
from support.commands import environment_of, rollo
from support.wyckoff import drawn

SYMBOLS = 4
RUN = ("job_id", "started_at", "ended_at")
"""What only the document of a stored run has."""
REAL = ("AAPL", "BA", "GE", "JNJ", "JPM", "XOM")
FOREVER_US = 2**62


def bars() -> list[dict[str, Any]]:
    """Whole schematics of some symbols."""
    return [
        {
            "symbol": f"S{seed}",
            "date": str(bar["ts"].astype("M8[us]").astype("M8[D]")),
            **{name: bar[name].item() for name in NUMBERS},
        }
        for seed in range(SYMBOLS)
        for bar in drawn(seed)
    ]


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    async with open_bench(settings) as bench:
        said = ({**bar, "timeframe": "1d", "ts": f"{bar['date']}T00:00:00Z"} for bar in bars())
        await bench.apply([orjson.dumps({k: v for k, v in bar.items() if k != "date"}) for bar in said])
        known = "INSERT INTO sectors (symbol, sector, kind) VALUES ('S1', 'Energy', 'stock')"
        await bench.pool.execute(known)
        yield bench


async def test_stored_bars_give_what_their_file_gives(
    bench: Bench, settings: Settings, tmp_path: Path
) -> None:
    rows = [",".join(map(str, bar.values())) for bar in bars()]
    (tmp_path / "bars.csv").write_text("\n".join(["symbol,date,open,high,low,close,volume", *rows, ""]))
    (tmp_path / "sectors.csv").write_text("symbol,sector\nS1,Energy\n")
    environment, period = environment_of(settings), ["--from", "2013-06-03", "--to", "2014-06-30"]
    for options in ([], period, ["--symbols", "s1,S3", "--rules", "wyckoff-1"]):
        ask = ["backtest", "--json", *options]
        stored = json.loads(rollo(environment, *ask, "--out", "a.csv", where=tmp_path).stdout)
        file = ["--file", "bars.csv", "--sectors", "sectors.csv", "--out", "b.csv"]
        filed = json.loads(rollo(environment, *ask, *file, where=tmp_path).stdout)
        assert all(stored.pop(name) for name in RUN)
        assert stored == filed
        assert stored["groups"]["all"][0]["trade_count"] > 3
        assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


async def test_progress_and_result_are_said_by_their_contracts(
    bench: Bench, settings: Settings, tmp_path: Path
) -> None:
    before = len(await bench.said("updates"))
    told = json.loads(rollo(environment_of(settings), "backtest", "--json", where=tmp_path).stdout)
    *progress, result = (await bench.said("updates"))[before:]
    assert progress
    for message in progress:
        heard = BacktestProgress.model_validate(message)
        assert (heard.job_id, heard.status) == (told["job_id"], "running")
        assert 0 < heard.progress <= 1 and heard.current_symbol
    ended = BacktestResult.model_validate(result)
    assert told.pop("cells")
    assert (ended.job_id, ended.status, ended.results) == (told["job_id"], "completed", told)
    assert len({message["id"] for message in (*progress, result)}) == len(progress) + 1


async def test_a_file_is_no_affair_of_the_stack(bench: Bench, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("symbol,date,open,high,low,close,volume\nS0,2018-02-05,1,1,1,1,1\n")
    before = await bench.said("updates")
    told = rollo(environment_of(settings), "backtest", "--file", "one.csv", where=tmp_path).stdout
    assert "0 patterns" in told and "no trade with enough bars" in told
    assert await bench.said("updates") == before


async def test_what_the_stack_does_not_hold_is_a_mistake(settings: Settings, tmp_path: Path) -> None:
    done = rollo(environment_of(settings), "backtest", where=tmp_path, code=2)
    assert "the stack holds no bar that matches" in done.stderr


# Stored


async def test_a_run_is_shown_again_word_for_word(bench: Bench, settings: Settings, tmp_path: Path) -> None:
    environment = environment_of(settings)
    assert "no runs" in rollo(environment, "backtest", "--list", where=tmp_path).stderr
    asks: list[list[str]] = [
        [],
        ["--set", "st_bars=80", "--from", "2013-06-03", "--to", "2014-06-30", "--seed", str(2**63 - 1)],
        ["--rules", "wyckoff-1", "--symbols", "s1,S3", "--null", "0"],
        ["--timeframe", "1d", "--from", "2030-01-01"],
    ]
    told = []
    for ask in asks:
        said = rollo(environment, "backtest", "--json", *ask, where=tmp_path).stdout
        told.append(json.loads(said))
        again = rollo(environment, "backtest", "--show", told[-1]["job_id"], "--json", where=tmp_path)
        assert again.stdout == said
    assert [one["groups"]["all"][0]["patterns"] > 0 for one in told] == [True, True, True, False]
    assert (told[1]["rule_set"], told[1]["parameters"]["values"]["st_bars"]) == ("wyckoff-2+st_bars=80", 80)
    assert told[2]["null"] is None and told[2]["only"] == ["S1", "S3"]
    assert told[3]["null"]["kinds"] == []

    in_words = rollo(environment, "backtest", "--cells", where=tmp_path).stdout
    beginning = in_words.splitlines()[-1].split()[1][:13]
    assert rollo(environment, "backtest", "--show", beginning, "--cells", where=tmp_path).stdout == in_words
    listed = rollo(environment, "backtest", "--list", where=tmp_path).stdout
    assert all(one["job_id"] in listed for one in told)
    runs = json.loads(rollo(environment, "backtest", "--list", "--json", where=tmp_path).stdout)
    assert [run["id"] for run in runs[1:]] == [one["job_id"] for one in reversed(told)]
    for run, one in zip(runs[1:], reversed(told), strict=True):
        [whole] = one["groups"]["all"]
        assert (run["patterns"], run["trade_count"], run["avg_r_multiple"]) == (
            whole["patterns"], whole["trade_count"], whole["avg_r_multiple"],
        )  # fmt: skip


async def test_results_and_what_is_said_of_them_are_there_together_and_once(
    bench: Bench, settings: Settings, tmp_path: Path
) -> None:
    environment = environment_of(settings)
    said = rollo(environment, "backtest", "--json", where=tmp_path).stdout
    run_id = json.loads(said)["job_id"]
    backtests = Backtests(bench.pool)
    kept = await backtests.read(run_id)
    assert kept is not None
    heard = await bench.said("updates")
    message = ("updates", b'{"type":"backtest.result"}')

    assert await backtests.store(kept, [message]) is None
    assert await counts(bench) == {"runs": 1, "outbox": 0}

    await bench.pool.execute("DELETE FROM backtest_runs")
    assert await bench.rows("SELECT FROM backtest_results UNION ALL SELECT FROM backtest_events") == []
    wrong = [*kept.results[:-1], {**kept.results[-1], "wins": kept.results[-1]["wins"] + 1}]
    with pytest.raises(asyncpg.CheckViolationError):
        await backtests.store(replace(kept, results=wrong), [message])
    assert await counts(bench) == {"runs": 0, "outbox": 0}

    assert await backtests.store(kept, [message]) is not None  # and then the command dies
    assert await backtests.store(kept, [message]) is None
    assert await counts(bench) == {"runs": 1, "outbox": 1}
    assert rollo(environment, "backtest", "--show", run_id, "--json", where=tmp_path).stdout == said
    assert await bench.outbox.sweep(older_than_s=0) == 1
    assert await bench.said("updates") == [*heard, orjson.loads(message[1])]
    assert await counts(bench) == {"runs": 1, "outbox": 0}


class Deaf(Backtests):
    """Commits, and does not hear of it."""

    heard = False

    async def store(self, kept: Kept, messages: Sequence[Message]) -> Unsaid | None:
        unsaid = await super().store(kept, messages)
        if not self.heard:
            type(self).heard = True
            raise ConnectionResetError
        return unsaid


async def test_a_commit_that_was_not_heard_is_tried_again_and_counts_once(
    bench: Bench, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.loads(rollo(environment_of(settings), "backtest", "--json", where=tmp_path).stdout)
    kept = await Backtests(bench.pool).read(told["job_id"])
    assert kept is not None
    await bench.pool.execute("DELETE FROM backtest_runs")
    monkeypatch.setattr("rollotape.cli.backtest.Backtests", Deaf)
    assert await command._store(bench.pool, kept, ("updates", b"{}")) is None
    assert await counts(bench) == {"runs": 1, "outbox": 1}


async def counts(bench: Bench) -> dict[str, int]:
    tables = {"runs": "backtest_runs", "outbox": "outbox"}
    return {name: (await bench.rows(f"SELECT count(*) FROM {table}"))[0][0] for name, table in tables.items()}


async def test_a_run_that_cannot_be_stored_is_a_failed_one(
    bench: Bench, settings: Settings, tmp_path: Path
) -> None:
    await bench.pool.execute("ALTER TABLE backtest_events RENAME TO backtest_elsewhere")
    done = rollo(environment_of(settings), "backtest", "--null", "0", where=tmp_path, code=1)
    assert "the database is not set up for this version" in done.stderr
    assert await counts(bench) == {"runs": 0, "outbox": 0}
    ended = BacktestResult.model_validate((await bench.said("updates"))[-1])
    assert (ended.status, ended.results) == ("failed", None)


async def test_what_names_no_run_or_two_is_a_mistake(
    bench: Bench, settings: Settings, tmp_path: Path
) -> None:
    environment = environment_of(settings)
    for number in (0, 1):
        await bench.pool.execute(A_RUN, f"a{number}000000-0000-4000-8000-000000000000")
    for wrong, says in (
        ("b", "there is no run whose id begins with b"),
        ("A", "several runs have ids that begin with a"),
        ("%", "'%' is no id of a run"),
    ):
        told = rollo(environment, "backtest", "--show", wrong, where=tmp_path, code=2)
        assert says in told.stderr
    for pair in (["--list", "--show", "a"], ["--list", "--null", "3"], ["--show", "a", "--out", "x.csv"]):
        assert "stand alone" in rollo(environment, "backtest", *pair, where=tmp_path, code=2).stderr


A_RUN = """
INSERT INTO backtest_runs
    (id, rule_set, parameters, timeframe, turns, seed, started_at, ended_at, symbols, bars)
VALUES ($1, 'x', '{"version": 1}', '1d', 0, 1, now(), now(), 0, 0)
"""


# The detector's trades


async def test_the_trades_of_real_symbols_are_those_of_the_detector(
    shared_data: Path, settings: Settings, tmp_path: Path
) -> None:
    """One by one; found by the detector as bars came in, by the backtest in whole histories."""
    bars = feeds.daily(shared_data / "bars_daily_sp500.csv.gz", REAL)
    assert len(bars) > 1_200 * len(REAL)
    async with open_bench(settings) as bench:
        read = Read(Wyckoff(bench.pool, CURRENT), bench.outbox, quiet_s=-1.0)
        for part in (bars[:5_000], bars[5_000:5_600], bars[5_600:]):
            await bench.apply([payload for _, payload in feeds.frames(part, 500)])
            while await read.once():
                pass
        stored = await bench.rows(TRADES)
        events = await bench.rows("SELECT side, kind, count(*) FROM wyckoff_events GROUP BY side, kind")

        history, followed, counted = History(bench.pool, "1d", FOREVER_US), list[Followed](), Counter[Any]()
        for symbol in REAL:
            rows = await history.bars(symbol)
            found = trades.history(symbol, "1d", rows, CURRENT, calendars.sessions())
            followed += found.followed
            counted += found.events
    assert sorted(stored) == sorted(as_stored(one) for one in followed)
    assert len(stored) > 10
    assert {(side, kind): count for side, kind, count in events} == counted

    told = json.loads(rollo(environment_of(settings), "backtest", "--json", where=tmp_path).stdout)
    assert {(one["side"], one["kind"]): one["events"] for one in told["events"] if one["events"]} == counted
    closed = [row[-1] for row in stored if row[-1] is not None]
    [whole] = told["groups"]["all"]
    assert (whole["patterns"], whole["trade_count"]) == (len(stored), len(closed))
    assert whole["avg_r_multiple"] == pytest.approx(sum(closed) / len(closed), abs=1e-6)


TRADES = """
SELECT id, pattern_id, symbol, timeframe, pattern_type, direction, status, generated_at, changed_at, stop,
       target, planned_r, bars_held, entry_date, entry_price, entry_session, exit_date, exit_price,
       exit_session, exit_reason, realized_r
FROM signals WHERE origin = 'paper'
"""


def as_stored(one: Followed) -> tuple[Any, ...]:
    """The row that a detector has of a trade: money in whole 1e-8."""
    trade = one.trade
    return (
        paper_id(trade.pattern_id), trade.pattern_id, trade.symbol, trade.timeframe, trade.kind,
        "long" if trade.sign > 0 else "short", trade.status, one.pattern.knowable_at, trade.changed_at,
        _money(trade.stop), _money(trade.target), trade.planned_r, trade.bars, trade.entry_date,
        _money(trade.entry_price), trade.entry_session, trade.exit_date, _money(trade.exit_price),
        trade.exit_session, trade.reason, trade.realized_r,
    )  # fmt: skip


def _money(price: float | None) -> Decimal | None:
    return None if price is None else Decimal(repr(price)).quantize(Decimal("1e-8"))
