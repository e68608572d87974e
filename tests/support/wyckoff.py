"""Tapes for the Wyckoff rules, and what must hold of them whatever the bars."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from math import exp, log
from random import Random

import numpy as np

from rollotape import calendars
from rollotape.domain.bars import NUMBERS, Rows
from rollotape.domain.sessions import DAY_US
from rollotape.domain.wyckoff import checkpoints, tape
from rollotape.domain.wyckoff.facts import Event, Fact, Pattern, Range, Status
from rollotape.domain.wyckoff.fold import Checkpoint, advance
from rollotape.domain.wyckoff.rules import MIRRORED, REACH, WYCKOFF_1, Rules
from rollotape.domain.wyckoff.state import EMPTY
from rollotape.simulation import series
from rollotape.simulation.difficulty import DIFFICULTIES
from rollotape.simulation.market import Market
from rollotape.simulation.schematic import VARIANTS
from support.bars import Ohlcv, rows

KEY = ("A", "1d")
TOLERANCE = 1e-9
Said = tuple[object, ...]


def fold(bars: Rows, rules: Rules = WYCKOFF_1) -> list[Fact]:
    """Every fact of a history, all of it at once."""
    return advance(KEY, EMPTY, read(bars, rules)).facts


def read(bars: Rows, rules: Rules = WYCKOFF_1, start: int = 0) -> tape.Tape:
    [one] = tape.read([bars], [start], [True], rules)
    return one


def kinds(facts: Sequence[Fact]) -> list[tuple[str, int, int]]:
    """(kind, position of the bar described, position of the confirming bar), of daily bars made by `rows`."""
    first = 16_804 * DAY_US
    return [
        (f.kind, (f.event_ts - first) // DAY_US, (f.confirmed_ts - first) // DAY_US)
        for f in facts
        if isinstance(f, Event)
    ]


def walk(seed: int, count: int = 400) -> Rows:
    """Daily bars that rise, fall and go sideways, with fat tails, clustered volume and climaxes."""
    random = Random(seed)
    close, drift, volume, held = 100.0, 0.0, 1_000.0, 0
    anchor: float | None = None
    values: list[Ohlcv] = []
    for _ in range(count):
        if held == 0:
            held = random.randint(10, 60)
            anchor = close if random.random() < 0.5 else None
            drift = 0.0 if anchor else random.choice((-0.012, -0.006, 0.006, 0.012))
        held -= 1
        climax = 3.0 if drift and held < 2 else 1.0  # a trend ends loudly
        pull = 0.15 * log(anchor / close) if anchor else 0.0
        shock = random.gauss(0, 0.01) * (3 if random.random() < 0.06 else 1)
        opening = close * exp(random.gauss(0, 0.002))
        close = min(max(close * exp(climax * drift + pull + shock), 1.0), 50_000.0)
        high = max(opening, close) * exp(climax * abs(random.gauss(0, 0.006)))
        low = min(opening, close) * exp(-climax * abs(random.gauss(0, 0.006)))
        volume = 0.7 * volume + 0.3 * 1_000 * exp(random.gauss(0, 0.5))
        loud = climax + 40 * abs(log(high / low)) * random.random()
        values.append((*(round(p, 4) for p in (opening, high, low, close)), float(round(volume * loud))))  # type: ignore[arg-type]
    return rows([_in_order(*v) for v in values])


def drawn(seed: int, count: int = 500) -> Rows:
    """Daily bars of a simulated symbol with whole schematics."""
    market = Market(seed=seed, symbols=1, difficulty=DIFFICULTIES["middle"], kinds=VARIANTS)
    sessions = calendars.sessions()
    return series.rows(market.one(0, series.starts(sessions, "1d", 15_700, count)), sessions)


def _in_order(o: float, h: float, low: float, c: float, v: float) -> Ohlcv:
    return o, max(o, h, low, c), min(o, h, low, c), c, v


Property = Callable[[Rows, Random, Rules], None]


def cut(bars: Rows, random: Random, rules: Rules) -> None:
    """Cutting the history after any bar leaves exactly what was knowable."""
    last = random.randrange(len(bars))
    limit = bars["ts"][last]
    assert fold(bars[: last + 1], rules) == [f for f in fold(bars, rules) if f.confirmed_ts <= limit]


def one_by_one(bars: Rows, random: Random, rules: Rules) -> None:
    """One bar at a time, each with no more context than it may need: the same facts and the same state."""
    state, facts, at = EMPTY, list[Fact](), 0
    while at < len(bars):
        size = 1 if random.random() < 0.9 else random.randint(1, 70)
        first = max(0, at - REACH)
        folded = advance(KEY, state, read(bars[first : at + size], rules, at - first))
        state, at = folded.state, at + size
        facts += folded.facts
    whole = advance(KEY, EMPTY, read(bars, rules))
    assert facts == whole.facts
    assert state == whole.state


def late(bars: Rows, random: Random, rules: Rules) -> None:
    """A bar that comes late or is restated: folding again from the checkpoint before it mends everything."""
    at = random.randrange(len(bars))
    before = np.delete(bars, at)
    if random.random() < 0.5:  # it was there, with other numbers
        before = bars.copy()
        before["volume"][at] *= random.choice((0.1, 5))
        before["low"][at] *= random.choice((1, 0.95))
    old, new = read(before, rules), read(bars, rules)
    was = advance(KEY, EMPTY, old, keep=checkpoints.due("1d", old))
    ts = bars["ts"][at].item()
    earlier = [c for c in was.checkpoints if c.ts < ts]
    restart: Checkpoint | None = earlier[-1] if earlier else None
    since = -(2**63) if restart is None else restart.ts
    start = int(np.searchsorted(bars["ts"], since, side="right"))
    first = max(0, start - REACH)
    stored = {c.ts: c.state for c in was.checkpoints if c.ts > since}
    anew = checkpoints.refold(KEY, read(bars[first:], rules, start - first), restart, stored, ts)
    expected = advance(KEY, EMPTY, new, keep=checkpoints.due("1d", new))

    def outside(moment: int) -> bool:
        return moment <= since or moment > anew.until

    kept = [f for f in was.facts if outside(f.confirmed_ts)]
    mended = sorted([*kept, *anew.facts], key=lambda f: f.confirmed_ts)
    assert mended == sorted(expected.facts, key=lambda f: f.confirmed_ts)
    states = sorted([*(c for c in was.checkpoints if outside(c.ts)), *anew.checkpoints])
    assert states == expected.checkpoints
    assert anew.state in (None, expected.state)
    assert anew.state is not None or was.state == expected.state


def scaled(bars: Rows, random: Random, rules: Rules) -> None:
    """All prices, or all volumes, times 10 or 2: the same facts."""
    names = random.choice((NUMBERS[:4], NUMBERS[4:]))
    factor = random.choice((2, 10))
    prices = factor if "close" in names else 1
    other = bars.copy()
    for name in names:
        other[name] = [float(Decimal(repr(x)) * factor) for x in bars[name].tolist()]
    _same(_said(fold(bars, rules), price=lambda p: p * prices), _said(fold(other, rules)))


def shifted(bars: Rows, random: Random, rules: Rules) -> None:
    """All dates by whole weeks: the same facts, with other dates."""
    days = 7 * random.choice((-1, 1)) * random.randint(1, 520)
    other = bars.copy()
    for name in ("ts", "end_ts"):
        other[name] += days * DAY_US
    other["session"] += days
    _same(_said(fold(bars, rules), shift=days * DAY_US), _said(fold(other, rules)))


def mirrored(bars: Rows, random: Random, rules: Rules) -> None:
    """Prices turned over, p -> C/p: every fact turns into its mirror image, levels and confidence too."""
    total = random.choice((10_000.0, 1.0, 777.0))
    other = bars.copy()
    for name, source in (("open", "open"), ("close", "close"), ("high", "low"), ("low", "high")):
        other[name] = total / bars[source]
    turned = _said(fold(bars, rules), price=lambda p: total / p, turn=True, linear=False)
    _same(sorted(turned, key=repr), sorted(_said(fold(other, rules), linear=False), key=repr))


PROPERTIES: tuple[Property, ...] = (cut, one_by_one, late, scaled, shifted, mirrored)


def _same(expected: list[Said], found: list[Said]) -> None:
    assert len(expected) == len(found)
    for one, other in zip(expected, found, strict=True):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            near = isinstance(a, float) and isinstance(b, float) and abs(a - b) <= TOLERANCE * max(1, abs(a))
            assert near or a == b, (one, other)


def _said(
    facts: Sequence[Fact],
    *,
    price: Callable[[float], float] = lambda p: p,
    shift: int = 0,
    turn: bool = False,
    linear: bool = True,
) -> list[Said]:
    """Facts without ids, as they are expected after a change of prices or dates."""
    opened = {f.range_id: f.opened_ts + shift for f in facts if isinstance(f, Range)}
    names = MIRRORED | {name: plain for plain, name in MIRRORED.items()} if turn else {}
    sides = {"accumulation": "distribution", "distribution": "accumulation"} if turn else {}

    def p(value: float | None) -> float | None:
        return None if value is None else price(value)

    out: list[Said] = []
    for f in facts:
        head = (type(f).__name__, sides.get(f.side, f.side), opened.get(f.range_id) if f.range_id else None)
        when = f.confirmed_ts + shift, f.knowable_at + shift
        if isinstance(f, Event):
            terms = (value for _, value in f.terms)
            named = (*head, names.get(f.kind, f.kind), f.event_ts + shift, *when)
            out.append((*named, p(f.price), f.confidence, *terms))
        elif isinstance(f, Status):
            out.append((*head, names.get(f.kind, f.kind), f.event_ts + shift, *when, f.status))
        elif isinstance(f, Range):
            levels = (f.resistance, f.support) if turn else (f.support, f.resistance)
            phases = tuple((name, ts + shift) for name, ts in f.phases)
            stands = (f.climax_ts + shift, f.status, f.phase, phases)
            out.append((*head, *when, *stands, *map(p, levels), f.unit))
        elif isinstance(f, Pattern):
            named = (*head, names.get(f.kind, f.kind), f.event_ts + shift, *when)
            proposed = (f.expires_at + shift, f.phase, f.confidence, f.test_confirmed)
            prices = (p(f.entry), p(f.stop), p(f.target_1))
            told = (p(f.target_2), f.planned_r, f.indicators.vol_ratio, f.indicators.rsi) if linear else ()
            out.append((*named, *proposed, *prices, *told))
    return out


Bar = tuple[float, float, float, float]
"""High, low, close in U from the close before the climax; volume."""

CALM = 60
"""Bars of decline before a script begins; its first bar has this position."""


def script(*bars: Bar, price: float = 100.0, unit: float = 0.01) -> Rows:
    """A decline of 60 bars of spread 1, true range 1 and volume 1,000, then these bars: their U is 1."""
    calm = [((59 - i) / 2, 1000.0) for i in range(CALM)]
    drawn: list[Bar] = [(c + 0.75, c - 0.25, c, v) for c, v in calm]
    before, values = 30.0, list[Ohlcv]()
    for high, low, close, volume in [*drawn, *bars]:
        opening = min(max(before, low), high)
        o, h, lo, c = (price * exp(unit * x) for x in (opening, high, low, close))
        values.append((o, h, lo, c, volume))
        before = close
    return rows(values)
