"""`rollo top` beside working and missing servers."""

import signal
import sys
from pathlib import Path

import orjson
import pytest

from rollotape.settings import Settings
from support.commands import ROLLO, Environment, environment_of, rollo, started
from support.waiting import eventually_sync

DETECTOR = [sys.executable, "-m", "detector"]
HEADER = "symbol,date,open,high,low,close,volume"


@pytest.fixture
def environment(settings: Settings) -> Environment:
    return environment_of(settings)


def test_a_look_tells_lag_leases_letters_and_rates(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "bars.csv").write_text(f"{HEADER}\nA,2020-01-02,1,1,1,1,1\nA,2020-01-03,1,1,2,1,1\n")
    rollo(environment, "import", "bars.csv", where=tmp_path)
    waiting = orjson.loads(rollo(environment, "top", "--once", "--json", where=tmp_path).stdout)
    [row] = waiting["streams"]
    assert (row["stream"], row["group"], row["lag"], row["missing"]) == ("bars", "detector", 1, 1)
    assert (row["in_per_s"], row["out_per_s"], waiting["away"]) == (0.0, 0.0, {})
    with started(environment, *DETECTOR, where=tmp_path):

        def look() -> bool:
            seen = orjson.loads(rollo(environment, "top", "--once", "--json", where=tmp_path).stdout)
            bars = next(r for r in seen["streams"] if r["stream"] == "bars")
            held = [(r["service"], r["partitions"]) for r in seen["replicas"]]
            return (bars["lag"], bars["pending"], seen["dead_letters"], held) == (0, 0, 1, [("detector", 16)])

        eventually_sync(look, within_s=60)
        shown = rollo(environment, "top", "--once", where=tmp_path).stdout
    assert "bars x16" in shown
    assert "dead letters 1" in shown
    assert "read model missing, 0 patterns, nobody tends it" in shown


def test_who_is_away_is_said_and_the_rest_goes_on(environment: Environment, tmp_path: Path) -> None:
    away = {**environment, "ROLLO_REDIS_URL": "redis://:secret@127.0.0.1:1/0"}
    told = rollo(away, "top", "--once", "--json", where=tmp_path, code=1)
    seen = orjson.loads(told.stdout)
    assert list(seen["away"]) == ["redis"]
    assert (seen["streams"], seen["dead_letters"]) == ([], 0)
    with started(away, *ROLLO, "top", "--every", "0.2", where=tmp_path) as command:
        assert command.stdout is not None
        lines = [command.stdout.readline() for _ in range(3)]
        assert all("redis AWAY" in line and "dead letters 0" in line for line in lines)
        command.send_signal(signal.SIGINT)
        assert command.wait(20) == 130
