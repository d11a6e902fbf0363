"""A running instance asked in the words of the wire, and answered in them, through the models that commands use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from meshward.control.ask import VERBS
from meshward.control.replies import decode
from meshward.control.unix import exchange
from meshward.control.verbs.history import HISTORY


def ask(state: Path, request: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Raises MeshwardError, as a command does."""
    said = exchange(state, request, progress)
    reply = decode(VERBS.get(request.get("do", ""), HISTORY), said)
    assert reply.as_json() == said["done"], "nothing is lost between the two"
    told: dict[str, Any] = reply.as_json()
    return told
