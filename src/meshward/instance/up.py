"""`meshward up`: from an accepted policy to a running instance.

1. Refuse what cannot be enforced here, components with known holes, ports in use, a second instance on the same state,
   and state that cannot be used.
2. Take the revision that was accepted last, or record a new one; give every part its identity and its files.
3. Let Envoy judge each guard's static twin and nginx its program, before anything starts.
4. Start everything. When all of it is ready the revision is accepted; from then on `apply.mesh` changes it.
5. Keep it running until told to stop; keys and certificates are replaced before they end (`apply.schedule`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from meshward.apply.counters import Counters, load_counters
from meshward.apply.edge_hop import save_facts
from meshward.apply.follow.watch import Watched, follow
from meshward.apply.guards import Guards, Issue
from meshward.apply.hop_files import (
    CONNECT,
    Owner,
    edge_settings,
    write_authorities,
    write_decision,
    write_edge,
)
from meshward.apply.keys.certificate import server_certificate
from meshward.apply.keys.credentials import watch_credentials
from meshward.apply.keys.schedule import keep_current
from meshward.apply.live_revision import LiveRevision
from meshward.apply.local_paths import LOCAL
from meshward.apply.mesh import Mesh, Running
from meshward.apply.report import save_instance
from meshward.apply.revisions import STAGED, Revision, Revisions
from meshward.apply.revocation_store import load_revocations
from meshward.apply.revoke import end_revocations
from meshward.apply.slots import assign_slots
from meshward.apply.traffic.canary_runner import resume
from meshward.apply.traffic.health import watch_health
from meshward.apply.vendor_validation import judge_edge
from meshward.check.admission import require_enforced
from meshward.control.https import open_to_operators
from meshward.control.unix import serving
from meshward.instance.state_files import require_usable
from meshward.kit.durable import write_atomic
from meshward.kit.errors import Exit, MeshwardError
from meshward.kit.log import log_to
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.parse import to_json
from meshward.policy.schema import Policy
from meshward.runtime.machine import Extras, Machine, guard_name, machine
from meshward.runtime.place.components import find_components
from meshward.runtime.place.directories import (
    Run,
    State,
    clean,
    open_state,
    own_directory,
    run_directory,
    shm_directory,
)
from meshward.runtime.place.instance_file import Instance
from meshward.runtime.place.lock import hold_lock
from meshward.runtime.place.ports import require_free
from meshward.runtime.place.versions import numbers
from meshward.runtime.supervise.handle import SupervisorHandle
from meshward.runtime.supervise.leftovers import end_leftovers
from meshward.runtime.supervise.part import Progress
from meshward.runtime.supervise.parts import collector_program, decision_program, edge_part, python_part
from meshward.runtime.supervise.process import ProcessSpec, open_log
from meshward.runtime.supervise.ready import file_exists
from meshward.runtime.supervise.supervisor import Supervisor
from meshward.spiffe.ca import load_or_create as load_authority
from meshward.tokens.key_store import load_or_create as load_keys

MOST_WORKERS = 4

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Starting:
    """Whose start this is, and with what. Without a `policy`, the revision that was accepted last."""

    policy: Policy | None
    author: str
    extras: Callable[[Run], Extras] = lambda _: Extras()
    watched: Watched | None = None


def up(starting: Starting, path: Path, on_ready: Callable[[Instance], None], progress: Progress) -> None:
    """Run it with its state in `path`, in the foreground. Raises MeshwardError for what steps 1 to 3 refuse."""
    components = find_components()
    for warning in components.warnings:
        progress(f"warning: {warning}")
    state = open_state(path)
    with hold_lock(state), _logging_to(state):
        require_usable(state.path, progress)
        run = Run(run_directory(state))
        extra = starting.extras(run)
        revisions = Revisions(state.path)
        revisions.recover()
        policy, revision = _revision(revisions, starting, load_counters(state.path), progress)
        require_enforced(
            policy, LOCAL
        )  # a stored one may be of a release that enforced what this one does not
        plan = resolve(policy)
        end_leftovers(state)  # of a killed instance: they hold its ports
        try:
            require_free([(plan.edge.host, plan.edge.port), *extra.ports])
            place = machine(state, run, components, extra)
            progress(f"note: {place.sentence}")
            mesh = _prepared(place, policy, plan, revision)
            instance = save_instance(place, mesh.live)
            asyncio.run(_run(place, mesh, revision, starting, lambda: on_ready(instance), progress))
        except MeshwardError as error:
            current = revisions.current()
            if current is None or current.number != revision.number:
                revisions.refuse(revision, error.message)
            raise
        finally:
            clean(state)


@contextmanager
def _logging_to(state: State) -> Iterator[None]:
    """The supervisor's own log, JSON, beside those of the parts."""
    with os.fdopen(open_log(state.log("supervisor")), "a") as file:
        log_to(file)
        yield


