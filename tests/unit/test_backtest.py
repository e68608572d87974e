"""Backtests: the detector's trades, chance at other dates, changed parameters, the command."""

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from rollotape import calendars
from rollotape.backtest import stored
from rollotape.backtest.chance import ALL, Chance, Verdict, calendar, outcomes
from rollotape.backtest.parameters import in_order, parameters
from rollotape.backtest.report import GROUPINGS, Asked, Found, document
from rollotape.backtest.trades import Followed, History, history
from rollotape.domain.bars import Rows
from rollotape.domain.reading import own_patterns, planned
from rollotape.domain.sessions import DAY_US
from rollotape.domain.trades import Trade, follow
from rollotape.domain.wyckoff.derived import PARAMETERS, derived
from rollotape.domain.wyckoff.facts import Pattern, Status
from rollotape.domain.wyckoff.rules import RULE_SETS, WYCKOFF_1, WYCKOFF_2, Rules
from rollotape.errors import Refused
from rollotape.postgres.backtests import Kept
from support.bars import Ohlcv, rows
from support.commands import rollo
from support.wyckoff import drawn, fold, walk

SESSIONS = calendars.sessions()
_ALONE = {"COLUMNS": "200", "PATH": os.environ["PATH"]}


def whole(bars: Rows, symbol: str = "A") -> History:
    return history(symbol, "1d", bars, WYCKOFF_1, SESSIONS, sector="Energy")


def on_sessions(bars: Rows, first: int = 0) -> Rows:
    """The same bars, one a session instead of one a day."""
    moved = bars.copy()
    begin = int(np.searchsorted(SESSIONS.days, 16_804)) + first
    moved["session"] = SESSIONS.days[begin : begin + len(bars)]
    moved["ts"] = moved["session"] * DAY_US
    moved["end_ts"] = SESSIONS.closes[begin : begin + len(bars)]
    return moved


def of_chance(histories: Sequence[History], turns: int = 200, seed: int = 1) -> Chance:
    first = min(int(h.tape.bars["ts"][0]) for h in histories)
    last = max(int(h.tape.bars["ts"][-1]) for h in histories)
    chance = Chance.seeded(calendar("1d", first, last, SESSIONS), turns, seed)
    for one in histories:
        chance.add(one.tape, one.followed)
    return chance


def verdict(histories: Sequence[History], turns: int = 200, seed: int = 1) -> Verdict:
    return of_chance(histories, turns, seed).verdicts()[ALL]


# Trades


def test_trades_are_those_of_the_patterns_that_the_fold_finds() -> None:
    for seed in range(10):
        bars = walk(seed)
        found, facts = whole(bars).followed, fold(bars)
        patterns = [f for f in facts if isinstance(f, Pattern)]
        assert [f.pattern for f in found] == patterns
        for one, own in zip(found, own_patterns(facts, bars["ts"]), strict=True):
            later = bars[bars["ts"] > one.pattern.confirmed_ts]
            assert one.trade == follow(planned(own), later)
            if len(later):
                assert bars["ts"][one.at] == later["ts"][0]


def test_a_test_counts_when_it_came_by_the_exit() -> None:
    seen = set()
    for seed in range(60):
        bars = walk(seed)
        told = [f for f in fold(bars) if isinstance(f, Status)]
        passed = {f.key: f.knowable_at for f in told if f.status == "test_passed"}
        for one in whole(bars).followed:
            springs = one.pattern.kind in ("SPRING", "UTAD")
            assert (one.test_confirmed is None) == (not springs)
            if springs:
                when = passed.get(one.pattern.key)
                assert one.test_confirmed == (when is not None and when <= one.trade.changed_at)
                seen.add(one.test_confirmed)
    assert seen == {True, False}


def test_a_period_drops_patterns_and_changes_none() -> None:
    for seed in range(6):
        bars = walk(seed)
        since = int(bars["ts"][200])
        part = history("A", "1d", bars, WYCKOFF_1, SESSIONS, sector="Energy", since_us=since).followed
        assert part == [f for f in whole(bars).followed if f.pattern.confirmed_ts >= since]


# Chance


