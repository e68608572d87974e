"""One id from a bar to a client: that of the commit that stored it.

A commit draws a number that stands beside the version of every symbol it changes (`symbol_state.nonce`). The
trace id is that number as W3C Trace Context writes one: who reads the symbol later, in another process or
after a crash, knows it. It is told and logged. Nothing is derived from it, and nothing is compared by it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from os import urandom
from typing import Any, NamedTuple

_MASK, _ODD = 2**64 - 1, 0x9E3779B97F4A7C15
_ID = re.compile("[0-9a-f]{32}")
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_noted: ContextVar[dict[str, Any] | None] = ContextVar("rollo_noted", default=None)


class Parent(NamedTuple):
    """What a `traceparent` says."""

    trace_id: str
    span_id: str
    sampled: bool


@lru_cache(4_096)
def of(nonce: int) -> str:
    """The trace id of a commit; its second half is the span of the batch that made it."""
    assert nonce > 0, "0 is the number of what was never stored"
    return f"{nonce:016x}{nonce * _ODD & _MASK:016x}"


def new() -> str:
    """The trace id of something that is no commit to symbols."""
    return urandom(16).hex()


def span_of(trace_id: str) -> str:
    """The span that began a trace of ours: known to everybody who has the trace id."""
    return trace_id[16:]


def new_span() -> str:
    return urandom(8).hex()


def is_id(name: str) -> bool:
    """Whether a trace may be called so."""
    return _ID.fullmatch(name) is not None and name != _NO_TRACE


def parent(said: str) -> Parent | None:
    """A header `traceparent`, of this version or a later one; None where it is not as W3C has it."""
    found = _PARENT.fullmatch(said)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return Parent(trace_id, span_id, bool(int(flags, 16) & 1))


def told(fact: Mapping[str, Any]) -> str | None:
    """The trace id of a fact; others send facts, too, and may have put anything there."""
    found = fact.get("trace_id")
    return found if isinstance(found, str) and is_id(found) else None


@contextmanager
def noting() -> Iterator[dict[str, Any]]:
    """What is noted inside, for the line that tells what became of a batch."""
    noted: dict[str, Any] = {}
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def note(**fields: Any) -> None:
    """Have it said in the line of the batch that is being worked on, if there is one."""
    noted = _noted.get()
    if noted is not None:
        noted.update(fields)
