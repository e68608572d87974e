"""`rollo bridge`: events of older systems, from their pub/sub channels into the streams."""

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rollotape.cli import ends
from rollotape.cli.waiting import keeps_streams, watched
from rollotape.postgres import arrivals
from rollotape.postgres.pool import open_pool, unavailable
from rollotape.producers.bridge import CHANNELS, Bridge
from rollotape.redis.clients import open_client
from rollotape.settings import Settings, must_be_redis
from rollotape.streams.producer import Producer


def bridge(
    source: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Redis where the channels are; the stack's own when not given."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Directory of the running stack.")] = None,
) -> None:
    """Bring in what older systems publish, until Ctrl-C.

    Pattern events are sent into the streams as they are and judged there like any others; progress and
    results of backtests and health messages are passed on as updates. The channels are
    tickstock.events.patterns, tickstock.events.backtesting.progress, tickstock.events.backtesting.results
    and tickstock.health.status. Pub/sub keeps nothing: what is published while no bridge listens is lost.

    Example: rollo bridge --source redis://scanner:6379/0
    """
    with ends.refusals():
        if source is not None:
            must_be_redis("--source", source)
    settings = ends.stack_of(data)
    heard: list[Bridge] = []

    def told() -> str:
        counts = heard[0].heard if heard else {}
        lines = [f"{counts.get(channel, 0):,} from {channel}" for channel in CHANNELS]
        refused = sum(heard[0].refused.values()) if heard else 0
        return "stopped; heard " + ", ".join(lines) + f"; {refused:,} not understood"

    ends.run(_bridge(settings, source or settings.redis_url, heard), interrupted=told)


async def _bridge(settings: Settings, source: str, heard: list[Bridge]) -> None:
    async with AsyncExitStack() as watches:
        for url in {settings.redis_url, source}:
            await watches.enter_async_context(watched(url, partial(typer.echo, err=True)))
        await keeps_streams(settings.redis_url, give_up_s=float("inf"))
        async with await open_pool(settings, service="bridge", size=1) as pool:
            with unavailable("postgres"):
                partitions = await arrivals.partitions(pool)
        await _listen(settings, source, heard, partitions)


async def _listen(settings: Settings, source: str, heard: list[Bridge], partitions: int) -> None:
    async with open_client(source) as channels, open_client(settings.redis_url) as streams:
        heard.append(Bridge(channels, Producer(streams), partitions=partitions))
        await heard[0].run(listening=lambda: typer.echo(f"listening to {', '.join(CHANNELS)}"))
