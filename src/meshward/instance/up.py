"""`meshward up`: from an accepted policy to a running instance.

1. Refuse what cannot be enforced here, components with known holes, ports in use, a second instance on the same state,
   and state that cannot be used.
2. Take the revision accepted last, or record a new one; give every part its identity and its files (`prepare`).
3. Let Envoy judge each guard's static twin and nginx its program, before anything starts.
4. Start everything. When all of it is ready the revision is accepted; from then on `apply.mesh` changes it.
5. Keep it running until told to stop; beside it (`background`) keys are replaced before they end, servers' health is
   watched, a followed policy is applied.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from meshward.apply.changes import settle_refusals
from meshward.apply.counters import load_counters
from meshward.apply.follow.addresses import watch_addresses
from meshward.apply.follow.watch import Watched, follow
from meshward.apply.keys.credentials import watch_credentials
from meshward.apply.keys.schedule import keep_current
from meshward.apply.live_revision import LiveRevision
from meshward.apply.mesh import Mesh
from meshward.apply.places import warn_of_places
from meshward.apply.quarantine import watch_hops
from meshward.apply.report import save_instance
from meshward.apply.revisions import STAGED, Revision, Revisions
from meshward.apply.revocation_store import load_as_found, load_revocations
from meshward.apply.revoke import end_revocations
from meshward.apply.settle import end_by_start, settle_hops
from meshward.apply.sited import require_enforced_at
from meshward.apply.traffic.canary_runner import resume_canaries
from meshward.apply.traffic.health import watch_health
from meshward.apply.traffic.traffic import Traffic
from meshward.audit.places import ALL_READ
from meshward.control.https import open_to_operators
from meshward.control.unix import serve_socket
from meshward.control.verbs.request import Controlled
from meshward.instance.background import Background, background
from meshward.instance.leaving import end_no_more, ending_once, leave
from meshward.instance.prepare import (
    followed_policy,
    prepare_mesh,
    revision_to_run,
    revocations_at_start,
    site_to_run,
)
from meshward.instance.state_files import require_usable
from meshward.instance.threads import LAST, Threads, all_ended
from meshward.kit.errors import MeshwardError
from meshward.kit.log import log_to, stop_log
from meshward.kit.statefile import unreadable_error
from meshward.policy.schema import Policy
from meshward.policy.site import Site
from meshward.runtime.machine import Extras, Machine, guard_name, machine
from meshward.runtime.place.components import find_components
from meshward.runtime.place.directories import (
    Run,
    State,
    open_state,
    run_directory,
)
from meshward.runtime.place.instance_file import Instance
from meshward.runtime.place.lock import hold_state
from meshward.runtime.place.neighbours import neighbours, warn_of_neighbours
from meshward.runtime.place.ports import require_free
from meshward.runtime.supervise.handle import SupervisorHandle
from meshward.runtime.supervise.leftovers import end_leftovers
from meshward.runtime.supervise.part import Progress
from meshward.runtime.supervise.parts import (
    collector_program,
    decision_program,
    edge_part,
    holder_of,
    python_part,
)
from meshward.runtime.supervise.process import ProcessSpec, open_log
from meshward.runtime.supervise.ready import file_exists
from meshward.runtime.supervise.supervisor import Supervisor
from meshward.targets.nginx.wire import Near


@dataclass(frozen=True, slots=True)
class Starting:
    """Whose start this is, and with what. Without a `policy`, the revision that was accepted last."""

    policy: Policy | None
    author: str
    extras: Callable[[Run], Extras] = lambda _: Extras()
    watched: Watched | None = None
    root_parts: bool = False  # whether parts that cannot have a user of their own may run as root
    site: Site | None = None  # where the policy's names live; None: as it was accepted last
    accept_revocations: bool = False  # the list of the revoked as it is there, or nobody


def up(starting: Starting, path: Path, on_ready: Callable[[Instance], None], progress: Progress) -> None:
    """Run it with its state in `path`, in the foreground. Raises MeshwardError for what steps 1 to 3 refuse."""
    components = find_components()
    for warning in components.warnings:
        progress(f"warning: {warning}")
    state = open_state(path)
    with hold_state(state), _logging_to(state), ending_once(), _leaving(state, progress):
        require_usable(state.path, progress)
        kept = (load_as_found if starting.accept_revocations else load_revocations)(state.path)
        run = Run(run_directory(state))
        place = machine(state, run, components, starting.extras(run), root_parts=starting.root_parts)
        progress(f"note: {place.sentence}")
        revisions = Revisions(state.path)
        revisions.recover()
        given = starting.policy
        site = site_to_run(revisions, starting.site)
        if starting.watched is not None and given is not None:
            given = followed_policy(revisions, given, progress, site)
        policy, revision = revision_to_run(
            revisions, given, starting.author, load_counters(state.path), progress, site
        )
        with _noting_refusal(revisions, revision):
            plan = require_enforced_at(policy, site)  # a stored one may be of a release that enforced more
            end_leftovers(state)  # of a killed instance: they hold its ports
            require_free([(plan.edge.host, plan.edge.port), *place.extra.ports])
            revocations = revocations_at_start(revisions, kept, plan)
            mesh = prepare_mesh(place, policy, site, plan, revision, revocations)
            for told in (*warn_of_places(mesh.live.elsewhere), *_warn_of_neighbours(mesh.live)):
                progress(f"warning: {told}")
            instance = save_instance(place, mesh.live)
            with all_ended(progress):
                try:
                    asyncio.run(_run(place, mesh, revision, starting, lambda: on_ready(instance), progress))
                finally:
                    end_no_more()


def _warn_of_neighbours(live: LiveRevision) -> Iterator[str]:
    """Where versions are reached through a sidecar: who could speak to it as well."""
    if any(isinstance(place, Near) for place in live.elsewhere.values()) and live.placed:
        yield from filter(None, [warn_of_neighbours(neighbours(), live.placed.edge.sidecar)])


@contextmanager
def _leaving(state: State, progress: Progress) -> Iterator[None]:
    """However it ends, refused, interrupted or stopped, nothing of it stays outside STATE."""
    try:
        yield
    finally:
        end_no_more()
        end_leftovers(state)
        leave(state, progress)


@contextmanager
def _noting_refusal(revisions: Revisions, revision: Revision) -> Iterator[None]:
    """What is refused before it ran is noted as refused."""
    try:
        yield
    except MeshwardError as error:
        current = revisions.current()
        if current is None or current.number != revision.number:
            revisions.refuse(revision, error.message)
        raise


@contextmanager
def _logging_to(state: State) -> Iterator[None]:
    """The supervisor's own log, JSON, beside those of the parts."""
    try:
        descriptor = open_log(state.log("supervisor"))
    except OSError as error:
        raise unreadable_error(state.log("supervisor"), error) from None
    with os.fdopen(descriptor, "a") as file:
        log_to(file)
        try:
            yield
        finally:
            stop_log()


