"""What reading the tape costs: a backfill with Wyckoff on, until everything is read, against VSA alone.

Both read the same streams into the same tables with the same settings but one (`ROLLO_WYCKOFF`). The pair is
formed within a round, and the order turns round, because a machine that others use is not the same a minute
later.
"""

import time
from collections.abc import AsyncIterator

from bench import market
from bench.figures import Figure
from bench.readers import Run, detector, measured
from bench.stage import PARTITIONS, STREAMS, Clock, Stage, UntilRead
from support import databases

TITLE = "Detector: five years of daily bars with Wyckoff's reading of them, and without"

FILLING = 0
ROUNDS = 3
BUDGET_S = 240.0
PAIR_COSTS = 3.0
"""A pair of runs takes less than this many times as long as the longer of them."""


async def run(stage: Stage) -> AsyncIterator[Figure]:
    began = time.perf_counter()
    path, real = market.five_years(stage.folder)
    blocks = list(market.messages(path, PARTITIONS))
    rows = sum(map(len, blocks))
    stage.show.say(f"  {rows:,} rows of {'the real' if real else 'A MADE-UP'} {path.name}")
    await stage.fill(FILLING, "one entry per bar", blocks, rows)
    del blocks
    on, off = list[Run](), list[Run]()
    while len(on) < ROUNDS and _time_for_another(began, on):
        turns = [(off, "off"), (on, "on")]
        for runs, setting in reversed(turns) if len(on) % 2 else turns:
            runs.append(await _timed(stage, rows, setting, f"round {len(runs) + 1}: Wyckoff {setting}"))
    ratios = [o.seconds / w.seconds for o, w in zip(off, on, strict=True)]
    yield Figure.middle("detector.vsa_bars_per_second", [r.rate for r in off], "VSA alone, one detector")
    yield Figure.middle(
        "detector.wyckoff_bars_per_second", [r.rate for r in on],
        "until every event, pattern and trade is stored and said, one detector",
    )  # fmt: skip
    yield Figure.middle("detector.wyckoff_speed_ratio", ratios, "with Wyckoff / VSA alone, within a round")
    known = [(o.cpu_s, w.cpu_s) for o, w in zip(off, on, strict=True) if o.cpu_s and w.cpu_s]
    if known:
        shares = [alone / both for alone, both in known]
        meaning = "processor time of the detector: VSA alone / with Wyckoff"
        yield Figure.middle("detector.wyckoff_cpu_ratio", shares, meaning)


def _time_for_another(began: float, runs: list[Run]) -> bool:
    if not runs:
        return True
    spent = time.perf_counter() - began
    return spent + PAIR_COSTS * max(r.seconds for r in runs) < BUDGET_S


async def _timed(stage: Stage, rows: int, setting: str, name: str) -> Run:
    await stage.settle(FILLING, "detector", STREAMS)
    with stage.database() as url:
        environment = stage.environment(FILLING, url) | {"ROLLO_WYCKOFF": setting}
        with stage.show.task(name, rows) as done, detector(stage, environment) as (reader, metrics_url):
            async with stage.redis(FILLING) as redis:
                clock = Clock(redis, reader, STREAMS, lambda left: done(rows - left))
                if setting == "on":
                    clock = UntilRead(redis, reader, STREAMS, lambda left: done(rows - left), url=url)
                found = await measured(clock, rows, metrics_url)
        [[events, patterns, trades]] = databases.fetch(
            url,
            "SELECT (SELECT count(*) FROM wyckoff_events), (SELECT count(*) FROM patterns),"
            " (SELECT count(*) FROM signals)",
        )
    if bool(events) != (setting == "on"):
        raise AssertionError(f"{name}: {events:,} events")
    read = f": {events:,} events, {patterns:,} patterns, {trades:,} trades" if events else ""
    stage.show.say(f"    {found.rate:,.0f} bars/s{read}")
    return found
