"""Single keys of a terminal, while a command works."""

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def keys(pressed: Callable[[str], object]) -> Iterator[bool]:
    """Call `pressed` for every key; yields whether there is a terminal that we may listen to.

    The terminal is put back as it was, whatever ends the command. Ctrl-C and Ctrl-Z stay what they are.
    """
    listening = _is_ours(sys.stdin.fileno() if _has_descriptor() else -1)
    if not listening:
        yield False
        return
    descriptor, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(descriptor)

    def listen() -> None:
        tty.setcbreak(descriptor, termios.TCSADRAIN)

    def read() -> None:
        typed = os.read(descriptor, 64)
        if not typed:
            loop.remove_reader(descriptor)  # the terminal has gone
        for key in typed.decode("utf-8", "replace"):
            pressed(key)

    listen()
    loop.add_reader(descriptor, read)
    loop.add_signal_handler(signal.SIGCONT, listen)  # a shell sets its own modes while we are stopped
    try:
        yield True
    finally:
        loop.remove_signal_handler(signal.SIGCONT)
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _has_descriptor() -> bool:
    try:
        sys.stdin.fileno()
    except (AttributeError, ValueError, OSError):
        return False
    return True


def _is_ours(descriptor: int) -> bool:
    """A job in the background that touched its terminal would be stopped."""
    try:
        return descriptor >= 0 and os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False
