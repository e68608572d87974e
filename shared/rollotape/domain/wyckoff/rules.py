"""The rule set of Wyckoff events as data: every number that decides something, and the weights of confidence.

All rules are written for accumulation, on natural logarithms; distribution is the same with the sign turned.
Distances of a range are in U, the mean true range (A20) at its climax. V20, S20 and A20 are the means of
volume, spread and true range over the previous 20 bars. See docs/wyckoff.md.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

LOOKBACK = 20
TREND = 50
"""Bars of the mean close that says down from up, the bar itself included."""
CREST = 60
"""Bars, the last one included, among whose closes a decline begins."""
REACH = 60
"""No bar further back than this bears on what is computed for a bar; a change reaches as many later ones."""

Weights = tuple[tuple[str, float], ...]
"""Terms of a confidence and their shares; they add up to 1."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Versioned by its name: change a number, and the name changes."""

    name: str

    ps_volume: Fraction
    ps_spread: Fraction
    ps_place: Fraction
    ps_bars: int
    ps_proven: bool
    """Written only once a climax follows: a low of 20 bars, kept `ps_hold` bars, then rallied `ps_rally`."""
    ps_rally: Fraction
    ps_hold: int

    climax_volume: Fraction
    climax_spread: Fraction
    climax_place: Fraction
    climax_decline: Fraction
    """How far below the 50-bar mean it closes, in A20."""
    climax_proven: bool
    """Written only once a rally of `ar_rise` follows, before a low `climax_slack` U lower."""
    climax_slack: Fraction
    climax_again: bool
    """After the AR, too, a lower climax on more volume ends the range and opens one of its own."""

    ar_rise: Fraction
    ar_back: Fraction
    ar_bars: int

    st_zone: Fraction
    st_volume: Fraction
    st_bars: int
    st_turn: Fraction
    """How far above its low the confirming bar closes; likewise for the others."""
    st_apart: Fraction
    """How far above the climax a bar must stay to end a dip."""

    spring_over: Fraction
    spring_most: Fraction
    spring_age: int
    spring_bars: int
    spring_turn: Fraction

    test_zone: Fraction
    test_volume: Fraction
    test_bars: int
    test_turn: Fraction

    sos_age: int
    sos_over: Fraction
    sos_volume: Fraction
    sos_spread: Fraction
    sos_stop: Fraction

    lps_bars: int
    lps_depth: Fraction
    lps_under: Fraction
    lps_quiet: Fraction
    lps_turn: Fraction

    fail: Fraction

    range_bars: int

    weights: tuple[tuple[str, Weights], ...]


WYCKOFF_1 = Rules(
    name="wyckoff-1",
    ps_volume=Fraction("1.3"),
    ps_spread=Fraction("0.8"),
    ps_place=Fraction("0.35"),
    ps_bars=60,
    ps_proven=False,
    ps_rally=Fraction(0),
    ps_hold=0,
    climax_volume=Fraction(2),
    climax_spread=Fraction("1.5"),
    climax_place=Fraction("0.3"),
    climax_decline=Fraction(0),
    climax_proven=False,
    climax_slack=Fraction(3),
    climax_again=False,
    ar_rise=Fraction("1.5"),
    ar_back=Fraction("1/3"),
    ar_bars=10,
    st_zone=Fraction(1),
    st_volume=Fraction("0.8"),
    st_bars=40,
    st_turn=Fraction(0),
    st_apart=Fraction(1),
    spring_over=Fraction("0.1"),
    spring_most=Fraction(3),
    spring_age=10,
    spring_bars=5,
    spring_turn=Fraction(0),
    test_zone=Fraction(1),
    test_volume=Fraction("0.7"),
    test_bars=15,
    test_turn=Fraction(0),
    sos_age=10,
    sos_over=Fraction("0.3"),
    sos_volume=Fraction("1.5"),
    sos_spread=Fraction("1.2"),
    sos_stop=Fraction(1),
    lps_bars=20,
    lps_depth=Fraction("0.5"),
    lps_under=Fraction("0.5"),
    lps_quiet=Fraction("0.8"),
    lps_turn=Fraction(0),
    fail=Fraction(3),
    range_bars=250,
    weights=(
        ("PS", (("volume", 0.35), ("spread", 0.25), ("close", 0.2), ("decline", 0.2))),
        ("SC", (("volume", 0.35), ("spread", 0.25), ("close", 0.2), ("decline", 0.2))),
        ("AR", (("rise", 0.4), ("speed", 0.3), ("give_back", 0.3))),
        ("ST", (("volume", 0.4), ("level", 0.3), ("spread", 0.15), ("close", 0.15))),
        ("SPRING", (("volume", 0.3), ("depth", 0.25), ("recovery", 0.25), ("tests_before", 0.2))),
        ("TEST", (("volume", 0.4), ("higher_low", 0.3), ("spread", 0.3))),
        ("SOS", (("volume", 0.3), ("spread", 0.25), ("break", 0.25), ("close", 0.2))),
        ("LPS", (("volume", 0.3), ("spread", 0.2), ("level", 0.25), ("strength", 0.25))),
    ),
)

WYCKOFF_2 = replace(
    WYCKOFF_1,
    name="wyckoff-2",
    ps_volume=Fraction("1.4"),
    ps_spread=Fraction(1),
    ps_place=Fraction("0.25"),
    ps_bars=45,
    ps_proven=True,
    ps_rally=Fraction("1.4"),
    ps_hold=4,
    climax_volume=Fraction("2.2"),
    climax_spread=Fraction("1.9"),
    climax_place=Fraction("0.2"),
    climax_decline=Fraction("2.5"),
    climax_proven=True,
    climax_slack=Fraction("0.5"),
    climax_again=True,
    ar_rise=Fraction("3.5"),
    ar_back=Fraction("0.4"),
    ar_bars=14,
    st_zone=Fraction("1.3"),
    st_bars=120,
    st_turn=Fraction("1.5"),
    st_apart=Fraction(2),
    spring_over=Fraction("0.3"),
    spring_bars=8,
    spring_turn=Fraction("1.5"),
    test_volume=Fraction("0.75"),
    test_bars=25,
    test_turn=Fraction(1),
    lps_bars=25,
    lps_depth=Fraction("1.3"),
    lps_turn=Fraction("1.2"),
)
"""What `rollo score` made of them: proof before a word, and turns that are turns; see docs/wyckoff.md."""

CURRENT = WYCKOFF_2
RULE_SETS = (WYCKOFF_1, WYCKOFF_2)

MIRRORED = {"PS": "PSY", "SC": "BC", "SPRING": "UTAD", "SOS": "SOW", "LPS": "LPSY"}
"""Names on the side of distribution, where they differ."""
KINDS = ("PS", "SC", "AR", "ST", "SPRING", "TEST", "SOS", "LPS")
PATTERNS = frozenset({"SPRING", "SOS", "LPS"})
