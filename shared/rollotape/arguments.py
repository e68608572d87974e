"""What a service answers to arguments: it takes none, and says where its settings come from."""

import sys
from collections.abc import Sequence
from importlib import import_module

from rollotape import __version__, settings
from rollotape.errors import Refused


def heed(name: str, given: Sequence[str] | None = None) -> None:
    """Answer `--help` and `--version` by ending; return when there is nothing to answer.

    Raises:
        Refused: something else was given.
    """
    match list(sys.argv[1:] if given is None else given):
        case []:
            return
        case ["--help" | "-h"]:
            print(_usage(name))
        case ["--version"]:
            print(name, __version__)
        case others:
            raise Refused(
                f"takes no arguments ({' '.join(others)}): settings are read from the environment,"
                f" and `{name} --help` lists them"
            )
    sys.exit(0)


def _usage(name: str) -> str:
    about = import_module(name.replace("-", "_")).__doc__
    listed = "\n".join(f"  {variable:27} {said}" for variable, said in settings.described())
    return (
        f"usage: {name} [--help | --version]\n\n{about}\n\n"
        "Settings are read from the environment; NAME_FILE may name a file that holds the value of NAME:\n\n"
        f"{listed}"
    )
