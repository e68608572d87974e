"""Told to Schemathesis: rules between parameters that no schema can say, so that valid requests are valid."""

from typing import Any
from uuid import UUID
from zlib import crc32

import schemathesis
from schemathesis import GenerationMode, HookContext

FOUND = {
    "symbol": "AAPL",
    "pattern_id": "00000000-0000-0000-0000-000000000007",
    "pattern_type": "SPRING",
    "which": "spring",
    "key": "leaders",
}
_STATEFUL = ("If-Match", "Idempotency-Key")
"""Headers whose right value depends on what was sent before."""


@schemathesis.hook
def before_call(context: HookContext, case: Any, **_: Any) -> None:
    """Requests that are meant to be refused are left as they are."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if case.query:
        _agree(case.query)
    if isinstance(case.body, dict) and isinstance(case.body.get("filters"), dict):
        for name in ("universe", "watchlist_id"):
            case.body["filters"].pop(name, None)  # it has to be one that is there
        if case.body["filters"].get("rsi_range"):
            case.body["filters"]["rsi_range"] = [30, 70]  # the smaller one first
    if isinstance(case.body, dict) and "url" in case.body:
        case.body["url"] = "https://example.org/rollo"  # what an address may be is more than a pattern
    for name in _STATEFUL:
        (case.headers or {}).pop(name, None)
    path = case.path_parameters or {}
    if path and (crc32(str(path).encode()) % 2 or not _is_uuid(path.get("pattern_id", FOUND["pattern_id"]))):
        case.path_parameters |= {n: FOUND.get(n, v) for n, v in path.items()}  # half of them find something
    if case.query and "-" in str((case.path_parameters or {}).get("which", "")):
        case.query.clear()  # one trade by its id has no filters


def _is_uuid(text: Any) -> bool:
    """An answer's id of another kind is offered for one, too."""
    try:
        UUID(str(text))
    except ValueError:
        return False
    return True


def _agree(query: Any) -> None:
    query.pop("page_token", None)  # is given by the page before, never made up
    if "page" in query or "per_page" in query:
        query.pop("limit", None)  # one way of paging at a time
    if "rsi_range" in query:
        query["rsi_range"] = "30,70"  # the smaller one first
    if "phase" in query and "detection_phase" in query:
        query["phase"] = query["detection_phase"]  # two names of one filter
    if "universe" in query:
        query["universe"] = "leaders"  # it has to be one that is there
    if "symbol" in query and crc32(str(query["symbol"]).encode()) % 2:
        query["symbol"] = FOUND["symbol"]  # half of them find something
    if "kinds" in query:
        query["rule_set"] = "all"
    if "start" in query and "end" in query:
        query["start"], query["end"] = sorted((query["start"], query["end"]), key=lambda s: str(s)[:10])
        query["end"] = str(query["end"])[:10]  # the whole day, which is not over before it began
