"""Where a command finds its stack: in the environment, or in the `stack.json` of a data directory."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rollotape import settings as configuration
from rollotape.embedded import Urls
from rollotape.embedded.children import running
from rollotape.embedded.server import write_private
from rollotape.errors import Refused
from rollotape.settings import Settings

DEFAULT = Path(".rollo")
DEMO = DEFAULT / "demo"
"""Of its own, so that a simulated market never mixes with real bars."""


@dataclass(frozen=True, slots=True)
class Service:
    """One running replica."""

    pid: int
    ops_url: str


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that is ready. The URLs hold passwords."""

    redis_url: str
    cache_url: str
    database_url: str
    gateway_url: str
    pid: int
    services: dict[str, Service] = field(default_factory=dict)

    @property
    def urls(self) -> Urls:
        return Urls(self.redis_url, self.cache_url, self.database_url)


def folder(data: Path | None) -> Path:
    """The data directory: the given one, else ROLLO_DATA, else `.rollo` here."""
    return data or Path(os.environ.get("ROLLO_DATA") or DEFAULT)


def address(data: Path | None) -> Settings:
    """Settings of the stack under `data`; what the environment names wins.

    Raises:
        Refused: no stack is named and none runs there; the message says what to do.
    """
    if is_named():
        return configuration.load()
    try:
        urls = asdict(find(data).urls)
    except Refused as error:
        raise Refused("; ".join([str(error), *configuration.misspelt(os.environ)])) from None
    return configuration.load(**{name: url for name, url in urls.items() if not configuration.named(name)})


def is_named() -> bool:
    """Whether the environment names a stack, so that no directory is asked."""
    return configuration.named("redis_url") and configuration.named("database_url")


def starts_one() -> str:
    """How the reader gets a service, said to those whose stack is of this machine."""
    return "" if is_named() else " `rollo up` starts one."


def database(data: Path | None) -> Settings:
    """The same for a command that needs PostgreSQL only, so that ROLLO_DATABASE_URL alone is enough."""
    if configuration.named("database_url"):
        return configuration.load(redis_url="")
    return address(data)


def find(data: Path | None) -> Stack:
    """The stack that runs on a data directory; where none is named and none runs, the demonstration's.

    Raises:
        Refused: none runs there; the message says what to do.
    """
    place = folder(data)
    if place == DEFAULT and not runs(DEFAULT) and runs(DEMO):
        place = DEMO
    try:
        found = read(place)
    except (FileNotFoundError, NotADirectoryError):
        if place.exists() and not place.is_dir():
            raise Refused(f"{place} is no directory: {_NAME_ONE}") from None
        raise Refused(f"no stack runs on {place}: start one with {_start(data)}, or {_NAME_ONE}") from None
    except OSError as error:
        raise Refused(f"{place / 'stack.json'} cannot be read ({error.strerror}): {_NAME_ONE}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        again = "stop that stack and start it again"
        raise Refused(f"{place / 'stack.json'} is not what this version writes: {again}") from None
    if not running(found.pid):
        raise Refused(f"the stack on {place} was killed: start it again with {_start(data)}, or {_NAME_ONE}")
    return found


def runs(place: Path) -> bool:
    """Whether the stack of a directory is at work, as far as its file says."""
    try:
        return running(read(place).pid)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def read(place: Path) -> Stack:
    told = json.loads((place / "stack.json").read_text("utf-8"))
    services = {name: Service(**service) for name, service in told.pop("services").items()}
    return Stack(**told, services=services)


def write(place: Path, stack: Stack) -> None:
    write_private(place / "stack.json", json.dumps(asdict(stack), indent=1))


def remove(place: Path) -> None:
    (place / "stack.json").unlink(missing_ok=True)


def _start(data: Path | None) -> str:
    return f"`rollo up --data {data}`" if data else "`rollo up`"


_NAME_ONE = "name one with --data DIR, ROLLO_DATA, or ROLLO_REDIS_URL and ROLLO_DATABASE_URL"
