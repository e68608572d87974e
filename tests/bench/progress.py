"""How far a bench has come: bars on a terminal; elsewhere a line per task, and some more of long ones."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

LONG_S = 30.0
"""Where no bar is seen, so often a line says how far a task is."""


class Show:
    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, sentence: str) -> None:
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Call what is yielded with how much is done."""
        began = time.perf_counter()
        if self.console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
            with Progress(*columns, console=self.console, transient=True) as progress:
                task = progress.add_task(name, total=total)
                yield lambda done: progress.update(task, completed=done)
        else:
            yield self._lines(name, total)
        self.say(f"  {name} ({time.perf_counter() - began:.1f} s)")

    def _lines(self, name: str, total: int) -> Callable[[int], None]:
        began = told = time.perf_counter()

        def tell(done: int) -> None:
            nonlocal told
            now = time.perf_counter()
            if now - told >= LONG_S and done < total:
                told = now
                self.say(f"  {name}: {done / total:.0%} after {now - began:.0f} s")

        return tell
