"""A thread that hangs keeps no process from ending; one that ends is waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshward.kit.exits import Exit
from meshward.testing.waiting import DEADLINE

PROGRAM = """
import asyncio, sys, threading
from pathlib import Path
from meshward.instance.threads import Threads, all_ended

async def run(work):
    asyncio.get_running_loop().set_default_executor(Threads())
    begun = threading.Event()
    def go():
        begun.set()
        work()
    task = asyncio.create_task(asyncio.to_thread(go))
    await asyncio.sleep(0)
    begun.wait()
    {after}

with all_ended(lambda line: print(line, flush=True), {within}):
    asyncio.run(run(lambda: {work}))
print("left in order")
"""


def run(work: str, within: float, after: str = "") -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(work=work, within=within, after=after)
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


@pytest.mark.parametrize("after", ["", "raise ValueError('broken')"])
def test_one_that_hangs_in_a_file_is_left_behind(tmp_path: Path, after: str) -> None:
    os.mkfifo(tmp_path / "svid.json")
    done = run(f"Path('{tmp_path}/svid.json').read_text()", 0.3, after)
    assert done.returncode == Exit.FAULT, done
    assert "1 threads did not end" in done.stdout and "left in order" not in done.stdout
    assert ("broken" in done.stdout) == bool(after), "what went wrong is still said"


def test_one_that_ends_is_waited_for(tmp_path: Path) -> None:
    """It lets go what it writes before the lock on STATE is."""
    file = tmp_path / "written"
    done = run(f"(__import__('time').sleep(0.3), Path('{file}').write_text('x'))", DEADLINE)
    assert done.returncode == 0 and done.stdout == "left in order\n", done
    assert file.read_text() == "x"
