"""Who stands where among whom: ratings of a market, leaders of a sector."""

from typing import NamedTuple

import numpy as np

from rollotape.domain.strength.market import Flags, Floats, Ints

LEAST_MEMBERS = 5
"""A sector with fewer members that have a score has no leaders."""


class Standing(NamedTuple):
    """Of every value, how many of its group are below it and equal to it (itself included), of how many."""

    below: Ints
    equal: Ints
    members: Ints


def standings(values: Floats, group: Ints) -> Standing:
    """Compare values with those of the same group, after rounding to 1e-9."""
    if not len(values):
        nothing = np.empty(0, np.int64)
        return Standing(nothing, nothing, nothing)
    keys = np.rint(values * 1e9)
    order = np.lexsort((keys, group))
    keys, group = keys[order], group[order]
    other_group = np.append(True, group[1:] != group[:-1])
    first, end = _runs(other_group)
    begins, ends = _runs(other_group | np.append(True, keys[1:] != keys[:-1]))
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return Standing((begins - first)[back], (ends - begins)[back], (end - first)[back])


def _runs(starts: Flags) -> tuple[Ints, Ints]:
    """For every element, where its run begins and where it ends."""
    begins = np.append(np.flatnonzero(starts), len(starts))
    run = np.cumsum(starts) - 1
    return begins[run], begins[run + 1]


def ratings(standing: Standing) -> Ints:
    """1 to 99: ceil(99 (below + equal / 2) / members), in whole numbers."""
    halves = 99 * (2 * standing.below + standing.equal)
    return -(-halves // (2 * standing.members))


def ranks(standing: Standing) -> Ints:
    """1 is the strongest; equals share the better rank."""
    return 1 + standing.members - standing.below - standing.equal


def leaders(rank: Ints, members: Ints) -> Flags:
    """The best fifth, rounded up, ties included."""
    return (members >= LEAST_MEMBERS) & (rank <= -(-members // 5))
