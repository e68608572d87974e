"""The whole surface of a gateway over a populated database, asked without a network."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import redis

from api_gateway.app import create_app
from rollotape.embedded import Urls
from rollotape.settings import Settings
from support import databases
from support.gateway import Judge
from support.populated import populate
from support.surface import Surface


@pytest.fixture(scope="module")
def clean(servers: Urls, server_url: str, template: str) -> Iterator[Settings]:
    """Servers and a database of the module's own; nothing else in it may ask for servers of a test."""
    for url in {servers.redis_url, servers.cache_url}:
        with redis.Redis.from_url(url) as client:
            client.flushall()
    with databases.copy_of(template, server_url) as database_url:
        yield Settings(
            redis_url=servers.redis_url,
            cache_url=servers.cache_url,
            database_url=database_url,
            auth="off",
            hosts="g",
        )


@pytest.fixture(scope="module")
async def surface(clean: Settings) -> AsyncIterator[Surface]:
    await populate(clean)
    app = create_app(clean)
    document = app.openapi()
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://g") as client:
        yield Surface(clean, document, client, Judge(document))
    await app.state.servers.close()
