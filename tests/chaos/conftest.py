"""Servers that may be hurt, history to make feeds of, and the seeds to do it with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollotape.embedded import Servers
from support import databases, feeds
from support.folders import open_folder
from support.runs import Hits, Place

HISTORY_SEED = 1
DAYS = 265
"""Enough for the longest measures of strength, and few enough for a quick run."""
TALLY = pytest.StashKey[list[str]]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Without `--chaos-runs` there are no runs by chance, only those that are written down."""
    if "seed" in metafunc.fixturenames:
        first = metafunc.config.getoption("chaos_seed", default=None) or 1
        count = metafunc.config.getoption("chaos_runs", default=None) or 0
        metafunc.parametrize("seed", range(first, first + count))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Every run with its seed and its faults, so that it can be repeated."""
    if lines := config.stash.get(TALLY, []):
        terminalreporter.section("chaos")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Hits:
    """Where a run tells what it did."""
    return request.config.stash.setdefault(TALLY, []).append


@pytest.fixture(scope="session")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with (
        open_folder() as folder,
        Servers(folder, durable=False, environ={}) as servers,
        databases.template(servers.urls.database_url) as template,
    ):
        yield Place(servers, template, _history(request))


def _history(request: pytest.FixtureRequest) -> list[feeds.Bar]:
    try:
        market: Path | None = request.getfixturevalue("shared_data")
    except pytest.skip.Exception:
        market = None
    return feeds.sound(feeds.market(market, HISTORY_SEED, members=8, days=DAYS))
