"""`rollo contracts`: streams and HTTP described for other programs."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from rollotape import asyncapi, events
from rollotape.cli import ends
from rollotape.redis import rights

app = typer.Typer(help="Print the contracts of streams and HTTP as documents for other programs.")


class Document(StrEnum):
    asyncapi = "asyncapi"
    schema = "schema"
    openapi = "openapi"
    streams = "streams"
    settings = "settings"
    metrics = "metrics"
    acl = "acl"
    acl_cache = "acl-cache"


@app.command()
def contracts(
    document: Annotated[
        Document,
        typer.Argument(
            help="JSON: asyncapi (streams), schema (their messages), openapi (HTTP). Markdown, for people:"
            " streams, settings, metrics. Users of Redis, as its ACL file has them: acl (ROLLO_REDIS_URL),"
            " acl-cache (ROLLO_CACHE_URL)."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """Print a contract. Needs no running stack.

    Example: rollo contracts asyncapi --out asyncapi.json
    """
    made = _DOCUMENTS[document]()
    if isinstance(made, str):
        text = made.encode()
    else:
        text = orjson.dumps(made, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_bytes(text)
    except OSError as error:
        ends.stop(f"{out}: {error.strerror}", ends.FAILURE)


def _openapi() -> Any:
    """The library imports no service that is built on it; this one command asks for one by name."""
    return import_module("api_gateway.app").describe()


def _users(users: Mapping[str, tuple[rights.Right, ...]]) -> str:
    return "".join(f"{line}\n" for line in rights.acl(users))


def _markdown(name: str) -> str:
    text: str = getattr(import_module("rollotape.reference"), name)()
    return text


_DOCUMENTS: dict[Document, Callable[[], Any]] = {
    Document.asyncapi: asyncapi.document,
    Document.schema: events.json_schemas,
    Document.openapi: _openapi,
    Document.streams: lambda: _markdown("streams"),
    Document.settings: lambda: _markdown("settings"),
    Document.metrics: lambda: _markdown("metrics"),
    Document.acl: lambda: _users(rights.IN_STREAMS),
    Document.acl_cache: lambda: _users(rights.IN_CACHE),
}