def test_the_real_dates_give_the_real_trades() -> None:
    """The rules of paper trades, written twice: bar by bar, and for many dates at once."""
    compared = 0
    for seed in range(60):
        one = whole(on_sessions(walk(seed)))
        chance = of_chance([one], turns=1)
        still = Chance(chance.calendar, np.zeros(1, np.int64))
        still.add(one.tape, one.followed)
        for name, earned in still.earned.items():
            assert still.turned[name][0] == pytest.approx(sum(earned), abs=1e-6)
            compared += len(earned)
    assert compared > 100


@pytest.mark.parametrize("sign", [1, -1])
def test_every_way_out_is_the_one_of_a_paper_trade(sign: int) -> None:
    random = Random(5)
    reasons = set()
    for _ in range(400):
        bars = rows([_noise(random) for _ in range(25)])
        opening = bars["open"][2].item()
        stop = opening * (1 - sign * random.uniform(0.01, 0.2))
        target = opening * (1 + sign * random.uniform(0.01, 0.2))
        trade = replace(_TRADE, sign=sign, stop=stop, target=target)
        real = follow(trade, bars[2:])
        levels = np.array([stop / opening]), np.array([target / opening])
        [r] = outcomes(bars, np.array([2]), np.array([sign]), *levels)
        assert r == pytest.approx(real.realized_r, abs=1e-9)
        reasons.add(real.reason)
    assert reasons == {"stop", "target", "time"}


def _noise(random: Random) -> Ohlcv:
    o, c = 100 * (1 + random.gauss(0, 0.03)), 100 * (1 + random.gauss(0, 0.03))
    return o, max(o, c) * (1 + random.random() / 50), min(o, c) * (1 - random.random() / 50), c, 1.0


def test_entries_of_one_day_stay_together() -> None:
    """Two symbols with the same bars have the same trades at every turn."""
    for seed in range(20):
        bars = on_sessions(walk(seed))
        if not whole(bars).followed:
            continue
        chance = of_chance([whole(bars)])
        both = of_chance([whole(bars), whole(bars, "B")])
        for name, once in chance.turned.items():
            assert both.turned[name] == pytest.approx(2 * once)


def test_a_symbol_listed_later_is_turned_around_its_own_history() -> None:
    early, late = whole(on_sessions(walk(1))), whole(on_sessions(walk(2, 250), 150), "B")
    assert late.followed
    chance = of_chance([early, late])
    at = np.array([f.at for f in late.followed])
    places = chance._places(late.tape, at)
    assert places.min() >= 50 and places.max() <= len(late.tape) - 20
    assert len(set(places[0].tolist())) > 50


def test_the_same_seed_says_the_same_and_another_does_not() -> None:
    market = [whole(on_sessions(walk(seed))) for seed in range(3)]
    assert verdict(market) == verdict(market)
    assert verdict(market, seed=2) != verdict(market)


def test_an_effect_that_was_planted_is_seen() -> None:
    """After the pattern of the market's own making prices run as the pattern says."""
    assert verdict([_planted(seed, 0.02) for seed in range(8)]).p < 0.02


def test_without_an_effect_p_is_spread_evenly() -> None:
    """Entries on random days of random walks: of forty p, about as many lie in each part of 0..1."""
    ps = [verdict([_planted(1_000 + 10 * seed + n, 0.0) for n in range(4)], turns=99).p for seed in range(40)]
    assert 0.3 < sum(ps) / len(ps) < 0.7
    assert sum(p <= 0.1 for p in ps) <= 10
    assert sum(p > 0.5 for p in ps) >= 10


_FOLLOWED = whole(walk(1)).followed[0]
_TRADE = Trade(
    pattern_id=_FOLLOWED.trade.pattern_id, symbol="A", timeframe="1d", kind="SPRING", sign=1, stop=0.0,
    target=0.0, planned_r=2.0, detected_ts=0, changed_at=0,
)  # fmt: skip


def _planted(seed: int, drift: float) -> History:
    """A random walk with a dozen long trades on random days, followed by a drift for ten days."""
    random = Random(seed)
    days = sorted(random.sample(range(60, 430), 12))
    close, values = 100.0, list[Ohlcv]()
    for day in range(460):
        after = any(0 <= day - entry < 10 for entry in days)
        opening, close = close, close * (1 + random.gauss(0, 0.01) + after * drift)
        high, low = max(opening, close) * 1.004, min(opening, close) / 1.004
        values.append((opening, high, low, close, 1_000.0))
    bars = on_sessions(rows(values))
    one = whole(bars)
    return replace(one, followed=[_long(one, at) for at in days])


