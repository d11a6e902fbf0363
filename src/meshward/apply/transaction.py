"""`apply`: from the revision that runs to another one, at every hop, or nothing.

1. Take the turn. Whoever planned on another revision than the one that runs is refused (exit 3). Hops that were shut
   away are let back in.
2. Stage: compile the policy, refuse what could not be enforced, and from afar what names something of this machine;
   run its tests and laws; render every file.
3. Compare: refuse another change than the reviewed one (exit 3), and one that widens without leave (exit 4).
4. Validate: Envoy judges the static twin of each new or changed guard; nginx its program, if that changes.
5. Record the revision as staged.
6. Switch each hop, and read back from each process that it runs its new projection (`switching`). A guard that does
   not answer at all is shut away; one that refuses alone what Envoy takes is started anew.
7. Record it as accepted: one rename, at which this machine changes its revision.
8. Discard: guards that nobody is sent to any more end when their last request has.

Up to 7, whatever goes wrong leads back to the old revision by the steps of 6 (exit 5). A process that is killed
anywhere takes every hop with it; the next start writes all of them anew, from the accepted revision alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import structlog

from meshward.apply.edge_hop import save_facts
from meshward.apply.forgotten import once_managed
from meshward.apply.hop_files import WEB
from meshward.apply.keys.renew import put_edge
from meshward.apply.local import is_ours
from meshward.apply.mesh import Mesh, Running, conflict_error
from meshward.apply.quarantine import let_back
from meshward.apply.remote_guardrails import require_nothing_of_this_machine
from meshward.apply.report import save_instance
from meshward.apply.revisions import STAGED, Revision
from meshward.apply.revoke import coming_back, keep_known
from meshward.apply.sited import admit_at, describe_moves, describe_places
from meshward.apply.staging import stage_policy, validate
from meshward.apply.switching import Rendering, Say, Switch
from meshward.apply.unsettled import Unsettled
from meshward.compare.change import Change, compare
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.plan.ir import Plan
from meshward.policy.parse import Document
from meshward.policy.schema import Policy
from meshward.policy.site import Site
from meshward.runtime.supervise.handle import hop_error

WIDENING = "widening"
AS_IT_RUNS: Literal["as it runs"] = "as it runs"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ApplyRequest:
    """Who wants a policy applied, why, and on which terms. `base` is the revision that they planned on."""

    author: str
    reason: str = ""
    base: int | None = None
    allow: frozenset[str] = frozenset()
    reviewed: str | None = None  # the digest of the change that was reviewed
    site: Site | Literal["as it runs"] | None = AS_IT_RUNS  # None: all of it on this machine
    remote: bool = False  # from another machine: nothing of this one is to be named


@dataclass(frozen=True, slots=True)
class Outcome:
    """`change` is None where the policy runs already, at that site. `moves`: which versions are elsewhere by it.

    `elsewhere`: where those versions are whose hop was not asked, by `<model>/<version>`.
    """

    revision: int
    change: Change | None
    seconds: float
    moves: tuple[str, ...] = ()
    elsewhere: Mapping[str, str] = field(default_factory=dict)


def apply(mesh: Mesh, document: Document, request: ApplyRequest, say: Say) -> Outcome:
    """Make `document` what runs, at every hop, or change nothing. Raises MeshwardError as told above."""
    began = time.monotonic()
    asked = {"reason": request.reason}
    with mesh.changes.change(request.author, "apply", asked), mesh.turn():  # 1
        _require_base(mesh, request)
        for told in let_back(mesh):
            say(told)
        site = mesh.live.site if request.site == AS_IT_RUNS else request.site
        plan = admit_at(document, site, int(time.time())).plan  # 2
        policy = document.policy
        if request.remote:
            require_nothing_of_this_machine(mesh.live.policy, policy, is_ours, mesh.live.site != site)
        same = plan.digest == mesh.live.plan.digest and site == mesh.live.site
        if same and not mesh.running.unsettled and _keep(mesh, policy):
            return Outcome(mesh.live.revision, None, time.monotonic() - began)
        change = compare(mesh.live.plan, plan)  # 3
        _require_reviewed(change, request)
        if WIDENING not in request.allow:
            _require_not_widening(mesh, change, plan)
        revision = _revision(mesh, plan.digest, site, request)
        switch = stage_policy(mesh, policy, site, revision.number)
        validate(mesh, switch, say)  # 4
        _record(mesh, policy, site, revision)  # 5
        _carry_out(mesh, switch, revision, say)  # 6, 7
        for shut in tuple(mesh.guards.shut.values()):
            say(str(shut.error))
        for guard in switch.stops:  # 8
            mesh.drains.begin(guard, mesh.supervisor)
        mesh.note(
            request.author, "apply", revision=str(revision.number), digest=plan.digest, reason=request.reason
        )
        moves = tuple(describe_moves(switch.old.live, switch.new.live))
        away = describe_places(switch.new.live.placed)
        return Outcome(revision.number, change, time.monotonic() - began, moves, away)


def _keep(mesh: Mesh, policy: Policy) -> bool:
    """See that the running revision's policy is kept; False where its record is not what was accepted: a change is."""
    revisions, number = mesh.revisions, mesh.live.revision
    current = revisions.current()
    if current is None or current.number != number or not revisions.stands(current):
        return False
    try:
        revisions.plan(number)
    except MeshwardError:
        try:
            revisions.restore(number, policy, mesh.live.site)
        except OSError as error:
            raise _unrecorded_error(error) from None
    return True