async def _run(
    place: Machine,
    mesh: Mesh,
    revision: Revision,
    starting: Starting,
    on_ready: Callable[[], None],
    progress: Progress,
) -> None:
    """Steps 4 and 5."""
    supervisor = Supervisor(place.state, _specs(place, mesh.live), notes=(place.sentence,), progress=progress)
    loop, traffic = asyncio.get_running_loop(), Traffic(mesh)
    instance = Controlled(mesh, traffic)
    loop.set_default_executor(Threads())

    def ready(beside: Background) -> None:
        if revision.status == STAGED:
            mesh.accept(revision)
        facts = {"revocations": _count_sentence(mesh)} if starting.accept_revocations else {}
        mesh.note(starting.author, "up", revision=str(revision.number), digest=revision.digest, **facts)
        end_by_start(mesh)
        mesh.remember_records(reckoned=True)
        mesh.attach(SupervisorHandle(supervisor, loop))
        resume_canaries(traffic)
        _begin(beside, traffic, starting, progress)
        on_ready()

    try:
        async with (
            background(progress) as beside,
            serve_socket(place.state, instance),
            open_to_operators(instance),
        ):
            await supervisor.run(lambda: ready(beside))
    finally:
        last = asyncio.create_task(asyncio.to_thread(traffic.wait_for_last, LAST))
        await asyncio.wait({last}, timeout=LAST)  # operators' threads and the canaries' are not the loop's
        mesh.changes.settle(all_of_it=True)


def _count_sentence(mesh: Mesh) -> str:
    revoked = mesh.revoked
    count = len(revoked.subjects) + len(revoked.tokens) + len(revoked.agents)
    return f"accepted as found: {count or 'nobody'} revoked"


def _begin(beside: Background, traffic: Traffic, starting: Starting, progress: Progress) -> None:
    """Step 5: what goes on by itself."""
    mesh, watched = traffic.mesh, starting.watched
    beside.begin("the watch over servers' health", lambda: watch_health(traffic))
    beside.begin("the watch over hops' directories", lambda: watch_hops(mesh))
    beside.begin("the watch over credentials", lambda: watch_credentials(mesh))
    beside.begin("the renewal of keys", lambda: keep_current(mesh))
    beside.begin("the end of revocations", lambda: end_revocations(mesh))
    beside.begin("the watch over addresses", lambda: watch_addresses(mesh))
    beside.begin("the settling of hops", lambda: settle_hops(mesh))
    beside.begin("the count of what was refused", lambda: settle_refusals(mesh.changes))
    if watched is not None:
        name = f"the watch over {watched.path}"
        beside.begin(name, lambda: follow(watched, mesh, starting.author, progress))


def _specs(place: Machine, live: LiveRevision) -> list[ProcessSpec]:
    layout, extra = place.layout, place.extra
    for said in (layout.run.heartbeat, layout.run.path / ALL_READ):
        said.unlink(missing_ok=True)
    specs = [
        python_part(layout, collector_program(layout.run, layout.state, file_exists(layout.run.heartbeat)))
    ]
    for program in extra.programs:
        program.equip(place.of_program(program))
    specs += [python_part(layout, program) for program in extra.programs]
    specs += [python_part(layout, program) for program in extra.servers.values() if not program.sealed]
    decide = (layout.run.decide_dir, holder_of(place.decide, place.edge))
    decision = decision_program(layout.run, place.edge.gid, place.decide.uid)
    specs.append(python_part(layout, decision, ["collector"], decide))
    specs += [place.guard_spec(*guard) for guard in live.guards()]
    everything = ["decide", *(guard_name(*guard) for guard in live.guards())]
    edge = live.plan.edge
    specs.append(edge_part(layout, edge.host, edge.port, everything))
    return specs