def _revision(
    revisions: Revisions, starting: Starting, counters: Counters, progress: Progress
) -> tuple[Policy, Revision]:
    """Step 2: the policy that is to run, and its record: the accepted one's, or a new one."""
    current = revisions.current()
    if starting.policy is None:
        if current is None:
            raise MeshwardError(
                "MW3030",
                "no revision was accepted here yet",
                "Give a POLICY, or --demo. See `meshward up --help`.",
                exit_code=Exit.USAGE,
            )
        return revisions.policy(current.number), current
    digest = resolve(starting.policy).digest
    if current is not None and current.digest == digest:
        return starting.policy, current
    parent = current.number if current else 0
    number = revisions.next_number(counters.revision)
    revision = Revision(number, STAGED, digest, parent, starting.author, time.time(), "up")
    if current is not None:
        known = f"revision {current.number} ({current.reason or 'no reason'}, by {current.author})"
        progress(f"this policy is another than {known}: it becomes revision {number}")
    revisions.stage(starting.policy, revision)
    return starting.policy, revision


def _prepared(place: Machine, policy: Policy, plan: Plan, revision: Revision) -> Mesh:
    """Steps 2 and 3: every file, judged before anything runs."""
    state, run = place.state, place.run
    counters = load_counters(state.path)
    slots = assign_slots(plan, counters.slots)
    counters = replace(counters.accepting(plan.digest, slots), revision=revision.number)
    live = LiveRevision(policy, plan, revision.number, slots)
    authority = load_authority(state.path / "ca", plan.trust_domain)
    keys, revoked = load_keys(state.path / "keys"), load_revocations(state.path).standing(time.time())
    web = server_certificate(plan, authority, datetime.now(UTC))
    cache = shm_directory(state, place.edge.uid, place.edge.gid)
    workers = min(MOST_WORKERS, len(os.sched_getaffinity(0)))
    module, nginx = str(place.components.njs_module), numbers(place.components.versions["nginx"])
    settings = edge_settings(plan, run, cache, module, workers, nginx)
    write_edge(settings, authority, revoked, Owner(place.edge), str(counters.generation), counters.epoch, web)
    judge_edge(place.layout, run.edge_dir / "nginx.conf")
    mesh = Mesh(place, Running(live, settings, counters))
    _write_guards(place, mesh.guards, live, Issue(authority, keys, revoked))
    write_decision(live, keys, revoked, run, Owner(place.decide), place.edge)
    write_authorities(authority, run, Owner(place.decide))
    own_directory(run.path / "audit", mode=0o711)
    own_directory(run.control_dir, gid=place.edge.gid, mode=CONNECT)
    write_atomic(state.path / "policy.json", to_json(policy))
    save_facts(state.path, settings)
    counters.save(state.path)
    return mesh


def _write_guards(place: Machine, guards: Guards, live: LiveRevision, issue: Issue) -> None:
    owners = {guard: Owner(place.guard(live.plan, *guard)) for guard in live.guards()}
    files = {guard: guards.render(live, guard, issue) for guard in owners}
    guards.judge(files)
    for guard, owner in owners.items():
        guards.write(guard, files[guard], owner)


async def _run(
    place: Machine,
    mesh: Mesh,
    revision: Revision,
    starting: Starting,
    on_ready: Callable[[], None],
    progress: Progress,
) -> None:
    supervisor = Supervisor(place.state, _specs(place, mesh.live), notes=(place.sentence,), progress=progress)
    loop, tasks = asyncio.get_running_loop(), list[asyncio.Task[None]]()

    def ready() -> None:
        if revision.status == STAGED:
            mesh.revisions.accept(revision)
        mesh.note(starting.author, "up", revision=str(revision.number), digest=revision.digest)
        mesh.attach(SupervisorHandle(supervisor, loop))
        resume(mesh)
        tasks.append(asyncio.create_task(watch_health(mesh)))
        tasks.append(asyncio.create_task(watch_credentials(mesh)))
        tasks.append(asyncio.create_task(keep_current(mesh)))
        tasks.append(asyncio.create_task(end_revocations(mesh)))
        if starting.watched is not None:
            tasks.append(asyncio.create_task(follow(starting.watched, mesh, starting.author, progress)))
        on_ready()

    try:
        async with serving(place.state, mesh), open_to_operators(mesh):
            await supervisor.run(ready)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.to_thread(mesh.wait_for_last)  # operators' threads and the walker's are not the loop's


def _specs(place: Machine, live: LiveRevision) -> list[ProcessSpec]:
    layout, extra = place.layout, place.extra
    layout.run.heartbeat.unlink(missing_ok=True)
    specs = [
        python_part(layout, collector_program(layout.run, layout.state, file_exists(layout.run.heartbeat)))
    ]
    specs += [python_part(layout, program) for program in extra.programs]
    specs += [python_part(layout, program) for program in extra.servers.values() if not program.sealed]
    specs.append(python_part(layout, decision_program(layout.run, place.edge.gid), ["collector"]))
    specs += [place.guard_spec(*guard) for guard in live.guards()]
    everything = ["decide", *(guard_name(*guard) for guard in live.guards())]
    edge = live.plan.edge
    specs.append(edge_part(layout, edge.host, edge.port, everything))
    return specs
