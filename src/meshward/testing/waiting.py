"""Waiting for what comes about by itself. A deadline only ends a test that hangs, so it is long."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE = 120.0  # seconds
_PAUSE = 0.02

T = TypeVar("T")


def eventually(condition: Callable[[], T], within: float = DEADLINE, what: str = "the condition") -> T:
    """Ask `condition` until what it returns is true, and return that. What is not there yet may raise.

    Raises AssertionError, which names `what`, when the time is up.
    """
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            pass
        time.sleep(_PAUSE)
    raise AssertionError(f"{what} did not come about within {within:.0f} s")
