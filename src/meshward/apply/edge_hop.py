"""The edge's program: the few things that only a reload of nginx can change, and the proof that it did.

It only ever grows while nginx runs: a rate that no grant names any more, or a smaller `max_body`, is no reason
to reload. What a grant or a model says comes with each decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from meshward.apply.hop_files import Owner, edge_files, write_program
from meshward.apply.vendor_validation import judge_edge
from meshward.kit.statefile import StateFile
from meshward.plan.ir import Plan
from meshward.runtime.machine import Machine
from meshward.runtime.supervise.handle import SupervisorHandle, hop_error
from meshward.targets.nginx.projection import EdgeView
from meshward.targets.nginx.settings import EdgeSettings
from meshward.targets.nginx.target import EDGE, view_in

COST = "may lose requests on idle HTTP/1.1 connections (seen: 5, at 300/s over 16); clients with retries repeat them"
_CANDIDATE = "nginx.next.conf"


FACTS = StateFile(
    "program.json",
    EdgeView,
    place="STATE",
    what="what nginx's file says of the policy, so that `plan` knows what needs a reload",
    remedy="Remove it: the next start or change writes it anew, and until then `plan` goes by the policy that runs.",
    renewed=True,
)


def widen_view(before: EdgeView, plan: Plan) -> EdgeView:
    """The least that serves `plan` and all that `before` did, except another listener or host name."""
    needed = EDGE.project(plan, None)
    return replace(
        needed,
        rates=tuple(sorted({*before.rates, *needed.rates})),
        max_body=max(before.max_body, needed.max_body),
        longest_timeout=max(before.longest_timeout, needed.longest_timeout),
    )


def settings_for(settings: EdgeSettings, plan: Plan) -> EdgeSettings:
    """`settings`, grown for `plan`."""
    return replace(settings, **asdict(widen_view(view_in(settings), plan)))


def reload_reasons(before: EdgeView, after: EdgeView) -> tuple[str, ...]:
    """Why nginx must be reloaded, in sentences; empty: it need not be."""
    pairs = (
        (field.name, getattr(before, field.name), getattr(after, field.name)) for field in fields(EdgeView)
    )
    return tuple(
        f"{name}: {_show_value(old)} -> {_show_value(new)}" for name, old, new in pairs if old != new
    )


def _show_value(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def load_facts(state: Path) -> EdgeView | None:
    """Of the program that nginx runs, or ran last; None where none was written. Raises MeshwardError."""
    return FACTS.read(state)


def save_facts(state: Path, settings: EdgeSettings) -> None:
    """Raises OSError."""
    FACTS.write(state, view_in(settings))


class EdgeHop:
    """nginx's file, judged beside the one that runs, then renamed over it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def judge(self, settings: EdgeSettings) -> None:
        """`nginx -t`, as the user that nginx runs as. Raises MeshwardError (MW3012)."""
        candidate = self._machine.run.edge_given / _CANDIDATE
        Owner(self._machine.edge).write(candidate, edge_files(settings)["nginx.conf"])
        try:
            judge_edge(self._machine.layout, candidate)
        finally:
            candidate.unlink(missing_ok=True)

    def switch(self, settings: EdgeSettings, supervisor: SupervisorHandle) -> None:
        """Rename, reload, and wait until new workers serve and the old ones have stopped accepting.

        A worker reads the program that its master read when it was told to. Raises MeshwardError.
        """
        running = supervisor.pid("edge")
        before = _workers(running) if running is not None else {}
        write_program(settings, Owner(self._machine.edge))
        pid = supervisor.hang_up("edge")
        if pid is None or pid != running:
            return  # it reads the file when it starts

        def missing() -> Sequence[str]:
            now = _workers(pid)
            old = [each for each in before if now.get(each, "") == "worker process"]
            new = [each for each, title in now.items() if each not in before and title == "worker process"]
            lack = [f"{len(old)} old workers still accept"] if old else []
            return [*lack, "no new worker yet"] if len(new) < settings.workers else lack

        supervisor.arrival("the edge", missing)


def _workers(master: int) -> dict[int, str]:
    """The children of nginx's master, by pid: `worker process`, `worker process is shutting down`, ..."""
    try:
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    except OSError:
        raise hop_error("the edge", "nginx ended during its reload") from None
    found = {}
    for child in map(int, children):
        try:
            title = Path(f"/proc/{child}/cmdline").read_bytes().rstrip(b"\0 ").decode("ascii", "replace")
        except OSError:
            continue
        found[child] = title.removeprefix("nginx: ")
    return found
