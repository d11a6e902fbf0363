"""One supervised part: its first start, its lives after that, its end."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.runtime.supervise.process import Process, ProcessSpec, Ready, log_size, spawn, tail
from meshward.runtime.supervise.report import PartReport, Phase

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds between death and restart
STABLE_AFTER = 10.0  # seconds a part must run to be forgiven its earlier deaths
_READY_POLL = 0.02
_LONGEST = 2_000  # characters of what a part says of itself

log = structlog.get_logger(__name__)
Progress = Callable[[str], None]


def silent(_: str) -> None:
    """Progress for nobody."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: from spawn to ready, and from the stop signal to SIGKILL."""

    start: float = 30.0
    grace: float = 5.0


def pause_after(deaths: int) -> float:
    """Seconds before the restart that follows the `deaths`th death in a row (from 1)."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(deaths - 1, 16))


class Part:
    """What becomes of one spec. `changed` hears of every new phase; `ready` is set once and stays."""

    def __init__(
        self, spec: ProcessSpec, timing: Timing, changed: Callable[[], None], progress: Progress
    ) -> None:
        self.spec = spec
        self.ready = asyncio.Event()
        self.stopped = asyncio.Event()
        self._timing = timing
        self._changed = changed
        self._progress = progress
        self._phase = Phase.WAITING
        self._since = time.time()
        self._restarts = 0
        self._last_exit = ""
        self._log_began = 0  # bytes that earlier lives had written
        self._process: Process | None = None

    async def keep(self) -> None:
        """Start it, and start it again whenever it dies. Raises MeshwardError if the first start fails."""
        deaths = 0
        while True:
            began = time.monotonic()
            why = await self._live()
            lived = time.monotonic() - began
            if not self.ready.is_set():
                raise self._part_error(why, lived)
            deaths = 1 if lived >= STABLE_AFTER else deaths + 1
            pause = pause_after(deaths)
            log.warning("part_died", part=self.spec.name, why=why, restart_in=pause)
            self._restarts, self._last_exit = self._restarts + 1, why
            self._enter(Phase.PAUSED)
            await asyncio.sleep(pause)

    async def stop(self, hurry: asyncio.Event) -> None:
        """End it: its stop signal, the grace (unless `hurry`), SIGKILL. Call it when `keep` runs no more."""
        if self._process:
            self._enter(Phase.STOPPING)
            self._last_exit = await self._end(self._process, hurry)
            self._process = None
        self._enter(Phase.STOPPED)
        self.stopped.set()

    async def shut(self, why: str) -> None:
        """End it at once, and say why it is not started again. Call it when `keep` runs no more."""
        at_once = asyncio.Event()
        at_once.set()
        if self._process:
            self._process.signal(signal.SIGKILL, group=True)
            await self._end(self._process, at_once)
            self._process = None
        self._last_exit = why
        self._enter(Phase.QUARANTINED)

    def hang_up(self) -> None:
        """Pass SIGHUP on, where the part wants it."""
        if self.spec.takes_hup:
            self.signal(signal.SIGHUP)

    def signal(self, number: signal.Signals | None) -> int | None:
        """Send it a signal, if any, and return its pid; None where it does not run."""
        if self._process is None:
            return None
        if number is not None:
            self._process.signal(number)
        return self._process.pid

    def report(self) -> PartReport:
        pid = self._process.pid if self._process else None
        uid = self.spec.identity.uid
        return PartReport(self.spec.name, self._phase, pid, uid, self._since, self._restarts, self._last_exit)

    async def _live(self) -> str:
        """One life, from spawn until nothing of it is left; returns what ended it."""
        self._log_began = log_size(self.spec.log)
        try:
            self._process = process = spawn(self.spec)
        except (OSError, subprocess.SubprocessError) as error:
            return f"could not be started: {error}"
        self._enter(Phase.STARTING)
        in_time = await self._starts(process)
        why = _describe_exit(await process.exit())
        if not await process.group_gone():
            log.error("part_stuck", part=self.spec.name, group=process.pid)
        self._process = None
        return why if in_time else f"was not ready within {self._timing.start:.0f} s"

    async def _starts(self, process: Process) -> bool:
        """Wait until it is ready or dead. False, and it is killed, if it is neither in time."""
        asking = asyncio.ensure_future(_ask(self.spec.ready))
        exiting = asyncio.ensure_future(process.exit())
        try:
            in_time = await self._first(f"starting {self.spec.name}", {asking, exiting}, self._timing.start)
        finally:
            asking.cancel()
            exiting.cancel()
        if not in_time:
            process.signal(signal.SIGKILL, group=True)
        elif not exiting.done():
            self.ready.set()
            self._enter(Phase.RUNNING)
            log.info("part_ready", part=self.spec.name, pid=process.pid)
        return in_time

    async def _end(self, process: Process, hurry: asyncio.Event) -> str:
        process.signal(self.spec.stop_signal, group=self.spec.signal_group)
        exiting = asyncio.ensure_future(process.exit())
        hurrying = asyncio.ensure_future(hurry.wait())
        await self._first(f"stopping {self.spec.name}", {exiting, hurrying}, self._timing.grace)
        hurrying.cancel()
        if not exiting.done():
            log.warning("part_killed", part=self.spec.name, grace=self._timing.grace)
            process.signal(signal.SIGKILL, group=True)
        why = _describe_exit(await exiting)
        await process.group_gone()
        return why

    async def _first(self, what: str, tasks: set[asyncio.Future[Any]], limit: float) -> bool:
        """Whether one of `tasks` is done within `limit` seconds; tells progress after 1, 2, 4, ... s."""
        passed, step = 0.0, 1.0
        while passed < limit:
            step = min(step, limit - passed)
            done, _ = await asyncio.wait(tasks, timeout=step, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return True
            passed += step
            step = passed
            self._progress(f"{what}: {passed:.0f} s")
        return False

    def _enter(self, phase: Phase) -> None:
        self._phase, self._since = phase, time.time()
        self._changed()

    def _part_error(self, why: str, seconds: float) -> MeshwardError:
        lines = tail(self.spec.log)
        spoke = self.spec.says_why and log_size(self.spec.log) != self._log_began
        if spoke and (said := _own_error(lines[-1] if lines else "")):
            return MeshwardError(said.code, f"{said.message} (`{self.spec.name}` {why})", said.remedy)
        last = "".join(f"\n    {line}" for line in lines) or " (empty)"
        return MeshwardError(
            codes.PART_FAILED,
            f"`{self.spec.name}` {why} (after {seconds:.1f} s). The end of its log:{last}",
            f"Correct what the log names and start again. The whole log: {self.spec.log}",
        )


def _own_error(line: str) -> MeshwardError | None:
    """What it said last, where it knew why it ended."""
    try:
        said = json.loads(line)
        code, is_error = codes.decode(said["code"]), said["level"] == "error"
        message, remedy = str(said["event"])[:_LONGEST], str(said.get("remedy", ""))[:_LONGEST]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    known = is_error and code.number == said["code"]
    return MeshwardError(code, message, remedy or code.remedy) if known else None


async def _ask(ready: Ready) -> None:
    while not await ready():
        await asyncio.sleep(_READY_POLL)


def _describe_exit(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
