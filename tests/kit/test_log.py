"""Logs say where a fault is, and repeat nobody's words."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from meshward.kit.log import log_to, stop_log

SECRET = "Bearer eyJ.canary"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    file = io.StringIO()
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    log_to(file)
    yield file
    structlog.reset_defaults()
    root.handlers[:] = kept
    root.setLevel(level)


def test_our_own_exceptions_are_told_by_kind_and_place(lines: io.StringIO) -> None:
    try:
        raise ValueError(SECRET)
    except ValueError:
        structlog.get_logger().exception("apply_fault", revision=7)
    line = json.loads(lines.getvalue())
    assert (line["event"], line["revision"], line["type"], line["level"]) == (
        "apply_fault",
        7,
        "ValueError",
        "error",
    )
    assert line["places"][-1].startswith("test_log.py:")
    assert "canary" not in lines.getvalue()


def test_one_that_is_given_is_told_as_well(lines: io.StringIO) -> None:
    structlog.get_logger().error("service_fault", exc_info=RuntimeError(SECRET))
    line = json.loads(lines.getvalue())
    assert (line["type"], line["places"]) == ("RuntimeError", [])
    assert "canary" not in lines.getvalue()


def test_a_librarys_words_about_an_exception_are_left_out(lines: io.StringIO) -> None:
    try:
        raise KeyError(SECRET)
    except KeyError:
        logging.getLogger("library").exception("while it read %s", SECRET)
    logging.getLogger("library").warning("plain")
    first, second = map(json.loads, lines.getvalue().splitlines())
    assert (first["event"], first["type"]) == ("exception in a library", "KeyError")
    assert (second["event"], second["level"]) == ("plain", "warning")
    assert "canary" not in lines.getvalue()


def test_after_a_log_is_closed_nobody_fails_by_it(lines: io.StringIO) -> None:
    """As where an instance has ended, and the process of whoever started it goes on."""
    stop_log()
    lines.close()
    structlog.get_logger().warning("late")
    logging.getLogger("library").warning("late")
