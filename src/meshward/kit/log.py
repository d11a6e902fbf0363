"""Our processes' own logs: one JSON object per line. An exception is told by its kind and place."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

_PLACES = 4


def fault_of(error: BaseException) -> dict[str, Any]:
    """Kind and place, no message and no values: either could hold a part of a token."""
    frames = traceback.extract_tb(error.__traceback__)[-_PLACES:]
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
    return {"type": type(error).__name__, "places": places}


def log_to(file: TextIO) -> None:
    """Write what we log to `file`, and what libraries do from warnings on, in the same shape."""
    structlog.configure(
        processors=[*_EACH, structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(file),
    )
    handler = logging.StreamHandler(file)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_without_words, *_EACH],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def stop_log() -> None:
    """Before the file of `log_to` is closed: who logs later must not fail by it."""
    structlog.reset_defaults()
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)


def _with_fault(_: object, __: str, event: EventDict) -> EventDict:
    raised = event.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()
    error = raised[1] if isinstance(raised, tuple) else raised
    return {**event, **fault_of(error)} if isinstance(error, BaseException) else event


def _without_words(_: object, __: str, event: EventDict) -> EventDict:
    """What a library says of an exception could quote a header."""
    return {**event, "event": "exception in a library"} if event.get("exc_info") else event


_EACH: tuple[Processor, ...] = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _with_fault,
)
