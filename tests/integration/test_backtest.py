"""`rollo backtest` on the bars of a stack: the figures of a file, and said on the stream of updates."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from rollotape.domain.bars import NUMBERS
from rollotape.events import BacktestProgress, BacktestResult
from rollotape.settings import Settings
from support.applying import Bench, open_bench
from support.commands import environment_of, rollo
from support.wyckoff import drawn

SYMBOLS = 4


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
        assert stored.pop("job_id")
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
