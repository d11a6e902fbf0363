"""Our processes' own logs: one JSON object per line, with a level and the time."""

from __future__ import annotations

import logging
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

_EACH: tuple[Processor, ...] = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def log_to(file: TextIO) -> None:
    """Write what we log to `file`, and what libraries do from warnings on, in the same shape."""
    structlog.configure(
        processors=[*_EACH, structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(file),
    )
    handler = logging.StreamHandler(file)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_EACH,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _without_traceback,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _without_traceback(_: object, __: str, event: EventDict) -> EventDict:
    """A library's exception text could quote a header: its kind has to do."""
    if raised := event.pop("exc_info", None):
        event["event"] = "exception in a library"
        event["kind"] = raised[0].__name__ if isinstance(raised, tuple) and raised[0] else "unknown"
    return event
