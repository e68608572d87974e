"""Errors that nobody expected, sent to a tracker that speaks Sentry's protocol; the extra `sentry`.

Sent is what kind of error it was, where in the program, and ids. What an error says may quote a bar, a key or
a person, so its words stay in the log, under the same ids.
"""

import time
from collections.abc import Mapping
from typing import Any

import asyncpg
import sentry_sdk
from sentry_sdk.utils import BadDsn, event_from_exception

from rollotape import __version__
from rollotape.errors import Refused, Unavailable
from rollotape.redis.outages import is_outage
from rollotape.settings import Settings

IDS = (
    "request_id", "trace_id", "stream", "entry", "group", "job", "task", "route", "day", "logger",
)  # fmt: skip
"""Fields of a log line that go along: ids, and names of our own things."""
SENT = frozenset({
    "event_id", "timestamp", "platform", "level", "release", "environment", "server_name", "exception",
    "tags", "sdk", "logger", "fingerprint",
})  # fmt: skip
"""Of an event; whatever else a library may come to add stays here."""
AGAIN_S = 60.0
"""The same error at the same place is sent once in so long, with how often it came."""
CLOSE_S = 2.0
UNSAID = "its words are in the log, under the same ids"
_EXPECTED = (Unavailable, Refused, ConnectionError, TimeoutError, asyncpg.PostgresConnectionError)
_OURS_NOT = ("sentry_sdk", "opentelemetry", "urllib3")
"""Loggers of those who send: that they cannot is no error of ours, and would be sent by them."""


class Tracker:
    """Sends errors, by a thread of its own; when it cannot, they are in the log."""

    def __init__(self, service: str, settings: Settings, dsn: str) -> None:
        try:
            self._client = sentry_sdk.Client(
                dsn,
                release=f"rollotape@{__version__}",
                environment=settings.sentry_environment,
                server_name=settings.instance,
                default_integrations=False,  # they read requests, variables, and whatever is logged
                auto_enabling_integrations=False,
                include_local_variables=False,
                max_breadcrumbs=0,
                send_client_reports=False,
                auto_session_tracking=False,
                shutdown_timeout=CLOSE_S,
                before_send=_without_words,
            )
        except BadDsn:
            raise Refused("ROLLO_SENTRY_DSN is no DSN like https://key@sentry.example.org/1") from None
        self._service = service
        self._seen: dict[tuple[str, str, str], tuple[float, int]] = {}
        """When an error was sent last, and how often it came since."""

    def report(self, error: BaseException, said: Mapping[str, Any]) -> None:
        """An error that was logged, with the fields of its line; one that is no bug is left alone."""
        if not isinstance(error, Exception) or isinstance(error, _EXPECTED) or is_outage(error):
            return
        if str(said.get("logger", "")).startswith(_OURS_NOT):
            return
        repeated = self._count(str(said.get("event", "")), error)
        if repeated is None:
            return
        mechanism = {"type": "rollo", "handled": True}
        event, hint = event_from_exception(error, client_options=self._client.options, mechanism=mechanism)
        event["level"] = "error"
        tags = {name: str(said[name]) for name in IDS if said.get(name) is not None}
        name = str(said["event"])[:200] if str(said.get("event", "")).isidentifier() else "logged"
        event["tags"] = {**tags, "service": self._service, "event": name, "repeated": str(repeated)}
        self._client.capture_event(event, hint=hint)

    def _count(self, event: str, error: BaseException) -> int | None:
        """How often it came since it was sent last; None when that was a moment ago."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
        key, now = (event if event.isidentifier() else "", type(error).__qualname__, place), time.monotonic()
        sent_at, repeated = self._seen.get(key, (float("-inf"), 0))
        if now - sent_at < AGAIN_S:
            self._seen[key] = sent_at, repeated + 1
            return None
        self._seen[key] = now, 0
        return repeated

    def close(self) -> None:
        """Send what waits, if that can be done soon."""
        self._client.close(timeout=CLOSE_S)


def _without_words(event: Any, hint: Any) -> Any:
    """What may leave; everything that could hold somebody's data is taken out."""
    kept = {name: event[name] for name in SENT if name in event}
    for one in kept.get("exception", {}).get("values", ()):
        one["value"] = UNSAID
        (one.get("mechanism") or {}).pop("data", None)
        for frame in (one.get("stacktrace") or {}).get("frames", ()):
            frame.pop("vars", None)
    return kept
