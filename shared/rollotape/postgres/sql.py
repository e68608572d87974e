"""Named SQL: each `.sql` file beside its class holds queries under `-- name:` lines with their reasons."""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: *(\w+) *$", re.MULTILINE)


@cache
def queries(stem: str) -> dict[str, str]:
    """Queries of `rollotape/postgres/<stem>.sql` by name."""
    text = files("rollotape.postgres").joinpath(f"{stem}.sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
