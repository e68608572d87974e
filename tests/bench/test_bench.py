"""What a benchmark promises apart from its figures."""

import json
from pathlib import Path

import pytest

from bench import market, sizes
from bench.figures import Figure, merge, shown
from bench.stage import PARTITIONS
from rollotape import calendars, intake


def test_a_bench_replaces_its_own_figures_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    merge(path, "scan", [Figure("scan.per_second", 5.0, "")])
    merge(path, "backfill", [Figure("backfill.old", 1.0, "")])
    merge(path, "backfill", [Figure.middle("backfill.new", [3.0, 1.0, 2.0], "")])
    assert json.loads(path.read_text("utf-8")) == {"backfill.new": 2.0, "scan.per_second": 5.0}


@pytest.mark.parametrize(
    ("value", "text"), [(41_234.5, "41,234"), (0.61234, "0.612"), (21.0, "21.0"), (0.0, "0.00")]
)
def test_figures_are_shown_with_three_digits_that_count(value: float, text: str) -> None:
    assert shown(value) == text


def test_the_made_up_market_has_the_shape_of_the_real_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLO_SHARED_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr(market, "STOCKS", 30)
    path, real = market.five_years(tmp_path)
    blocks = list(market.messages(path, PARTITIONS))
    messages = [intake.Message(payload, 1_900_000_000_000) for block in blocks for _, payload in block]
    taken = intake.read(messages, calendars.sessions)
    assert not real
    assert len(messages) == 30 * market.DAYS
    assert len(taken.refused) == 23
    assert {timeframe for _, timeframe in taken.keys} == {"1d"}


def test_shuffled_is_the_same_messages_in_the_same_other_order() -> None:
    messages = [("bars.0", b"%d" % n) for n in range(100)]
    mixed = market.shuffled(messages)
    assert mixed != messages
    assert mixed == market.shuffled(messages)
    assert sorted(mixed) == sorted(messages)


MEASURED = {
    "detector_cpu_us_per_bar": 60.0,
    "postgres_cpu_us_per_bar": 30.0,
    "redis_cpu_us_per_bar": 6.0,
    "detector_base_mb": 100.0,
    "detector_bytes_per_window_bar": 100.0,
    "rs_worker_base_mb": 60.0,
    "rs_worker_bytes_per_symbol": 10_000.0,
    "redis_bytes_per_bar": 200.0,
    "redis_bytes_per_active_pattern": 1_000.0,
    "patterns_active_per_symbol": 0.1,
    "wal_bytes_per_bar": 600.0,
    "pg_bytes_per_bar": 200.0,
    "pg_bytes_per_minute": 210.0,
    "pg_bytes_per_score": 300.0,
    "pg_bytes_per_series": 400.0,
}


def test_a_size_is_what_was_measured_times_what_there_is() -> None:
    small, large = (sizes.size(n, MEASURED) for n in (500, 100_000))
    assert (small.bars_a_day, small.detectors, small.partitions) == (195_000, 2, 16)
    assert small.window_bars == 1_000_000, "less than what it is without asking"
    assert small.detector_memory == 100e6 + 500 * 2 * 256 / 2 * 100
    assert small.disk_a_year == 500 * 252 * (390 * 210 + 200 + 300)
    assert (large.detectors, large.partitions) == (11, 64), "windows of 5,000,000 bars in each, at most"
    assert large.postgres_cores == pytest.approx(100_000 * 30e-6 / 10 / 0.6)


def test_processors_may_ask_for_more_detectors_than_windows_do() -> None:
    slow = MEASURED | {"detector_cpu_us_per_bar": 3_000.0}
    assert sizes.size(10_000, slow).detectors == 5


def test_the_table_of_sizes_has_a_column_for_each() -> None:
    rows = sizes.lines(sizes.size(n, MEASURED) for n in sizes.ASKED)
    assert {len(row) for row in rows} == {4}
    known = {row[0]: row[1:] for row in rows}
    assert known["WAL of PostgreSQL a day"] == ("117 MB", "2.3 GB", "23.4 GB")
