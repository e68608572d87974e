"""What handlers are given."""

from typing import Annotated

from fastapi import Depends, Request

from api_gateway.backends import Backends


async def _servers(request: Request) -> Backends:
    servers = request.app.state.servers
    assert isinstance(servers, Backends)
    return servers


Servers = Annotated[Backends, Depends(_servers)]
