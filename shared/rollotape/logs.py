"""Logs are JSON lines on stderr: `event` is stable, ids are fields, whatever library speaks."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import orjson
import structlog

from rollotape.errors import RolloError
from rollotape.settings import unread

QUIET = {
    "asyncio": logging.WARNING,
    "faststream": logging.WARNING,
    "uvicorn": logging.WARNING,
    "opentelemetry": logging.ERROR,
    "asyncpg": logging.ERROR,  # in an outage its pool repeats a traceback per connection; we say it once
}


Report = Callable[[BaseException, Mapping[str, Any]], None]
_report: Report | None = None
_about: dict[str, str] = {}
"""Of this process: in every line, whichever thread or task writes it."""


def about() -> dict[str, str]:
    """What every line says of this process."""
    return dict(_about)


def report_to(report: Report | None) -> None:
    """Have errors that are logged with their traceback reported as well, with the fields of their lines."""
    global _report
    _report = report


def configure(service: str, instance: str, level: str = "INFO") -> None:
    """Route structlog and the standard library's logging through one chain."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _named,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _reported,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    _about.update(service=service, instance=instance)
    for name, meant in unread(os.environ).items():
        structlog.get_logger().warning("variable_unread", variable=name, meant=meant)


@contextmanager
def what_ends() -> Iterator[None]:
    """An error that ends the process, and that nobody meant to raise, is reported before Python prints it."""
    try:
        yield
    except RolloError:
        raise
    except Exception as error:
        if _report is not None:
            _report(error, {"event": "ended"})
        raise


def _named(_: Any, __: str, event: Any) -> Any:
    return _about | event


def _reported(_: Any, __: str, event: Any) -> Any:
    """Passes on every line as it is. What cannot be reported is in the log all the same."""
    if _report is not None and (told := event.get("exc_info")):
        error = sys.exc_info()[1] if told is True else told[1] if isinstance(told, tuple) else told
        if isinstance(error, BaseException):
            with suppress(Exception):
                _report(error, event)
    return event


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=repr).decode("utf-8", "replace")
