"""Paths that are open to everybody, symbols in paths, and the answer where there is no such symbol."""

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, WithJsonSchema

from api_gateway import queries
from api_gateway.problems import NOT_FOUND, FieldError, Problem

OPEN = frozenset({"/livez", "/readyz", "/docs", "/openapi.json", "/asyncapi.json"})
"""Health and descriptions; the rest of the surface is data."""

SymbolPath = Annotated[
    str,
    Path(description="In either case; `/` within a symbol is written %2F."),
    AfterValidator(queries.symbol),
    WithJsonSchema({"type": "string", "pattern": queries.SYMBOL_PATTERN}),
]


def is_open(path: str) -> bool:
    return path.removeprefix("/api/v1") in OPEN


def unknown_symbol(symbol: str, reason: str = "has no bar here, and nobody said what it is") -> Problem:
    """404 for a symbol."""
    return not_found("symbol", f"{symbol} {reason}")


def not_found(field: str, reason: str) -> Problem:
    """404 that names the part of the path that leads nowhere."""
    return Problem(NOT_FOUND, f"{field}: {reason}", errors=[FieldError("path", field, reason)])
