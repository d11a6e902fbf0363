"""How a verb asks the running instance: over the socket in its state directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text

from meshward.apply.control import ask
from meshward.cli.output import stderr


def ask_instance(state: Path, request: dict[str, Any]) -> dict[str, Any]:
    """What the instance says to `request`; its progress goes to stderr. Raises MeshwardError as it does."""
    return ask(state, request, lambda line: stderr().print(Text(f"... {line}", style="dim")))
