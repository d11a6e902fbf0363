"""The command line, as a user types it."""

from __future__ import annotations

import subprocess
import sys


def meshward(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `meshward` to its end."""
    command = [sys.executable, "-m", "meshward", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
