"""Real supervisors over real processes, and waiting for what they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from meshward.runtime.place.directories import State, shm_path
from meshward.runtime.supervise.leftovers import end_leftovers
from meshward.runtime.supervise.report import Phase, load_report
from meshward.testing.waiting import DEADLINE, eventually

T = TypeVar("T")


def alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def numbers(path: Path) -> list[int]:
    """The pids that children wrote into `path`, whole lines only."""
    text = path.read_text() if path.exists() else ""
    return [int(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


class Supervised:
    """A supervisor in a process of its own."""

    def __init__(
        self,
        path: Path,
        parts: list[dict[str, Any]],
        timing: dict[str, float],
        env: dict[str, str],
        later: list[dict[str, Any]],
    ):
        self.state = State(path)
        script = Path(__file__).with_name("supervised.py")
        wanted = json.dumps({"parts": parts, "timing": timing, "later": later})
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(path), wanted],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def until_ready(self) -> Supervised:
        eventually(lambda: "READY" in self.lines or self.process.poll() is not None, what="READY")
        assert "READY" in self.lines, self.lines
        return self

    def report(self, name: str) -> Any:
        report = load_report(self.state)
        assert report
        return next(part for part in report.parts if part.name == name)

    def until_restarted(self, name: str, times: int = 1) -> Any:
        def restarted() -> Any:
            part = self.report(name)
            return part if part.restarts >= times and part.phase is Phase.RUNNING else None

        return eventually(restarted, what=f"{name} restarted")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Its exit code, once it has ended and all that it said is in `lines`."""
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code


Start = Callable[..., Supervised]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a supervisor over `parts`; whatever the test leaves is ended."""
    started: list[Supervised] = []

    def run(
        *parts: dict[str, Any],
        env: dict[str, str] | None = None,
        later: list[dict[str, Any]] | None = None,
        **timing: float,
    ) -> Supervised:
        started.append(Supervised(tmp_path / "state", list(parts), timing, env or {}, later or []))
        return started[-1]

    yield run
    for supervised in started:
        supervised.process.kill()
        supervised.process.wait()
        end_leftovers(supervised.state)
        assert not shm_path(supervised.state).exists()
