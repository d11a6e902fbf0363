"""The directed tests notice every change of the definition: `scripts/mutate.py` makes them all, one at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_change_of_the_definition_is_noticed_and_the_page_says_by_what() -> None:
    """In a process of its own: it takes the definition's place among the imports."""
    run = [sys.executable, str(ROOT / "scripts" / "mutate.py"), "--check"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
