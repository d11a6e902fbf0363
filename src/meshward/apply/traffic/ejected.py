"""STATE/ejected.json: the versions that get no requests just now, `<model>/<version>`, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from meshward.kit.durable import write_atomic

FILE = "ejected.json"


def save_ejected(state: Path, ejected: Mapping[str, str]) -> None:
    """Raises OSError."""
    write_atomic(state / FILE, json.dumps(dict(ejected)))


def load_ejected(state: Path) -> dict[str, str]:
    """For people: nothing where that is not known."""
    try:
        found = json.loads((state / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return {str(key): str(why) for key, why in found.items()} if isinstance(found, dict) else {}
