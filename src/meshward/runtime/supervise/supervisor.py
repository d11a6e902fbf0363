"""Keeps an instance's parts running, from the first start to the last stop.

1. Each part starts when those it depends on are ready. One that fails its first start stops everything.
2. From then on a part that dies is started again, always, with growing pauses; the others run on without it.
3. Parts come and go while the others run: `add`, `remove`. One that cannot be added leaves no trace.
4. A stop goes the other way round: a part is stopped when nothing that depends on it runs any more.
5. What we cannot do when we are killed, the kernel does (`process`), or the next start (`leftovers`).
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Any

import structlog

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.runtime.place.directories import State
from meshward.runtime.supervise.leftovers import end_leftovers
from meshward.runtime.supervise.part import Part, Progress, Timing, silent
from meshward.runtime.supervise.process import ProcessSpec, Ready, bound_log
from meshward.runtime.supervise.report import Phase, SupervisorReport

_LOG_POLL = 1.0  # seconds

log = structlog.get_logger(__name__)


class Supervisor:
    """Runs `specs` until it is told to stop. To be used once, in the main thread, with STATE/lock held.

    `notes` are sentences for `status`: who runs as whom, and why. `progress` hears what takes over a second.
    Raises ValueError where `depends_on` names nothing or goes in a circle.
    """

    def __init__(
        self,
        state: State,
        specs: Sequence[ProcessSpec],
        *,
        notes: Sequence[str] = (),
        progress: Progress = silent,
        timing: Timing = Timing(),  # noqa: B008  frozen
    ) -> None:
        _check_dependencies(specs)
        self._state = state
        self._notes = tuple(notes)
        self._timing = timing
        self._progress = progress
        self._began = time.time()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._parts = {spec.name: self._part(spec) for spec in specs}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Start everything, call `on_ready`, keep it running until SIGINT or SIGTERM, stop everything.

        A second such signal skips the grace. Raises MeshwardError, with all stopped, if a first start failed.
        """
        end_leftovers(self._state)
        self._listen_to_signals()
        self._tasks = {name: asyncio.create_task(self._keep(part)) for name, part in self._parts.items()}
        tasks = [*self._tasks.values(), asyncio.create_task(self._bound_logs())]
        try:
            if await self._await_goal(self._all_ready(), tasks):
                if on_ready:
                    on_ready()
                await self._await_goal(asyncio.Event().wait(), tasks)
        finally:
            await self._stop_all([*tasks, *self._tasks.values()])

    async def add(self, spec: ProcessSpec, needed_by: Sequence[str] = ()) -> None:
        """Start another part, and return when it is ready. `needed_by` are parts that stop before it.

        Raises MeshwardError if it does not start, ValueError for a name in use; then there is no such part.
        """
        if self.stopping:
            raise MeshwardError(codes.STOPPING, "the instance is being stopped")
        if spec.name in self._parts:
            raise ValueError(f"there is a part {spec.name} already")
        part = self._parts[spec.name] = self._part(spec)
        task = self._tasks[spec.name] = asyncio.create_task(part.keep())
        waiting = asyncio.create_task(part.ready.wait())
        try:
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        except BaseException:
            await self.remove(spec.name)
            raise
        finally:
            waiting.cancel()
        for name in needed_by:
            other = self._parts[name]
            other.spec = replace(other.spec, depends_on=(*other.spec.depends_on, spec.name))

    async def remove(self, name: str) -> None:
        """Stop a part for good, and forget it. Nothing happens if there is none, or all are being stopped."""
        part = await self._unwatched(name)
        if part is None:
            return
        await part.stop(self._hurry)
        self._parts.pop(name, None)
        for other in self._parts.values():
            needs = tuple(need for need in other.spec.depends_on if need != name)
            other.spec = replace(other.spec, depends_on=needs)
        self._write_report()

    async def shut(self, name: str, why: str) -> None:
        """End a part at once, and leave it ended until `release`. Nothing happens if all are being stopped."""
        part = await self._unwatched(name)
        if part is not None:
            await part.shut(why)

    async def _unwatched(self, name: str) -> Part | None:
        """The part, which nobody starts again any more. None: there is none, or all are being stopped."""
        part, task = self._parts.get(name), self._tasks.pop(name, None)
        if part is None or self.stopping:
            return None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return part

    async def release(self, name: str) -> None:
        """Start a part again that was `shut`; returns at once. Nothing happens if it was not."""
        if name in self._parts and name not in self._tasks and not self.stopping:
            self._tasks[name] = asyncio.create_task(self._parts[name].keep())

    def respecify(self, name: str, ready: Ready) -> None:
        """How the part is known to be ready from its next start on."""
        self._parts[name].spec = replace(self._parts[name].spec, ready=ready)

    def signal(self, name: str, number: signal.Signals | None) -> int | None:
        """Send a signal to a part, if any; its pid, or None where it does not run just now."""
        return self._parts[name].signal(number)

    def running(self, name: str) -> int | None:
        """The pid of a part that was ready and has not died since; None: it starts, waits, ends, or is none."""
        part = self._parts.get(name)
        report = part.report() if part is not None else None
        return report.pid if report is not None and report.phase is Phase.RUNNING else None

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def request_stop(self) -> None:
        """What SIGINT and SIGTERM do."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _part(self, spec: ProcessSpec) -> Part:
        return Part(spec, self._timing, self._write_report, self._progress)

    async def _keep(self, part: Part) -> None:
        for name in part.spec.depends_on:
            await self._parts[name].ready.wait()
        await part.keep()

    async def _all_ready(self) -> None:
        for part in self._parts.values():
            await part.ready.wait()

    async def _await_goal(self, goal: Coroutine[Any, Any, Any], tasks: Sequence[asyncio.Task[None]]) -> bool:
        """Whether `goal` came before a stop was asked for. Raises what ended one of `tasks`."""
        reaching = asyncio.create_task(goal)
        stopping = asyncio.create_task(self._stop.wait())
        try:
            pending: set[asyncio.Future[Any]] = {reaching, stopping, *tasks}
            while not (reaching.done() or stopping.done()):
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if not task.cancelled():  # it was: its part has been removed
                        task.result()
            return not stopping.done()
        finally:
            reaching.cancel()
            stopping.cancel()

    async def _stop_all(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        self._stop.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*map(self._stop_after_dependents, tuple(self._parts.values())))
        for left in end_leftovers(self._state):
            log.warning("leftover_killed", pid=left.pid, command=left.command)

    async def _stop_after_dependents(self, part: Part) -> None:
        for other in tuple(self._parts.values()):
            if part.spec.name in other.spec.depends_on:
                await other.stopped.wait()
        await part.stop(self._hurry)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.request_stop)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _hang_up(self) -> None:
        for part in self._parts.values():
            part.hang_up()

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_POLL)
            for part in tuple(self._parts.values()):
                with suppress(OSError):
                    bound_log(part.spec.log, part.spec.log_limit)

    def _write_report(self) -> None:
        report = SupervisorReport(
            self._began, self._notes, tuple(part.report() for part in self._parts.values())
        )
        try:
            report.save(self._state)
        except OSError as error:  # a full disk must not end what still serves
            log.warning("status_not_written", why=str(error))


def _check_dependencies(specs: Sequence[ProcessSpec]) -> None:
    names = {spec.name for spec in specs}
    if len(names) != len(specs):
        raise ValueError("two parts have one name")
    if unknown := {need for spec in specs for need in spec.depends_on} - names:
        raise ValueError(f"depends_on names no part: {sorted(unknown)}")
    TopologicalSorter({spec.name: spec.depends_on for spec in specs}).prepare()  # CycleError is a ValueError
