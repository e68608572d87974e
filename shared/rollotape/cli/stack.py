"""Where a command finds its stack: in the environment, or in the `stack.json` of a data directory."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from redis.asyncio.connection import parse_url

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
    if _named("redis_url") and _named("database_url"):
        return _checked(configuration.load())
    urls = asdict(find(data).urls)
    return _checked(configuration.load(**{name: url for name, url in urls.items() if not _named(name)}))


def database(data: Path | None) -> Settings:
    """The same for a command that needs PostgreSQL only, so that ROLLO_DATABASE_URL alone is enough."""
    if _named("database_url"):
        return _checked(configuration.load(redis_url=""))
    return address(data)


def _checked(settings: Settings) -> Settings:
    if settings.redis_url:
        must_be_redis("ROLLO_REDIS_URL", settings.redis_url)
    try:
        parts = urlsplit(settings.database_url)
        is_url = parts.scheme in ("postgresql", "postgres") and ("," in parts.netloc or parts.port != 0)
    except ValueError:
        is_url = False
    if not is_url:
        raise Refused("ROLLO_DATABASE_URL is no URL like postgresql://user:password@host:5432/name")
    return settings


def must_be_redis(name: str, url: str) -> None:
    """Said before anybody connects; the URL itself is not repeated, for it may hold a password.

    Raises:
        Refused: this is no URL of a Redis.
    """
    try:
        parse_url(url)
    except ValueError:
        raise Refused(f"{name} is no URL like redis://:password@host:6379/0") from None


def find(data: Path | None) -> Stack:
    """The stack that runs on a data directory; where none is named and none runs, the demonstration's.

    Raises:
        Refused: none runs there; the message says what to do.
    """
    place = folder(data)
    if place == DEFAULT and not _runs(DEFAULT) and _runs(DEMO):
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


def _runs(place: Path) -> bool:
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


def _named(setting: str) -> bool:
    return bool(os.environ.get(f"ROLLO_{setting.upper()}"))


def _start(data: Path | None) -> str:
    return f"`rollo up --data {data}`" if data else "`rollo up`"


_NAME_ONE = "name one with --data DIR, ROLLO_DATA, or ROLLO_REDIS_URL and ROLLO_DATABASE_URL"
