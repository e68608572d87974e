"""A simulated market in the streams of a stack."""

import json
from pathlib import Path

from redis.asyncio import Redis

from rollotape.settings import Settings
from rollotape.streams.partitions import partition_of, stream_name
from support.commands import environment_of, rollo
from support.databases import fetch


async def test_a_market_goes_into_the_streams_of_a_stack(settings: Settings, tmp_path: Path) -> None:
    answer = json.loads(
        rollo(
            environment_of(settings), "simulate", "--symbols", "3", "--bars", "600", "--stack", "--json",
            where=tmp_path,
        ).stdout
    )  # fmt: skip
    assert (answer["stack"]["sent"], answer["stack"]["refused"]) == (1_800, 0)
    [[partitions]] = fetch(settings.database_url, "SELECT partitions FROM installation")
    async with Redis.from_url(settings.redis_url) as redis:
        for symbol in answer["series"]:
            entries = await redis.xrange(stream_name("bars", partition_of(symbol, partitions)))
            assert symbol in str(entries)


def test_bars_that_are_not_over_are_not_sent_into_a_stack(settings: Settings, tmp_path: Path) -> None:
    done = rollo(
        environment_of(settings), "simulate", "--end", "2049-12-31", "--stack", where=tmp_path, code=2
    )
    assert "a stack refuses bars that are not over" in done.stderr
    assert not (tmp_path / "simulated").exists()
