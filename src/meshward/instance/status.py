"""meshward status: what runs here, as whom, and how each model's server can be reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from meshward.apply.credentials.ages import CredentialAge, credential_ages
from meshward.apply.traffic.canary_store import load_canaries
from meshward.apply.traffic.ejected import load_ejected
from meshward.apply.unsettled import Unsettled, load_unsettled
from meshward.audit.quarantine import load_quarantine
from meshward.instance.key_ages import KeyStatus, keys_of
from meshward.instance.records import Proof, proof
from meshward.instance.state_files import find_unusable
from meshward.kit.errors import MeshwardError
from meshward.runtime.place.directories import Run, State, run_path
from meshward.runtime.place.instance_file import INSTANCE, Guarded
from meshward.runtime.place.lock import holder
from meshward.runtime.place.ports import Holder
from meshward.runtime.supervise.leftovers import leftovers
from meshward.runtime.supervise.report import PartReport, Phase, load_report

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` saw. `left` are parts that live although no supervisor does."""

    state: str
    pid: int | None  # the supervisor's
    parts: tuple[PartReport, ...]
    notes: tuple[str, ...]
    guards: tuple[Guarded, ...]
    credentials: tuple[CredentialAge, ...]
    left: tuple[Holder, ...]
    records: Proof | None = None  # of an instance that has a collector
    keys: KeyStatus | None = None  # of an instance that has an edge
    walks: tuple[str, ...] = ()  # each model's canary, running or the last one; a walk to people
    ejected: Mapping[str, str] = field(default_factory=dict)  # `<model>/<version>` -> why
    unusable: tuple[str, ...] = ()  # of STATE's files: what is wrong, and what to do
    unsettled: Unsettled | None = None  # a change that not every hop has taken, or taken back
    elsewhere: Mapping[str, str] = field(default_factory=dict)  # `<model>/<version>` -> where it is
    shut: tuple[str, ...] = ()  # hops that were shut away: what was found, and what to do

    @property
    def running(self) -> bool:
        return self.pid is not None

    @property
    def healthy(self) -> bool:
        up = bool(self.parts) and all(is_up(part) for part in self.parts)
        kept = self.records is None or self.records.well
        current = self.keys is None or not self.keys.findings
        well = not (self.unusable or self.shut or any(age.problem for age in self.credentials))
        well = well and self.unsettled is None
        return self.running and up and kept and current and well

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
            yield from (f"STATE: {problem}" for problem in self.unusable)
            return
        up = sum(is_up(part) for part in self.parts)
        yield f"{up} of {len(self.parts)} parts are up in {self.state} (supervisor: pid {self.pid})"
        width = max((len(part.name) for part in self.parts), default=0)
        yield from (_line(part, width, now) for part in self.parts)
        for guard in self.guards:
            yield f"{guard.model}/{guard.version}: server {guard.sentence}"
        yield from (f"{key}: {where}" for key, where in sorted(self.elsewhere.items()))
        yield from (_key_line(age, now) for age in self.credentials)
        if self.keys is not None:
            yield from self.keys.lines(now)
        if self.records is not None:
            yield from self.records.lines()
        if self.unsettled is not None:
            yield self.unsettled.sentence(now)
        yield from (f"{key}: EJECTED, {why}" for key, why in sorted(self.ejected.items()))
        yield from (f"QUARANTINE: {each}" for each in self.shut)
        yield from self.walks
        yield from (f"STATE: {problem}" for problem in self.unusable)
        yield from self.notes


def status(path: Path) -> Status:
    """The instance whose state is `path`. Raises MeshwardError if it runs but is hidden from this user.

    A file that cannot be used is told as such, and hides nothing else.
    """
    state = State(path)
    pid = holder(state)
    found = (f"{error.message}. {error.remedy}" for error in find_unusable(state.path))
    problems = tuple(dict.fromkeys(found))  # one file may hinder several
    report = _read_usable(lambda: load_report(state))
    left = () if pid else tuple(leftovers(state))
    parts, notes = (report.parts, report.notes) if report and pid else ((), ())
    credentials = (_read_usable(lambda: credential_ages(state.path)) if pid else None) or ()
    records = proof(state) if any(part.name == "collector" for part in parts) else None
    has_edge = any(part.name == "edge" for part in parts)
    keys = keys_of(state) if has_edge else None
    instance = _read_usable(lambda: INSTANCE.read(state.path)) if pid else None
    guards = instance.guards if instance else ()
    traffic = _traffic(state) if pid else ((), {})
    unsettled = _read_usable(lambda: load_unsettled(state.path)) if pid else None
    shut = _shut_away(state) if pid else ()
    return Status(
        str(state.path),
        *(pid, parts, notes, guards, credentials, left, records, keys, *traffic, problems, unsettled),
        elsewhere=instance.elsewhere if instance else {},
        shut=shut,
    )


def _read_usable(read: Callable[[], T]) -> T | None:
    """None for what cannot be used: `Status.unusable` says so."""
    try:
        return read()
    except MeshwardError:
        return None


def _traffic(state: State) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """The canaries, and who is ejected and why."""
    canaries = _read_usable(lambda: load_canaries(state.path)) or {}
    ejected = _read_usable(lambda: load_ejected(state.path)) or {}
    return tuple(f"{canary.model}: {canary.sentence}" for canary in canaries.values()), ejected


def _shut_away(state: State) -> tuple[str, ...]:
    try:
        found = load_quarantine(Run(run_path(state)).control_dir)
    except MeshwardError as error:
        return (f"{error.message}. {error.remedy}",)
    errors = [(directory, shut.error) for directory, shut in sorted(found.items())]
    return tuple(f"{e.code.number}: {e.message} (RUN/{directory}). {e.remedy}" for directory, e in errors)


def is_up(part: PartReport) -> bool:
    """Whether it serves, as far as the last report and the process table tell."""
    return part.phase is Phase.RUNNING and part.pid is not None and Path(f"/proc/{part.pid}").exists()


def _line(part: PartReport, width: int, now: float) -> str:
    verdict = "up" if is_up(part) else f"DOWN ({part.phase})"
    line = f"  {part.name:<{width}}  {verdict} for {_span(now - part.since)}"
    line += f", pid {part.pid or '-'}, uid {part.uid}"
    if part.restarts:
        line += f", {part.restarts} restart{'s' if part.restarts > 1 else ''}, last time it {part.last_exit}"
    return line


def _key_line(age: CredentialAge, now: float) -> str:
    line = f"credential {age.name}: from {age.source}, {_span(now - age.since)} old"
    if age.next is not None:
        line += f", read again in {_span(age.next - now)}"
    return line + (f". It stays, because {age.problem}" if age.problem else "")


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
