"""The stack that a command works on; where one does not run, its servers alone, for the time being."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rollotape import settings as configuration
from rollotape.cli import stack
from rollotape.cli.up import Say
from rollotape.embedded import Servers
from rollotape.errors import Refused
from rollotape.settings import Settings


@contextmanager
def awake(data: Path | None, say: Say, *, new: bool = False) -> Iterator[Settings]:
    """Settings of a stack that answers. `new`: a directory without data gets servers, too.

    Raises:
        Refused: there is none, and there is nothing to start one from.
    """
    try:
        settings = stack.address(data)
    except Refused:
        place = stack.folder(data)
        if not _can_start(place, new):
            raise
    else:
        yield settings
        return
    with Servers(place) as servers:
        say(f"No stack runs on {place}: its servers run as long as this command does.")
        yield configuration.load(**asdict(servers.urls))


def _can_start(place: Path, new: bool) -> bool:
    if stack.is_named():
        return False  # a stack was named, and something is wrong with the names
    return (place / "servers.json").exists() or (new and not (place.exists() and not place.is_dir()))
