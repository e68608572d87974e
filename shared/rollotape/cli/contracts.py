"""`rollo contracts`: streams and HTTP described for other programs."""

from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from rollotape import asyncapi, events
from rollotape.cli import ends

app = typer.Typer(help="Print the contracts of streams and HTTP as documents for other programs.")


class Document(StrEnum):
    asyncapi = "asyncapi"
    schema = "schema"
    openapi = "openapi"


@app.command()
def contracts(
    document: Annotated[
        Document, typer.Argument(help="asyncapi: streams. schema: their messages. openapi: HTTP.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """Print a contract as JSON. Needs no running stack.

    Example: rollo contracts asyncapi --out asyncapi.json
    """
    text = orjson.dumps(_DOCUMENTS[document](), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
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


_DOCUMENTS: dict[Document, Callable[[], Any]] = {
    Document.asyncapi: asyncapi.document,
    Document.schema: events.json_schemas,
    Document.openapi: _openapi,
}
