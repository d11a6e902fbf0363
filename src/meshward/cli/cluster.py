"""What `apply` and `plan` share where the target is a cluster: options, what it is to have, and how it is told."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from meshward.apply.local_paths import LOCAL
from meshward.apply.public_keys import keys_of, keys_of_state
from meshward.apply.sources import read_policy, read_site
from meshward.check.checking import check
from meshward.cli.output import print_json, print_problems, stderr, stdout
from meshward.kit import codes
from meshward.kit.errors import MeshwardError, PolicyInvalid, Problem
from meshward.kit.exits import Exit
from meshward.kit.text import one_line
from meshward.plan.coverage import Way
from meshward.plan.placement import PlacedPlan
from meshward.plan.resolve import resolve
from meshward.policy.parse import to_json
from meshward.policy.site import SiteDocument, site_to_json
from meshward.render.compose import cover_site
from meshward.render.mesh import mesh_objects, owner_of
from meshward.render.wishes import Routes, Wishes

if TYPE_CHECKING:  # imported where a cluster is asked: what is behind it is slow to load
    from meshward.cluster.applying import Outcome
    from meshward.cluster.preparing import Prepared, Wanted

_BESIDE = tuple(path for path in LOCAL if path.way is Way.BESIDE)
_FIELDS = 6  # of one object, told to people


@Parameter(name="*")
@dataclass(frozen=True)
class ClusterOptions:
    """Of a mesh in a cluster."""

    target: Annotated[
        Literal["istio"] | None,
        Parameter(help="A mesh in a cluster, in place of the instance in --state, which is not touched."),
    ] = None
    kubeconfig: Annotated[
        Path | None, Parameter(help="Of --target: how to reach the cluster; without it, as kubectl does.")
    ] = None
    keys: Annotated[
        Path | None,
        Parameter(
            help="Of --target: the edge's public keys, current and next, as a JSON Web Key Set; without it, "
            "those of the instance in --state."
        ),
    ] = None
    routes: Annotated[Routes, Parameter(help="Of --target: VirtualServices or HTTPRoutes.")] = "istio"
    owned: Annotated[
        bool,
        Parameter(
            negative="",
            help="Of --target: nobody but our own ServiceAccount may change what guards models.",
        ),
    ] = False
    mesh_wide: Annotated[
        bool,
        Parameter(negative="", help="Of --target: strict mTLS and default deny for the whole mesh."),
    ] = False

    def require_none(self) -> None:
        """Raises MeshwardError where an option asks for a cluster and no target does."""
        if self != ClusterOptions():
            message = "--kubeconfig, --keys, --routes, --owned and --mesh-wide are of --target"
            raise MeshwardError(codes.COMMAND_USAGE, message)


def read_wanted(
    policy: Path, site: Path | None, state: Path, options: ClusterOptions, allow: Iterable[str]
) -> tuple[Wanted, list[Problem]]:
    """What the cluster is to have, and what is odd or lost of it. Raises MeshwardError as `render` does."""
    from meshward.cluster.preparing import Wanted
    from meshward.cluster.record import Place

    document = read_policy(policy)
    findings = check(document, int(time.time()))
    if any(problem.severity == "error" for problem in findings):
        raise PolicyInvalid(findings)
    told = None if site is None else read_site(site)
    filters = frozenset({"envoyfilter"} & set(allow))
    wishes = Wishes(
        "istio",
        _keys(options.keys, state),
        routes=options.routes,
        allow=filters,  # type: ignore[arg-type]
        owned=options.owned,
        mesh_wide=options.mesh_wide,
    )
    placed, report = cover_site(resolve(document.policy), told, wishes, beside=_BESIDE)
    # `render` says besides what each hop has to say of it.
    losses = [Problem(loss.feature.code, loss.sentence, "", severity="lint") for loss in report.losses]
    workload = placed.edge.workload
    return Wanted(
        tuple(dict(each.body) for each in mesh_objects(placed, wishes)),
        placed.edge_id,
        Place(workload.namespace, f"meshward.{workload.service_account}"),
        placed.mesh.root_namespace,
        placed.plan,
        to_json(document.policy),
        _site_text(told),
        _writer(placed) if options.owned else None,
    ), [*findings, *losses]


def _writer(placed: PlacedPlan) -> str:
    owner = owner_of(placed)
    return f"system:serviceaccount:{owner.namespace}:{owner.service_account}"


def _site_text(site: SiteDocument | None) -> str | None:
    return None if site is None else site_to_json(site.site)


def _keys(file: Path | None, state: Path) -> tuple[dict[str, str], ...]:
    if file is not None:
        return keys_of(file)
    if not state.is_dir():
        message = f"no key is known that tokens could be verified by: `{state}` is no instance's directory"
        raise MeshwardError(codes.COMMAND_USAGE, message, "Give --keys, or --state.")
    return keys_of_state(state)


def apply_to_cluster(
    policy: Path,
    site: Path | None,
    state: Path,
    options: ClusterOptions,
    *,
    reason: str,
    allow: Iterable[str],
    reviewed: str | None,
    as_json: bool,
) -> Exit:
    """`apply --target`."""
    wanted, findings = read_wanted(policy, site, state, options, allow)
    if not as_json:
        print_problems(findings)
    from meshward.cluster.applying import ApplyRequest, apply
    from meshward.cluster.connection import connect

    request = ApplyRequest(reason, frozenset(allow), reviewed)
    done = apply(connect(options.kubeconfig), wanted, request, _say)
    if as_json:
        print_json(_outcome_json(done, findings))
    else:
        stdout().print("\n".join(_outcome_lines(done)), markup=False)
    return Exit.OK


def plan_cluster(
    policy: Path,
    site: Path | None,
    state: Path,
    options: ClusterOptions,
    *,
    allow: Iterable[str],
    as_json: bool,
) -> Exit:
    """`plan --target`."""
    wanted, findings = read_wanted(policy, site, state, options, allow)
    from meshward.cluster.connection import connect
    from meshward.cluster.preparing import prepare

    prepared = prepare(connect(options.kubeconfig), wanted, takeover="takeover" in allow)
    code = Exit.UNSAFE if prepared.needs_leave else Exit.OK
    if as_json:
        print_json({"ok": code is Exit.OK, **_plan_json(prepared, findings)})
    else:
        print_problems(findings)
        stdout().print("\n".join(_plan_lines(prepared)), markup=False)
    return code


def _plan_lines(prepared: Prepared) -> Iterable[str]:
    """First who gains and who loses, then the objects."""
    record = prepared.record
    basis = f"revision {record.applied.revision}" if record.applied else "nothing: none was applied here yet"
    yield f"Against {basis}:"
    if record.applying:
        begun = record.applying
        author = one_line(begun.author)
        yield f"! revision {begun.revision}, by {author}, was begun and not completed; this continues from there"
    yield from prepared.change.lines()
    if prepared.unknown:
        yield f"! widening: {prepared.unknown}"
    signs = {"create": "+", "change": "~", "remove": "-"}
    for edit in prepared.edits:
        more = f", and {len(edit.fields) - _FIELDS} more" if len(edit.fields) > _FIELDS else ""
        fields = f": {', '.join(edit.fields[:_FIELDS])}{more}" if edit.fields else ""
        yield f"{signs[edit.do]} {edit.key}{fields}"
    if not prepared.edits:
        yield "No object changes."
    for key, others in prepared.stock.left.items():
        yield f"  {key} is left: {', '.join(others)} made it theirs"
    yield f"plan {prepared.change.digest}"


def _plan_json(prepared: Prepared, findings: Iterable[Problem]) -> dict[str, Any]:
    applied, applying = prepared.record.applied, prepared.record.applying
    return {
        "base": applied.revision if applied else 0,
        "interrupted": applying.revision if applying else None,
        "plan": prepared.change.digest,
        "change": asdict(prepared.change),
        "unknown": prepared.unknown or None,
        "objects": [
            {
                "do": edit.do,
                "group": edit.key.group,
                "kind": edit.key.kind,
                "namespace": edit.key.namespace or None,
                "name": edit.key.name,
                "fields": list(edit.fields),
            }
            for edit in prepared.edits
        ],
        "left": {str(key): list(others) for key, others in prepared.stock.left.items()},
        "problems": [problem.as_json() for problem in findings],
    }


def _outcome_lines(done: Outcome) -> Iterable[str]:
    if done.change is None:
        yield f"Nothing to change: this is revision {done.revision} already."
    else:
        yield from done.change.lines()
        yield from done.arrived
    for key, others in done.left.items():
        yield f"{key} is left: {', '.join(others)} made it theirs"
    if done.change is not None:
        yield (
            f"revision {done.revision} is taken by the API server: {done.written} written, {done.removed} removed "
            f"({done.seconds * 1000:.0f} ms)"
        )


def _outcome_json(done: Outcome, findings: Iterable[Problem]) -> dict[str, Any]:
    return {
        "ok": True,
        "revision": done.revision,
        "changed": done.change is not None,
        "change": asdict(done.change) if done.change else None,
        "written": done.written,
        "removed": done.removed,
        "arrived": list(done.arrived),
        "left": {str(key): list(others) for key, others in done.left.items()},
        "seconds": done.seconds,
        "problems": [problem.as_json() for problem in findings],
    }


def _say(line: str) -> None:
    stderr().print(f"... {line}", markup=False, style="dim")
