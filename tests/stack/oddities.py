"""What somebody may put in the place of a file: nothing that can be read as one."""

from __future__ import annotations

import os
from pathlib import Path

KINDS = ("a link", "a pipe", "a directory", "more than it can be")


def put_in_place_of(file: Path, kind: str) -> None:
    """A link leads to the file itself: whoever follows it finds all in order."""
    aside = file.rename(file.with_name(f"{file.name}.aside"))
    if kind == "a link":
        file.symlink_to(aside.name)
    elif kind == "a pipe":
        os.mkfifo(file)
    elif kind == "a directory":
        file.mkdir()
    else:
        file.write_bytes(aside.read_bytes())
        os.truncate(file, 100_000_000)
