"""One program of the lab: started with a log file, waited for, stopped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from meshward.testing.waiting import eventually


class Process:
    """Runs from the moment it is made until `stop`. `log` holds what it says."""

    def __init__(
        self, name: str, command: Sequence[str | Path], log: Path, more: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.log = name, log
        self._command, self._environment = list(map(str, command)), os.environ | dict(more or {})
        self.start()

    def start(self) -> None:
        """Once more, where it has ended."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,  # an interrupt of ours is not its own: `stop` ends it, in order
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, ready: Callable[[], object]) -> None:
        """Raises AssertionError, with the end of its log, where it ends before or never is."""

        def is_ready() -> bool:
            if self._process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self._process.returncode}")
            return bool(ready())

        try:
            eventually(is_ready, what=self.name)
        except AssertionError as error:
            error.add_note(self.log.read_text(errors="replace")[-4000:])
            raise

    def stop(self) -> None:
        """TERM, then KILL where that is not enough."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
