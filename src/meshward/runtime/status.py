"""meshward status: what runs here, as whom, and how each model's server can be reached."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from meshward.kit.errors import MeshwardError
from meshward.runtime.directories import State
from meshward.runtime.instance import Guarded, load_instance
from meshward.runtime.leftovers import leftovers
from meshward.runtime.lock import holder
from meshward.runtime.ports import Holder
from meshward.runtime.report import PartReport, Phase, load_report


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` saw. `left` are parts that live although no supervisor does."""

    state: str
    pid: int | None  # the supervisor's
    parts: tuple[PartReport, ...]
    notes: tuple[str, ...]
    guards: tuple[Guarded, ...]
    left: tuple[Holder, ...]

    @property
    def running(self) -> bool:
        return self.pid is not None

    @property
    def healthy(self) -> bool:
        return self.running and bool(self.parts) and all(is_up(part) for part in self.parts)

    def as_json(self) -> dict[str, Any]:
        parts = [{**asdict(part), "up": self.running and is_up(part)} for part in self.parts]
        return {**asdict(self), "running": self.running, "healthy": self.healthy, "parts": parts}

    def lines(self) -> list[str]:
        """For people: the verdict first."""
        return list(self._lines(time.time()))

    def _lines(self, now: float) -> Iterator[str]:
        if not self.running:
            yield f"Nothing runs in {self.state}; start it with `meshward up POLICY`."
            for process in self.left:
                yield f"Left behind: `{process.command}` (pid {process.pid}); `meshward down` ends it."
            return
        up = sum(is_up(part) for part in self.parts)
        yield f"{up} of {len(self.parts)} parts are up in {self.state} (supervisor: pid {self.pid})"
        width = max((len(part.name) for part in self.parts), default=0)
        yield from (_line(part, width, now) for part in self.parts)
        for guard in self.guards:
            yield f"{guard.model}/{guard.version}: server {_REACH.get(guard.reach, guard.reach)}"
        yield from self.notes


_REACH = {
    "socket": "on a unix socket that its guard alone may open",
    "sealed": "in a namespace of its own, with its guard as the only door",
    "open": "OPEN: others can reach it past its guard",
}


def status(path: Path) -> Status:
    """The instance whose state is `path`. Raises MeshwardError if it runs but is hidden from this user."""
    state = State(path)
    pid = holder(state)
    report = load_report(state)
    left = () if pid else tuple(leftovers(state))
    parts, notes = (report.parts, report.notes) if report and pid else ((), ())
    return Status(str(state.path), pid, parts, notes, _guards(state) if pid else (), left)


def is_up(part: PartReport) -> bool:
    """Whether it serves, as far as the last report and the process table tell."""
    return part.phase is Phase.RUNNING and part.pid is not None and Path(f"/proc/{part.pid}").exists()


def _guards(state: State) -> tuple[Guarded, ...]:
    try:
        return load_instance(state.path).guards
    except MeshwardError:
        return ()


def _line(part: PartReport, width: int, now: float) -> str:
    verdict = "up" if is_up(part) else f"DOWN ({part.phase})"
    line = f"  {part.name:<{width}}  {verdict} for {_span(now - part.since)}"
    line += f", pid {part.pid or '-'}, uid {part.uid}"
    if part.restarts:
        line += f", {part.restarts} restart{'s' if part.restarts > 1 else ''}, last time it {part.last_exit}"
    return line


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
