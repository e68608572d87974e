"""Progress on stderr: bars on a terminal, a plain line now and then elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

LINE_EVERY_S = 5.0


class Meter:
    """Shows how far a command has come; a context manager around the work."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._next_line = 0.0
        self._progress: Progress | None = None
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[rate]}"),
                console=self._console,
            )

    def __enter__(self) -> "Meter":
        self._next_line = self._clock() + LINE_EVERY_S
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def note(self, text: str) -> None:
        """A sentence that stays on the screen."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def file(self, name: str, size: int) -> Callable[[int, int], None]:
        """A bar for one file; call the result with rows just read and bytes read so far."""
        rows, began = 0, self._clock()
        task = self._task(name, size)

        def advance(more_rows: int, position: int) -> None:
            nonlocal rows
            rows += more_rows
            rate = f"{rows / max(1e-9, self._clock() - began):,.0f} rows/s"
            if self._progress and task is not None:
                self._progress.update(task, completed=position, rate=rate)
            self._line(f"{name}: {position / max(1, size):.0%}, {rows:,} rows, {rate}")

        return advance

    def waiting(self, entries: int) -> Callable[[int], None]:
        """A bar for entries on their way; call the result with how many are left."""
        task = self._task("deriving", max(1, entries))

        def left(count: int) -> None:
            if self._progress and task is not None:
                self._progress.update(task, completed=max(0, entries - count), rate=f"{count:,} entries left")
            self._line(f"deriving: {count:,} entries left")

        return left

    def rows(self, what: str, total: int | None) -> Callable[[int], None]:
        """A bar for a known or unknown number of rows; call the result with how many are done."""
        task = self._task(what, total)

        def done(count: int) -> None:
            if self._progress and task is not None:
                self._progress.update(task, completed=count, rate=f"{count:,}")
            self._line(f"{what}: {count:,}" + (f" of {total:,}" if total else ""))

        return done

    def parts(self, what: str, parts: str) -> Callable[[int, int], None]:
        """A bar for work in parts; call the result with how many are done, of how many."""
        task = self._task(what, None)

        def done(count: int, total: int) -> None:
            if self._progress and task is not None:
                self._progress.update(task, completed=count, total=total, rate=f"{count:,} {parts}")
            self._line(f"{what}: {count:,} of {total:,} {parts}")

        return done

    def said(self, what: str, total: int) -> Callable[[int, str], None]:
        """A bar with words of its own; call the result with how much is done and what there is to say."""
        task = self._task(what, total)

        def done(count: int, words: str) -> None:
            if self._progress and task is not None:
                self._progress.update(task, completed=count, rate=words)
            self._line(f"{what}: {count / max(1, total):.0%}, {words}")

        return done

    def _task(self, name: str, total: float | None) -> TaskID | None:
        return self._progress.add_task(name, total=total, rate="") if self._progress else None

    def _line(self, text: str) -> None:
        if self._progress is None and self._clock() >= self._next_line:
            self._next_line = self._clock() + LINE_EVERY_S
            self.note(text)