def _require_base(mesh: Mesh, request: ApplyRequest) -> None:
    if request.base is not None and request.base != mesh.live.revision:
        raise conflict_error(
            f"revision {mesh.live.revision} runs by now; this was planned on revision {request.base}",
            "`meshward history` names who changed it; `meshward plan` shows what yours would change now.",
        )


def _require_reviewed(change: Change, request: ApplyRequest) -> None:
    if request.reviewed is not None and request.reviewed != change.digest:
        raise conflict_error(
            f"this is another change ({change.digest[:12]}) than the reviewed one ({request.reviewed[:12]})",
            "`meshward plan` shows what it would change now.",
        )


def _require_not_widening(mesh: Mesh, change: Change, plan: Plan) -> None:
    old = mesh.live.plan
    more = [*coming_back(old, plan, mesh.revoked), *once_managed(mesh.revisions, old, plan)]
    if widening := [*change.widening, *more]:
        raise MeshwardError(codes.WIDENS_ACCESS, f"this widens access: {'; '.join(widening)}")


def _revision(mesh: Mesh, digest: str, site: Site | None, request: ApplyRequest) -> Revision:
    number = mesh.revisions.next_number(mesh.live.revision)
    return Revision(
        number,
        STAGED,
        digest,
        mesh.live.revision,
        request.author,
        time.time(),
        request.reason,
        site=site.digest if site else "",
    )


def _record(mesh: Mesh, policy: Policy, site: Site | None, revision: Revision) -> None:
    try:
        mesh.revisions.stage(policy, revision, site)
    except OSError as error:
        raise _unrecorded_error(error) from None


def _carry_out(mesh: Mesh, switch: Switch, revision: Revision, say: Say) -> None:
    switcher = mesh.switcher()
    try:
        _follow_hostname(mesh, switch, switch.new)
        switcher.forward(switch, say)
        try:
            mesh.accept(revision)
        except OSError as error:
            raise _unrecorded_error(error) from None
    except Exception as error:
        if not isinstance(error, MeshwardError | OSError):
            log.exception("apply_fault", revision=revision.number)
        say("going back")
        _refuse(mesh, switch, [*named_back(mesh, switch), *switcher.back(switch)], revision, error)
    mesh.swap(_running_after(switch.new, mesh.running))
    mesh.unsettle(mesh.running.unsettled, mesh.running.way_back)
    _write_down(mesh)


def _running_after(new: Rendering, before: Running) -> Running:
    """What runs when `new` has been accepted."""
    counters = before.counters.after_start(new.live.plan.digest, new.live.slots)
    counters = replace(counters, revision=new.live.revision, generation=before.counters.generation)
    counters = counters.after_acceptance()
    revocations = before.revocations.spread(new.live.plan)
    unkept = before.unkept or revocations != before.revocations
    return Running(new.live, new.settings, counters, revocations, unkept, *_still_unsettled(before))


def _still_unsettled(before: Running) -> tuple[Unsettled | None, Switch | None]:
    """What a change leaves unsettled that was: each but guards, which every change looks at, and nginx's program."""
    if before.way_back is not None and not before.way_back.reloads:
        return None, None
    return before.unsettled, before.way_back


def _follow_hostname(mesh: Mesh, switch: Switch, side: Rendering) -> None:
    """Where the edge's host name, or the place of its certificate, changes, the certificate does."""
    old, new = switch.old.live.plan.edge, switch.new.live.plan.edge
    if (old.hostname, old.certificate_path) != (new.hostname, new.certificate_path):
        put_edge(mesh, side.live.plan, mesh.issue(), WEB)


def named_back(mesh: Mesh, switch: Switch) -> list[str]:
    """What of it could not be done: the certificate of before may have come from files that changed."""
    try:
        _follow_hostname(mesh, switch, switch.old)
    except (MeshwardError, OSError) as error:
        return [str(error)]
    return []


def _refuse(mesh: Mesh, switch: Switch, lacking: list[str], revision: Revision, error: Exception) -> None:
    why = _why(error)
    mesh.revisions.refuse(revision, why)
    log.error("refused", revision=revision.number, why=why, lacking=lacking)
    if not lacking:
        mesh.unsettle(*_still_unsettled(mesh.running))
    else:
        means = f"Only what both revisions, {mesh.live.revision} and {revision.number}, permit is permitted"
        mesh.unsettle(Unsettled(time.time(), "; ".join(lacking), means), switch)
        raise MeshwardError(
            codes.WAY_BACK_UNCONFIRMED,
            f"{why}; and the way back is not confirmed: {'; '.join(lacking)}",
        ) from None
    if isinstance(error, MeshwardError):
        raise MeshwardError(error.code, error.message, error.remedy, exit_code=Exit.HOP_REFUSED) from error
    raise hop_error("this machine", why) from None


def _why(error: Exception) -> str:
    if isinstance(error, MeshwardError):
        return error.message
    return f"a file could not be written: {error}" if isinstance(error, OSError) else f"a fault, {error!r}"


def _write_down(mesh: Mesh) -> None:
    """For people and for the next start. The revision is what its record says, whatever becomes of these."""
    machine = mesh.machine
    keep_known(mesh)
    mesh.remember_records()
    with suppress(OSError):
        running = mesh.running
        running.counters.save(machine.state.path)
        save_facts(machine.state.path, running.settings)
        save_instance(machine, running.live)


def _unrecorded_error(error: OSError) -> MeshwardError:
    return MeshwardError(
        codes.NOT_RECORDED,
        f"the revision cannot be recorded: {error.strerror}",
    )
