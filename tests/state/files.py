"""Every file of state that there is, found by looking, so that a new one cannot be left out."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

import meshward
from meshward.kit.statefile import StateFile


@cache
def state_files() -> dict[str, StateFile[Any]]:
    """By place and name, as docs/state.md lists them."""
    found = {}
    for module in pkgutil.walk_packages(meshward.__path__, "meshward."):
        if module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, StateFile):
                found[f"{value.place}/{value.name}"] = value
    return found


def table() -> str:
    """The table of docs/state.md. `python -m tests.state.files` prints it."""
    rows = [
        f"| `{name}` | {file.what} | {'made anew by a start; ' if file.renewed else ''}{file.code} | {file.remedy} |"
        for name, file in sorted(state_files().items())
    ]
    return "\n".join(["| file | what | damaged | remedy |", "| --- | --- | --- | --- |", *rows])


if __name__ == "__main__":
    print(table())
