"""Runs benches: `python -m bench [NAME ...]`, all of them when none is named."""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from rich.console import Console

from bench import cases, machine
from bench.figures import Figure, merge, table
from bench.progress import Show
from bench.stage import Stage, open_stage

WIDTH = 132
"""Of a table that is written to a file; a terminal has its own."""


def main() -> None:
    known = sorted(module.name for module in iter_modules(cases.__path__))
    parser = argparse.ArgumentParser(prog="bench", description="Measure on real servers of its own.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"), help="flat JSON of figures")
    given = parser.parse_args()
    if unknown := set(given.names) - set(known):
        parser.error(f"no bench called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for name in given.names or known:
        asyncio.run(_run(name, given.out, Show(console)))


async def _run(name: str, out: Path, show: Show) -> None:
    case = import_module(f"bench.cases.{name}")
    run: Callable[[Stage], AsyncIterator[Figure]] = case.run
    began = time.perf_counter()
    show.say(f"{case.TITLE}\n  {machine.facts()}")
    with open_stage(show) as stage:
        show.say(f"  {stage.servers.summary}")
        figures = [figure async for figure in run(stage)]
    merge(out, name, figures)
    show.console.print(table(case.TITLE, figures))
    show.say(f"written to {out} after {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
