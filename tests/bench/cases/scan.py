"""Scans over HTTP at a fixed rate, cached and not, and as many as there can be beside a plain application.

The gateway, the cache-builder and whoever asks are processes of their own. Ratios are formed within a round,
because a machine that others use is not the same a minute later.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from uuid import UUID

from bench import setups
from bench.figures import Figure
from bench.gateways import OWNER, Asked, Load, Server, ask, gateway, plain
from bench.stage import Stage

TITLE = "Scan: 250 connections, 1,000 questions a second, cached and not; and beside a plain application"

CONNECTIONS = 250
RATE = 1_000.0
SECONDS = 9.0
FLAT_OUT_S = 5.0
ROUNDS = 3
SMALL, LARGE = 5_000, 50_000
BROWSER = "gzip, deflate, br, zstd"
STEADY = Load(CONNECTIONS, RATE, SECONDS)
FLAT_OUT = Load(CONNECTIONS, None, FLAT_OUT_S)
MOST_PER_S = 12_000
"""More than can be answered: so many questions are kept for a second of misses."""


@dataclass(slots=True)
class Found:
    """Every measurement by the name of its kind."""

    by_kind: defaultdict[str, list[Asked]] = field(default_factory=lambda: defaultdict(list))
    series: int = 0

    def new_questions(self, load: Load) -> list[str]:
        self.series += 1
        rate = load.rate or MOST_PER_S / 4
        return setups.never_twice(int(load.seconds * rate) + CONNECTIONS, self.series)


async def run(stage: Stage) -> AsyncIterator[Figure]:
    for number, patterns in enumerate((SMALL, LARGE)):
        found = Found()
        with stage.database() as url:
            with stage.show.task(f"storing {patterns:,} patterns", 1):
                await setups.store(url, patterns)
                watchlist = await setups.keep(url, OWNER)
            async with gateway(stage, number, url, patterns) as server:
                with plain(stage, server.get(setups.SCAN)) as ceiling:
                    large = watchlist if patterns == LARGE else None
                    await _rounds(stage, found, server, ceiling, large)
        prefix = "scan." if patterns == LARGE else "scan.of_5000_"
        for figure in _figures(found, prefix, f"{patterns:,} patterns"):
            yield figure


async def _rounds(
    stage: Stage, found: Found, server: Server, ceiling: Server, watchlist: UUID | None
) -> None:
    """All kinds where there is a watchlist, else the first two."""
    often = setups.often(20_000)
    await _one(stage, found, "warm", server, replace(STEADY, seconds=2.0), often)

    async def cached() -> None:
        await _one(stage, found, "cached", server, STEADY, often)

    async def miss() -> None:
        await _one(stage, found, "miss", server, STEADY, found.new_questions(STEADY))

    async def flat_out() -> None:
        await _one(stage, found, "flat_out", server, FLAT_OUT, [setups.SCAN])

    async def plain_flat_out() -> None:
        await _one(stage, found, "plain", ceiling, FLAT_OUT, [setups.SCAN])

    async def cached_packed() -> None:
        await _one(stage, found, "cached_packed", server, replace(STEADY, encoding=BROWSER), often)

    async def miss_packed() -> None:
        load = replace(STEADY, encoding=BROWSER)
        await _one(stage, found, "miss_packed", server, load, found.new_questions(load))

    async def miss_flat_out() -> None:
        await _one(stage, found, "miss_flat_out", server, FLAT_OUT, found.new_questions(FLAT_OUT))

    async def of_watchlist() -> None:
        targets = setups.within(often, "watchlist_id", watchlist)
        await _one(stage, found, "watchlist", server, STEADY, targets)

    async def of_universe() -> None:
        targets = setups.within(often, "universe", setups.UNIVERSE)
        await _one(stage, found, "universe", server, STEADY, targets)

    turns: list[Callable[[], Awaitable[None]]] = [cached, miss]
    if watchlist:
        turns += [flat_out, plain_flat_out, cached_packed, miss_packed, miss_flat_out]
        turns += [of_watchlist, of_universe]
    for n in range(ROUNDS):
        for turn in reversed(turns) if n % 2 else turns:
            await turn()


async def _one(stage: Stage, found: Found, kind: str, server: Server, load: Load, targets: list[str]) -> None:
    """Measure, and make sure that what was measured is what its name says."""
    with stage.show.task(kind, 1):
        asked = await ask(server, load, targets, 0 if "miss" in kind else setups.POPULAR)
    outcome = asked.outcome
    least, most = _CACHED.get(kind, (0.0, 1.0))
    if not least <= outcome.cached / outcome.answered <= most:
        raise AssertionError(f"{kind}: {outcome.cached:,} of {outcome.answered:,} came from the cache")
    found.by_kind[kind].append(asked)
    stage.show.say(
        f"    {outcome.per_second:,.0f}/s, p50 {outcome.p50:.2f}, p95 {outcome.p95:.2f},"
        f" p99 {outcome.p99:.2f} ms, {asked.cpu_us or 0:.0f} us of processor each,"
        f" {outcome.body_bytes:,.0f} bytes; sent {outcome.late_p95:.2f} ms late (p95),"
        f" {outcome.unanswered} not answered"
    )


_ALL, _NONE = (0.999, 1.0), (0.0, 0.0)
_CACHED = {
    **dict.fromkeys(("cached", "flat_out", "watchlist", "universe"), _ALL),
    **dict.fromkeys(("miss", "miss_flat_out"), _NONE),
}
"""Share of the answers that must say that they were cached; what is compressed is not looked into."""
_NAMES = {
    "cached": "asked before",
    "miss": "never asked before",
    "cached_packed": "asked before, compressed as for a browser",
    "miss_packed": "never asked before, compressed as for a browser",
    "watchlist": "asked before, of a watchlist",
    "universe": "asked before, of a universe",
}


def _figures(found: Found, prefix: str, of: str) -> Iterator[Figure]:
    for kind, meaning in _NAMES.items():
        if taken := found.by_kind[kind]:
            for part in ("p50", "p95", "p99"):
                values = [getattr(asked.outcome, part) for asked in taken]
                yield Figure.middle(f"{prefix}{kind}_{part}_ms", values, f"{meaning}, {of}")
            costs = [asked.cpu_us for asked in taken if asked.cpu_us is not None]
            if costs:
                yield Figure.middle(f"{prefix}{kind}_cpu_us", costs, "processor time of the gateway each")
    ours, ceiling = ([a.outcome.per_second for a in found.by_kind[k]] for k in ("flat_out", "plain"))
    if ours:
        ratios = [a / b for a, b in zip(ours, ceiling, strict=True)]
        yield Figure.middle(f"{prefix}vs_asgi", ratios, "ours / plain, cached, flat out, within a round")
        yield Figure.middle(f"{prefix}per_second", ours, "cached answers a second, flat out")
        yield Figure.middle(f"{prefix}plain_per_second", ceiling, "of a plain application on the same server")
        rates = [a.outcome.per_second for a in found.by_kind["miss_flat_out"]]
        yield Figure.middle(f"{prefix}miss_per_second", rates, "answers never asked for before, flat out")
