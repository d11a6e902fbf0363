"""Asking a program what it is: where it lies, what it prints, which package it came in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from meshward.runtime.place.versions import Build

_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/nginx/sbin:/opt/nginx/sbin"
_TIMEOUT = 20.0  # seconds


def which(name: str) -> Path | None:
    found = shutil.which(name, path=f"{_PLACES}:{os.environ.get('PATH', '')}")
    return Path(found) if found else None


def run(argv: Sequence[str], given: str = "") -> tuple[bool, str]:
    """Whether a short program ended well, and both of its streams. `given` is its stdin: a file that has no name."""
    try:
        with tempfile.TemporaryFile("w+") as file:
            file.write(given)
            file.seek(0)
            result = subprocess.run(
                argv,
                stdin=file,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return result.returncode == 0, result.stdout + result.stderr


def output(argv: Sequence[str]) -> str:
    """What a short program says; empty if it is not there or fails."""
    well, text = run(argv)
    return text if well else ""


def first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else None


def describe(path: Path, upstream: str | None) -> Build:
    """What is known about the file at `path`: who packaged it, if dpkg knows it."""
    owner = first(r"^(?!diversion )([^:,\s]+)[^\n]*: /", output(["dpkg-query", "-S", str(path)]))
    if not owner:
        by_distribution = str(path).startswith(("/usr/lib", "/usr/sbin", "/usr/bin", "/usr/share"))
        return Build(path, upstream, distributed=by_distribution)
    version = output(["dpkg-query", "-W", "-f", "${Version}", owner])
    return Build(path, upstream, distributed=True, release=_release(), package=owner, package_version=version)


def _release() -> str:
    """`debian 12`: ID and VERSION_ID of os-release(5)."""
    text = Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""
    fields = (first(rf'^{key}="?([^"\n]*)', text) or "" for key in ("ID", "VERSION_ID"))
    return " ".join(fields).strip()