def _long(one: History, at: int) -> Followed:
    bars = one.tape.bars
    entry = bars["open"][at].item()
    before = int(bars["ts"][at - 1])
    trade = replace(_TRADE, stop=entry * 0.95, target=entry * 1.1, detected_ts=before)
    return replace(_FOLLOWED, trade=follow(trade, bars[at : at + 20]), at=at)


# Rule sets of changed parameters


def test_a_derived_rule_set_says_what_was_changed() -> None:
    rules = derived(WYCKOFF_2, {"st_bars": "80", "fail": "2.5", "climax_proven": "FALSE"})
    assert rules.name == "wyckoff-2+climax_proven=false,fail=5/2,st_bars=80"
    assert (rules.st_bars, rules.fail, rules.climax_proven) == (80, Fraction("2.5"), False)
    assert derived(WYCKOFF_2, {"fail": "3", "st_bars": "120"}) is WYCKOFF_2
    assert "name" not in PARAMETERS


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("faill", "1", "has no parameter 'faill'; there are ps_volume"),
        ("name", "x", "has no parameter 'name'"),
        ("fail", "much", "fail is a number like 1.5 or 3/2"),
        ("fail", "1/0", "fail is a number"),
        ("fail", "-1", "from 0 to 1,000"),
        ("fail", "0.00001", "from 0 to 1,000"),
        ("st_bars", "1.5", "st_bars is a whole number"),
        ("climax_again", "1", "climax_again is true or false"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(name: str, value: str, says: str) -> None:
    with pytest.raises(Refused) as refused:
        derived(WYCKOFF_2, {name: value})
    assert says in str(refused.value)


@pytest.mark.parametrize("rules", [*RULE_SETS, derived(WYCKOFF_2, {"fail": "5/2"})], ids=lambda r: r.name)
def test_parameters_are_data_from_which_the_rules_can_be_made_again(rules: Rules) -> None:
    """Also by whoever got them from a database, which keeps no order of names."""
    told = json.loads(json.dumps(parameters(rules), sort_keys=True))
    assert told["version"] == 1
    values: dict[str, Any] = {
        name: Fraction(value) if isinstance(value, str) else value for name, value in told["values"].items()
    }
    weights = tuple((kind, tuple(map(tuple, terms))) for kind, terms in told["weights"])
    assert Rules(told["name"], **values, weights=weights) == rules
    assert json.dumps(in_order(told)) == json.dumps(parameters(rules))


# What is stored


def test_rows_in_any_order_are_the_document_again() -> None:
    """Groups without a closed trade, and trades without a judgement of chance, among them."""
    histories = [
        history(f"S{n}", "1d", on_sessions(walk(n)), WYCKOFF_1, SESSIONS, sector=sector)
        for n, sector in enumerate((None, "Energy", "Utilities", "Energy", None))
    ]
    found = Found(5, 2_000, 0, 1, 2)
    for one in histories:
        found.followed += one.followed
        found.events += one.events
    alone = next(f for f in found.followed if f.closed is None)
    found.followed.append(replace(alone, sector="Nowhere"))
    for chance in (of_chance(histories, turns=20), None):
        asked = Asked(WYCKOFF_1, "1d", {"S1", "S0"}, 5_000_000, None, 20 if chance else 0, 1)
        told = document(asked, found, chance)
        kept = stored.kept(asked, found, told, "some-id", 1_000_000, 2_000_000)
        shuffled = Kept(kept.run, kept.results[::-1], kept.events[::-1])
        assert stored.document(shuffled) == {**stored.heading("some-id", 1_000_000, 2_000_000), **told}
        [nowhere] = [g for g in told["groups"]["sector"] if g["value"] == "Nowhere"]
        assert (nowhere["patterns"], nowhere["trade_count"], nowhere["win_rate_ci95"]) == (1, 0, None)
        assert sum(one["patterns"] for one in told["cells"]) == len(found.followed)
        assert len(kept.results) == 1 + len(told["cells"]) + sum(len(told["groups"][n]) for n in GROUPINGS)


# The command


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Six symbols of a simulated market; one row that no bar can come from."""
    with (tmp_path / "bars.csv").open("w") as file:
        file.write("symbol,date,open,high,low,close,volume\n")
        for seed in range(6):
            bars = drawn(seed)
            days = bars["ts"].astype("M8[us]").astype("M8[D]").astype(str)
            for day, bar in zip(days, bars, strict=True):
                numbers = ",".join(repr(bar[n].item()) for n in ("open", "high", "low", "close", "volume"))
                file.write(f"S{seed},{day},{numbers}\n")
        file.write("S0,2030-01-02,1,0,1,1,1\n")
    (tmp_path / "sectors.csv").write_text("symbol,sector\nS0,Energy\nS1,Energy\nS2,Utilities\n")
    return tmp_path / "bars.csv"


def test_a_file_is_enough(sample: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = ["backtest", "--file", sample, "--sectors", "sectors.csv", "--json"]
    told = json.loads(rollo(_ALONE, *arguments, "--out", "trades.csv", where=tmp_path).stdout)
    assert (told["rule_set"], told["symbols"], told["unusable_rows"]) == ("wyckoff-2", 6, 1)
    [everything] = told["groups"]["all"]
    trades = list(csv.DictReader((tmp_path / "trades.csv").read_text().splitlines()))
    assert len(trades) == everything["patterns"] > 10
    assert sum(t["status"] == "CLOSED" for t in trades) == everything["trade_count"]
    earned = [float(t["realized_r"]) for t in trades if t["realized_r"]]
    assert sum(earned) / len(earned) == pytest.approx(everything["avg_r_multiple"], abs=1e-6)
    for name in ("kind", "phase", "side", "sector"):
        groups = told["groups"][name]
        assert {g["value"] for g in groups} == {t[name] or "unknown" for t in trades}
        assert sum(g["patterns"] for g in groups) == len(trades)
    for event in told["events"]:
        if event["kind"] in ("SPRING", "SOS", "LPS", "UTAD", "SOW", "LPSY"):
            assert event["events"] == sum(t["kind"] == event["kind"] for t in trades)
    assert told["null"]["turns"] == 200
    assert all(1 / 201 <= one["p"] <= 1 for one in told["null"]["kinds"])
    assert rollo(_ALONE, *arguments, where=tmp_path).stdout == json.dumps(told, indent=2) + "\n"


def test_the_table_has_a_line_for_every_group(sample: Path) -> None:
    arguments = ["backtest", "--file", "bars.csv", "--set", "st_bars=80", "--symbols", "s0,s1", "--null"]
    said = rollo(_ALONE, *arguments, "20", where=sample.parent).stdout
    assert said.startswith("wyckoff-2+st_bars=80, 1d: 2 symbols, 1,000 bars")
    assert "\nevents " in said and "SPRING/UTAD" in said
    for word in ("\nkind ", "\nphase ", "\nside ", "\nsector ", "\nunknown", "20 times (seed 1)"):
        assert word in said
    alone = rollo(_ALONE, *arguments, "0", where=sample.parent).stdout
    assert "chance" not in alone
    cells = rollo(_ALONE, *arguments, "0", "--cells", where=sample.parent).stdout
    assert "\nkind    phase  sector " in cells
    assert len(cells.splitlines()) > len(alone.splitlines()) + 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rules", "wyckoff-9"], "--rules is one of wyckoff-1, wyckoff-2; found 'wyckoff-9'"),
        (["--set", "x=1"], "wyckoff-2 has no parameter 'x'"),
        (["--timeframe", "2m"], "must be one of 1m 5m"),
        (["--symbols", "NOSUCH"], "no bar of the file matches"),
        (["--from", "2018-02-06", "--to", "2018-02-05"], "--from 2018-02-06 is not before --to 2018-02-05"),
        (["--from", "yesterday"], "neither a day like 2018-02-05"),
        (["--out", "nowhere/x.csv"], "there is no folder nowhere"),
        (["--sectors", "none.csv"], "none.csv: No such file"),
    ],
)
def test_a_mistake_is_named(sample: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    told = rollo(_ALONE, "backtest", "--file", sample, *arguments, where=tmp_path, code=2)
    assert says in " ".join(told.stderr.replace("│", " ").split())
