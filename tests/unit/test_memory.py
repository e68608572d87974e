"""Windows in memory are recalled for their version only, and never cost more than their budget."""

from random import Random

import numpy as np
import pytest

from detector.memory import Memory
from rollotape.domain.analysis import ALWAYS, FOREVER, Key, Window
from rollotape.domain.bars import BAR
from rollotape.domain.vsa.rules import REACH
from rollotape.postgres.versions import Version
from support.bars import Ohlcv, rows

FLAT: Ohlcv = (100, 101, 99, 100, 1000)
OLD: Version = (1, 11)
NOW: Version = (2, 22)
NEXT: Version = (3, 33)
A1D, A1H, B1D = ("A", "1d"), ("A", "1h"), ("B", "1d")


def window(count: int = 100, since: int | None = None, until: int | None = None) -> Window:
    """Daily bars; `since` and `until` are positions at which the window ends, where it does."""
    bars = rows([FLAT] * count)
    ts = bars["ts"].tolist()
    return Window(bars, ALWAYS if since is None else ts[since], FOREVER if until is None else ts[until])


def recalled(memory: Memory, key: Key, version: Version, held: Window, at: int = -1) -> Window | None:
    ts = int(held.bars["ts"][at])
    return memory.recall(key, version, ts, ts)


def remembering(**kept: Window) -> Memory:
    """A memory that holds windows of symbols at NOW, by the name of their symbol."""
    memory = Memory(10_000)
    for symbol, held in kept.items():
        memory.keep({(symbol, "1d"): held}, {symbol: OLD}, {symbol: NOW})
    return memory


def test_a_window_is_recalled_for_the_version_that_its_commit_made() -> None:
    held = window()
    memory = remembering(A=held)
    assert recalled(memory, A1D, NOW, held) is held


@pytest.mark.parametrize("version", [OLD, NEXT, (2, 23), (3, 22)])
def test_a_window_of_another_version_is_never_recalled(version: Version) -> None:
    """The same counter with another nonce is another history: a restored database counts again."""
    held = window()
    assert recalled(remembering(A=held), A1D, version, held) is None


def test_neither_other_symbols_nor_other_timeframes_are_recalled() -> None:
    held = window()
    memory = remembering(A=held)
    assert recalled(memory, B1D, NOW, held) is None
    assert recalled(memory, A1H, NOW, held) is None


def test_of_a_symbol_never_stored_everything_is_known() -> None:
    known = Memory(0).recall(A1D, (0, 0), 5, 9)
    assert known is not None
    assert len(known.bars) == 0
    assert known.covers(ALWAYS, FOREVER)


def test_a_window_is_recalled_only_for_bars_that_it_covers() -> None:
    held = window(100, since=0)
    memory = remembering(A=held)
    assert recalled(memory, A1D, NOW, held, REACH - 1) is None
    assert recalled(memory, A1D, NOW, held, REACH) is held
    ts = held.bars["ts"].tolist()
    assert memory.recall(A1D, NOW, ts[REACH - 1], ts[-1]) is None
    assert memory.recall(A1D, NOW, ts[-1], ts[-1] + 10**15) is held


def test_a_commit_to_one_timeframe_leaves_the_others_of_its_symbol_valid() -> None:
    day, hour, later = window(), window(50), window(101)
    memory = Memory(10_000)
    memory.keep({A1D: day, A1H: hour}, {"A": OLD}, {"A": NOW})
    memory.keep({A1D: later}, {"A": NOW}, {"A": NEXT})
    assert recalled(memory, A1D, NEXT, later) is later
    assert recalled(memory, A1H, NEXT, hour) is hour
    assert recalled(memory, A1H, NOW, hour) is None
    assert len(memory) == 151


def test_what_somebody_else_committed_meanwhile_makes_all_that_was_held_void() -> None:
    """Held at OLD, but this commit started from NOW: another worker moved the symbol in between."""
    hour, day = window(50), window()
    memory = Memory(10_000)
    memory.keep({A1H: hour}, {}, {"A": OLD})
    memory.keep({A1D: day}, {"A": NOW}, {"A": NEXT})
    assert recalled(memory, A1H, NEXT, hour) is None
    assert recalled(memory, A1D, NEXT, day) is day
    assert len(memory) == 100


