"""Is it alive, is it ready, and what can be asked: the paths that are the same for every reader."""

import asyncio
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api_gateway import openapi, packing, problems, queries, responses
from api_gateway.dependencies import Servers
from rollotape import asyncapi
from rollotape.answers import Alive, Ready

_TAG = "operations"
_OF_DOCS = (
    b"content-security-policy",
    b"default-src 'none'; script-src 'unsafe-inline' https://cdn.jsdelivr.net;"
    b" style-src 'unsafe-inline' https://cdn.jsdelivr.net; img-src data: https://fastapi.tiangolo.com;"
    b" connect-src 'self'; frame-ancestors 'none'",
)
"""The page brings scripts of its own, which no answer with data does."""


def add_to(app: FastAPI, prefix: str, *, documented: bool) -> None:
    """Health and descriptions, for everybody who may ask the gateway."""
    app.state.descriptions = {}
    html = {200: {"headers": openapi.headers(), "content": {"text/html": {"schema": {"type": "string"}}}}}
    document = openapi.plain() | {304: openapi.UNCHANGED}
    routes: tuple[tuple[str, Any, dict[str, Any]], ...] = (
        ("/livez", livez, {"response_model": Alive, "responses": openapi.plain()}),
        ("/readyz", readyz, {"response_model": Ready, "responses": openapi.plain(503)}),
        ("/openapi.json", openapi_json, {"response_model": dict[str, Any], "responses": document}),
        ("/asyncapi.json", asyncapi_json, {"response_model": dict[str, Any], "responses": document}),
        ("/docs", docs, {"response_class": Response, "responses": html | openapi.failing(422)}),
    )
    for path, endpoint, said in routes:
        app.add_api_route(
            prefix + path, endpoint, methods=["GET"], tags=[_TAG], include_in_schema=documented, **said
        )


def add_ops_to(app: FastAPI) -> None:
    """Health and metrics, for the operator's port."""
    for path, endpoint in (("/livez", livez), ("/readyz", readyz), ("/metrics", metrics)):
        app.add_api_route(path, endpoint, methods=["GET"])


async def livez(request: Request) -> Response:
    """200 as long as the process can answer at all."""
    _no_parameters(request)
    return responses.fresh(responses.dumps({"status": "alive"}))


async def readyz(request: Request, servers: Servers) -> Response:
    """200 while anything can be answered; `away` names the servers that do not answer. 503: all of them."""
    _no_parameters(request)
    away = await servers.away()
    if len(away) == len(servers.NAMES):
        raise problems.unavailable(" and ".join(away))
    status = "degraded" if away else "ready"
    return responses.fresh(responses.dumps({"status": status, "away": away}))


async def openapi_json(request: Request) -> Response:
    """OpenAPI 3.1 of this surface."""
    _no_parameters(request)
    return await _described(request, "openapi", request.app.openapi)


async def asyncapi_json(request: Request) -> Response:
    """AsyncAPI 3 of the streams behind it, and of what is told live."""
    _no_parameters(request)
    return await _described(request, "asyncapi", asyncapi.document)


class _Description:
    """A document of a megabyte that stays the same, for everybody: written, named and packed once."""

    def __init__(self, said: dict[str, Any]) -> None:
        self._body = responses.dumps(said)
        self._etag = f'W/"{blake2b(self._body, digest_size=12).hexdigest()}"'
        self._packed: dict[str, bytes] = {}

    async def answer(self, request: Request) -> Response:
        if responses.known(self._etag, request):
            return responses.unchanged(self._etag, responses.DATA)
        headers = {"Cache-Control": responses.DATA, "Vary": responses.VARY, "ETag": self._etag}
        encoding = responses.encoding_of(request.headers.get("accept-encoding", ""))
        if encoding is None:
            return Response(self._body, 200, headers, responses.JSON_TYPE)
        if encoding not in self._packed:
            self._packed[encoding] = (await packing.packed(self._body, encoding)).with_rest(b"")
        headers["Content-Encoding"] = encoding
        return Response(self._packed[encoding], 200, headers, responses.JSON_TYPE)


async def _described(request: Request, name: str, make: Callable[[], dict[str, Any]]) -> Response:
    held: dict[str, asyncio.Task[_Description]] = request.app.state.descriptions
    if name not in held:  # a second of work, beside whatever else is answered
        held[name] = asyncio.create_task(asyncio.to_thread(lambda: _Description(make())))
    return await (await asyncio.shield(held[name])).answer(request)


async def docs(request: Request) -> Response:
    """The description as a page to try it on; its scripts come from a public CDN."""
    _no_parameters(request)
    headers = request.scope["state"]["headers"]
    headers[:] = [*(said for said in headers if said[0] != _OF_DOCS[0]), _OF_DOCS]
    page = get_swagger_ui_html(openapi_url="/openapi.json", title=request.app.title)
    return responses.fresh(bytes(page.body), media_type="text/html; charset=utf-8")


async def metrics() -> Response:
    """Everything that this process counts, for Prometheus."""
    return responses.fresh(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _no_parameters(request: Request) -> None:
    queries.parse(queries.Query, request.query_params.multi_items())
