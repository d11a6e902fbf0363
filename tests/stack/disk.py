"""A small disk of its own under a directory, so that a test can fill it. Only root can mount one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, size: str, mode: int) -> Iterator[None]:
    """Until the end `place`, which is there, is a tmpfs of `size` (`64m`). Skips where it may not be mounted."""
    options = f"size={size},mode={mode:o}"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], check=False)
    if done.returncode != 0:
        pytest.skip("not run: this container may not mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
