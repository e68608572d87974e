"""`rollo demo` as a stranger meets it: leaders, setups that form, and an end."""

import re
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

from rollotape.domain.sectors import FUNDS
from rollotape.producers.companies import STOCKS
from support.processes import mentioning
from support.stacks import Stack, rollo, running_stack
from support.waiting import eventually_sync

WITHIN_S = 150.0
"""A stranger's machine, which has nothing else to do, takes half a minute; this one may be busy. The
simulated sessions last longer: where they are over, nothing moves until a real one begins."""
SCAN = "/api/patterns/scan?confidence_min=0&per_page=100"
OWN = {"SPRING", "UTAD", "SOS", "SOW", "LPS", "LPSY"}


def patterns(demo: Stack) -> dict[str, Any]:
    """Active patterns by id; none while the read model is being built."""
    status, body = demo.get(SCAN)
    return {p["id"]: p for p in body["patterns"]} if status == 200 else {}


def leaders(demo: Stack) -> list[Any]:
    status, body = demo.get("/api/analytics/rs/leaders")
    return list(body["leaders"]) if status == 200 else []


def test_a_demonstration_has_leaders_patterns_and_events_soon(data_dir: Path) -> None:
    with running_stack(data_dir, "--speed", "1000", "--sessions", "20", command="demo") as demo:
        eventually_sync(lambda: len(leaders(demo)) == 22, within_s=WITHIN_S, what="two leaders a sector")
        assert {leader["sector"] for leader in leaders(demo)} == set(FUNDS)

        eventually_sync(lambda: patterns(demo), within_s=WITHIN_S, what="active patterns")
        watched = Watched()
        eventually_sync(lambda: watched.changes(patterns(demo)), within_s=WITHIN_S, what="setups that form")
        assert {p["source"] for p in watched.seen.values()} == {"rollo"}
        assert {p["pattern_type"] for p in watched.seen.values()} <= OWN
        assert {p["phase"] for p in watched.seen.values()} <= {"C", "D"}
        assert {p["sector"] for p in watched.seen.values() if p["symbol"] not in ("SPY", "QQQ")} <= set(FUNDS)
        eventually_sync(lambda: _formed(demo.said), within_s=WITHIN_S, what="a range that goes on")

        eventually_sync(lambda: _minutes(demo) > 0, within_s=WITHIN_S, what="events of minutes")
        eventually_sync(lambda: "leading: " in demo.said and "  pattern  " in demo.said, what="lines")
        assert "Simulated market, " in demo.said
        assert demo.said.count(f"'{demo.found.gateway_url}/api") == 4
        shown = rollo("scan", "--data", str(data_dir), "--confidence", "0")
        assert "patterns as of" in shown.stdout

        other = rollo("verify", "--sample", "5", "--data", str(data_dir), within_s=120)
        assert other.stdout.startswith("0 differences over 5 symbols"), other.stdout + other.stderr
        assert demo.stop(signal.SIGINT) == 0
    assert "Traceback" not in demo.said
    assert mentioning(data_dir) == {}
    _another_market_is_refused(data_dir)


def _another_market_is_refused(data_dir: Path) -> None:
    told = rollo("demo", "--data", str(data_dir), "--seed", "2", within_s=90)
    assert told.returncode == 2
    assert "simulated prices must not mix with them" in told.stderr
    assert mentioning(data_dir) == {}


class Watched:
    """What was seen of the patterns so far: whether some came later than others, and some are over."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}
        self._came = False

    def changes(self, now: dict[str, Any]) -> bool:
        fresh = [p for i, p in now.items() if i not in self.seen]
        self._came |= bool(self.seen) and any(p["timeframe"] == "15m" for p in fresh)
        self.seen |= now
        return self._came and not self.seen.keys() <= now.keys()


def _formed(said: str) -> bool:
    """Was a range told of in one phase, and later in the next?"""
    told: dict[tuple[str, ...], str] = defaultdict(str)
    for symbol, phase, side in re.findall(r"  range    (\S+) +15m  phase (\w)  \S+ +(\w+)", said):
        told[symbol, side] += phase
    return any(re.search("A.*B|B.*C|C.*D", phases) for phases in told.values())


def _minutes(demo: Stack) -> int:
    found = 0
    for stock in STOCKS[:3]:
        status, body = demo.get(f"/api/symbols/{stock.symbol}/vsa?timeframe=1m&rule_set=all")
        found += len(body["events"]) if status == 200 else 0
    return found
