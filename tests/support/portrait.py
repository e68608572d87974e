"""`make picture`: docs/terminal.svg, the screen of a real `rollo demo`, in the colours it was drawn in."""

import io
import os
import re
import sys
import time

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from support.documents import ROOT
from support.folders import open_folder
from support.stacks import ROLLO
from support.terminals import terminal
from support.waiting import eventually_sync

PICTURE = ROOT / "docs" / "terminal.svg"
COLUMNS, LINES = 126, 32
WITHIN_S = 240.0
A_WHILE_S = 20.0
"""After the first patterns, so that there are some of several days."""
_MOVES = re.compile(r"(?:\x1b\[\d*[ABCDGHJK]|\r)+")
_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)


def main() -> None:
    """Run the demonstration, wait for something to see, and draw its last whole screen."""
    os.environ["PATH"] = f"{ROLLO.parent}{os.pathsep}{os.environ['PATH']}"  # it calls itself `rollo` then
    with open_folder() as data:
        arguments = ("demo", "--data", str(data), "--speed", "1000", "--sessions", "6")
        with terminal(*arguments, columns=COLUMNS, lines=LINES) as screen:
            eventually_sync(lambda: "SPRING" in screen.since(), within_s=WITHIN_S, what="patterns")
            time.sleep(A_WHILE_S)
            frame = last_frame(screen.raw)
            screen.interrupt()
    PICTURE.write_text(drawn(frame), "utf-8")
    sys.stdout.write(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes\n")


def last_frame(raw: str) -> str:
    """What was drawn between the last two movements of the cursor to the top of the screen."""
    parts = [part for part in _MOVES.split(raw.replace("\r\n", "\n")) if part.count("\n") >= LINES // 2]
    return parts[-2].rstrip()


def drawn(frame: str) -> str:
    """As SVG, without fonts from elsewhere."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text.from_ansi(frame, no_wrap=True))
    return _FONTS.sub("", console.export_svg(title="rollo demo", theme=MONOKAI, unique_id="rollo")) + "\n"


if __name__ == "__main__":
    main()
