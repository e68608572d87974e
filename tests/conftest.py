"""Real servers for every tier of tests; see `support/servers.py` for where they come from."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from rollotape.embedded import Urls
from rollotape.redis.clients import open_client
from rollotape.settings import Settings
from support import databases, folders, tapes
from support.servers import flush, open_servers, take_from_environment

REPOSITORY = Path(__file__).parents[1]
GIVEN: dict[str, str] = {}
"""Servers named by the environment, which only the fixtures below may use."""
KEPT = ("ROLLO_TEST_", "ROLLO_SHARED_DATA")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rollo")
    group.addoption("--long", action="store_true", help="what takes minutes, too, and all examples")
    group.addoption("--chaos-runs", type=int, help="so many runs by chance")
    group.addoption("--chaos-seed", type=int, help="seed of the first of these runs; the others follow it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip("takes long: make chaos"))


def pytest_configure(config: pytest.Config) -> None:
    """A shell that is set up for a running stack must not change what tests do, nor be touched by them."""
    GIVEN.update(take_from_environment())
    for name in list(os.environ):
        if name.startswith("ROLLO_") and not name.startswith(KEPT):
            del os.environ[name]
    _hear_ctrl_c()
    if config.getoption("long"):
        tapes.share_of_examples = 1.0


def _hear_ctrl_c() -> None:
    """A job in the background of a script ignores it, and so would everything that tests start and stop."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def servers() -> Iterator[Urls]:
    """URLs of the session's servers, started when first asked for."""
    with open_servers(GIVEN) as urls:
        yield urls


@pytest.fixture(scope="session")
def server_url(servers: Urls) -> str:
    """The session's PostgreSQL as a superuser, for databases of one's own (`support.databases`)."""
    return servers.database_url


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """Name of a migrated database (P = 16) that is only ever cloned."""
    with databases.template(server_url) as name:
        yield name


@pytest.fixture
def database_url(server_url: str, template: str) -> Iterator[str]:
    """A migrated, empty database of the test's own (P = 16), dropped afterwards."""
    with databases.copy_of(template, server_url) as url:
        yield url


@pytest.fixture
def empty_database_url(server_url: str) -> Iterator[str]:
    """A database of the test's own in which nothing was ever migrated."""
    with databases.copy_of(None, server_url) as url:
        yield url


@pytest.fixture
def redis_url(servers: Urls) -> str:
    """The session's Redis for streams (noeviction), flushed before the test."""
    flush(servers.redis_url)
    return servers.redis_url


@pytest.fixture
def cache_url(servers: Urls) -> str:
    """The session's Redis for answers (allkeys-lru), flushed before the test."""
    flush(servers.cache_url)
    return servers.cache_url


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator["redis.asyncio.Redis"]:
    """An asyncio client of `redis_url`; answers are bytes."""
    async with open_client(redis_url) as client:
        yield client


@pytest.fixture
def settings(redis_url: str, cache_url: str, database_url: str) -> Settings:
    """Settings of a service that works on this test's servers; change them by `model_copy(update=...)`."""
    return Settings(
        redis_url=redis_url, cache_url=cache_url, database_url=database_url, auth="off", hosts="g"
    )


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory for servers or a stack of the test's own, removed afterwards."""
    with folders.open_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real market data (ROLLO_SHARED_DATA, or beside the repository); skips visibly without."""
    folder = Path(os.environ.get("ROLLO_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "bars_daily_sp500.csv.gz").exists():
        pytest.skip(f"no market data in {folder}: set ROLLO_SHARED_DATA")
    return folder

