"""How far a bench has come: bars on a terminal, a line per task elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


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
            yield lambda done: None
        self.say(f"  {name} ({time.perf_counter() - began:.1f} s)")
