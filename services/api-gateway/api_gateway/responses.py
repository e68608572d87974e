"""Ready bytes as answers: JSON or CSV, with an ETag, 304, compression and the caching rules of the API."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal

import orjson
from fastapi import Request, Response

from api_gateway import packing

DATA = "private, max-age=60, stale-while-revalidate=300"
NO_STORE = "no-store"
VARY = "Accept, Accept-Encoding, Authorization"

JSON_TYPE = "application/json"
CSV_TYPE = "text/csv; charset=utf-8"

Form = Literal["json", "csv"]


def dumps(value: Any) -> bytes:
    """JSON with times in RFC 3339, UTC written as Z."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """CSV with one header line; null is empty, times and truth values as in JSON."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def instant(when: datetime) -> str:
    """RFC 3339 in UTC, as `dumps` writes it."""
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def form(request: Request, wanted: Form | None) -> Form:
    """`format=` where given, else CSV when `Accept` likes it better than JSON."""
    return wanted or liked(request.headers.get("accept", ""))


@lru_cache(256)
def liked(accepted: str) -> Form:
    """The form that an `Accept` header likes best; JSON where it does not care."""
    liking = _liking(accepted)
    return "csv" if liking.get("text/csv", 0.0) > liking.get(JSON_TYPE, 0.0) else "json"


async def data(
    request: Request,
    body: bytes,
    *,
    media_type: str = JSON_TYPE,
    headers: Mapping[str, str] | None = None,
    cache_control: str = DATA,
) -> Response:
    """An answer made of stored data.

    The ETag is a hash of the body for now: it spares the network, not yet the database (generations will).
    """
    etag = f'W/"{blake2b(body, digest_size=12).hexdigest()}"'
    if known(etag, request):
        return unchanged(etag, cache_control, headers)
    return await ready(request, body, etag, cache_control, media_type, headers)


async def ready(
    request: Request,
    body: bytes,
    etag: str,
    cache_control: str,
    media_type: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer whose ETag is known without looking at its bytes."""
    body, encoding = await _compressed(request, body)
    return Response(body, 200, _validated(etag, cache_control) | dict(headers or {}) | encoding, media_type)


def known(etag: str, request: Request) -> bool:
    """Whether the client has this answer already."""
    return is_among(etag, request.headers.get("if-none-match", ""))


def unchanged(etag: str, cache_control: str, headers: Mapping[str, str] | None = None) -> Response:
    """304: what the client has is what it would get."""
    return Response(status_code=304, headers=_validated(etag, cache_control) | dict(headers or {}))


def _validated(etag: str, cache_control: str) -> dict[str, str]:
    return {"Cache-Control": cache_control, "Vary": VARY, "ETag": etag}


def fresh(body: bytes, *, status: int = 200, media_type: str = JSON_TYPE) -> Response:
    """An answer about this very moment, not to be kept."""
    return Response(body, status, {"Cache-Control": NO_STORE}, media_type)


async def _compressed(request: Request, body: bytes) -> tuple[bytes, dict[str, str]]:
    encoding = encoding_of(request.headers.get("accept-encoding", ""))
    if encoding is None or not packing.is_worth_it(body):
        return body, {}
    packed = await packing.packed(body, encoding)
    return packed.with_rest(b""), {"Content-Encoding": encoding}


@lru_cache(256)
def encoding_of(accepted: str) -> str | None:
    """What a body is compressed in: what the client likes best, and of that what costs least."""
    liking = _liking(accepted)
    weights = {name: liking.get(name, liking.get("*", 0.0)) for name in packing.ENCODINGS}
    best = max(weights, key=lambda name: weights[name])
    return best if weights[best] > 0.0 else None


def is_among(etag: str, if_none_match: str) -> bool:
    """Weak comparison (RFC 9110, 8.8.3.2): the W/ does not count."""
    opaque = etag.removeprefix("W/")
    given = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return opaque in given or given == ["*"]


def _liking(header: str) -> dict[str, float]:
    """Names of an `Accept`-like header with their weights; a weight that is no number counts as 1."""
    found = {}
    for part in header.lower().split(","):
        name, *parameters = (p.strip() for p in part.split(";"))
        if name:
            found[name] = next((_weight(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
    return found


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0
