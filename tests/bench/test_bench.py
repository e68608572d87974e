"""What a benchmark promises apart from its figures."""

import json
from pathlib import Path

import pytest

from bench import market
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
