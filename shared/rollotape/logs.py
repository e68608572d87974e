"""Logs are JSON lines on stderr: `event` is stable, ids are fields, whatever library speaks."""

import logging
import os
import sys
from typing import Any

import orjson
import structlog

from rollotape.settings import unread

QUIET = {
    "asyncio": logging.WARNING,
    "faststream": logging.WARNING,
    "uvicorn": logging.WARNING,
    "asyncpg": logging.ERROR,  # in an outage its pool repeats a traceback per connection; we say it once
}


def configure(service: str, instance: str, level: str = "INFO") -> None:
    """Route structlog and the standard library's logging through one chain."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
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
    structlog.contextvars.bind_contextvars(service=service, instance=instance)
    for name, meant in unread(os.environ).items():
        structlog.get_logger().warning("variable_unread", variable=name, meant=meant)


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=repr).decode("utf-8", "replace")