def test_a_batch_that_changed_nothing_keeps_its_windows_at_the_same_version() -> None:
    held = window()
    memory = Memory(10_000)
    memory.keep({A1D: held}, {"A": NOW}, {"A": NOW})
    assert recalled(memory, A1D, NOW, held) is held


def test_a_window_that_does_not_reach_the_newest_bar_is_not_kept() -> None:
    """And the one it replaces is dropped: the commit changed bars that it holds."""
    memory = remembering(A=window())
    memory.keep({A1D: window(90, 0, 89)}, {"A": NOW}, {"A": NEXT})
    assert recalled(memory, A1D, NEXT, window()) is None
    assert len(memory) == 0


def test_a_symbol_of_which_nothing_was_stored_is_not_remembered() -> None:
    memory = Memory(10_000)
    memory.keep({A1D: window()}, {}, {})
    assert len(memory) == 0


def test_forgetting_forgets_one_symbol() -> None:
    a, b = window(), window(70)
    memory = remembering(A=a, B=b)
    memory.forget({"A", "Z"})
    assert recalled(memory, A1D, NOW, a) is None
    assert recalled(memory, B1D, NOW, b) is b
    assert len(memory) == 70


def test_over_its_budget_memory_first_shortens_long_windows() -> None:
    memory = Memory(1_000)
    held = {f"S{i}": window(400) for i in range(3)}
    for symbol, one in held.items():
        memory.keep({(symbol, "1d"): one}, {}, {symbol: NOW})
    assert len(memory) <= 1_000
    for symbol, one in held.items():
        short = recalled(memory, (symbol, "1d"), NOW, one)
        assert short is not None
        assert short.since == short.bars["ts"][0]
        assert short.until == FOREVER
        assert (short.bars == one.bars[-len(short.bars) :]).all()
        assert recalled(memory, (symbol, "1d"), NOW, one, 0) is None


def test_shortened_windows_hold_no_memory_of_the_long_ones() -> None:
    held = window(900)
    memory = Memory(500)
    memory.keep({A1D: held}, {}, {"A": NOW})
    short = recalled(memory, A1D, NOW, held)
    assert short is not None
    assert not np.shares_memory(short.bars, held.bars)


def test_after_that_the_least_recently_used_go() -> None:
    memory = Memory(450)
    held = window(100)
    for symbol in "ABCD":
        memory.keep({(symbol, "1d"): held}, {}, {symbol: NOW})
    memory.keep({A1D: held}, {"A": NOW}, {"A": NOW})
    memory.keep({("E", "1d"): held}, {}, {"E": NOW})
    left = [s for s in "ABCDE" if recalled(memory, (s, "1d"), NOW, held) is not None]
    assert left == ["A", "C", "D", "E"]
    assert len(memory) == 400


def test_no_budget_is_no_memory() -> None:
    memory = Memory(0)
    memory.keep({A1D: window()}, {}, {"A": NOW})
    assert len(memory) == 0
    assert recalled(memory, A1D, NOW, window()) is None


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_kept_the_budget_holds_and_only_the_present_is_recalled(seed: int) -> None:
    """Against a plain model: what was last kept of each key, at the version that is current."""
    random = Random(seed)
    memory = Memory(2_000)
    current: dict[str, Version] = {}
    model: dict[Key, Window] = {}
    for step in range(300):
        symbol = random.choice("ABCDEFGH")
        before, after = dict(current), dict(current)
        if random.random() < 0.8:
            after[symbol] = (current.get(symbol, (0, 0))[0] + 1, step)
        if random.random() < 0.1:  # somebody else committed: what was held of the symbol is void
            current = after
            model = {k: w for k, w in model.items() if k[0] != symbol}
            continue
        held = window(random.randint(1, 400))
        key = symbol, random.choice(("1d", "1h"))
        memory.keep({key: held}, before, after)
        current = after
        if symbol in current:
            model[key] = held
        assert len(memory) <= 2_000
        for k, expected in model.items():
            found = recalled(memory, k, current[k[0]], expected)
            if found is not None:
                assert (found.bars == expected.bars[-len(found.bars) :]).all()
    assert len(memory) > 0


def test_an_empty_window_is_worth_keeping() -> None:
    """A timeframe of which nothing is stored yet, of a symbol that is."""
    held = Window(np.empty(0, BAR))
    memory = Memory(100)
    memory.keep({A1D: held}, {"A": NOW}, {"A": NOW})
    assert memory.recall(A1D, NOW, 5, 5) is held
