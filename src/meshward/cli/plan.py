"""meshward plan: what a policy would change, before anything does."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from meshward.apply.forgotten import once_managed
from meshward.apply.impact import Impact, impact_of
from meshward.apply.revisions import Revisions
from meshward.apply.sited import admit_at, describe_places_of
from meshward.apply.sources import read_policy, read_site
from meshward.cli.asking import running_policy, running_site
from meshward.cli.cluster import ClusterOptions, plan_cluster
from meshward.cli.options import DEFAULT_STATE, Json, PolicyPath, RemoteEdge, RunSitePath, State
from meshward.cli.output import print_json, print_problems, run_verb, stdout
from meshward.compare.change import Change, compare
from meshward.kit import codes
from meshward.kit.errors import MeshwardError, PolicyInvalid, Problem
from meshward.kit.exits import Exit
from meshward.plan.placement import plan_at
from meshward.policy.parse import Document
from meshward.policy.site import Site, SiteDocument
from meshward.runtime.place import directories

_HERE = ClusterOptions()


def command(
    policy: PolicyPath,
    /,
    *,
    against: Annotated[
        Path | None,
        Parameter(
            help="Another policy, in place of the one that runs: no instance is looked at, "
            "but for the earlier revisions in --state, if that is given."
        ),
    ] = None,
    site: RunSitePath = None,
    cluster: ClusterOptions = _HERE,
    allow: Annotated[
        list[Literal["takeover", "envoyfilter"]],
        Parameter(help="Of --target: as `apply` would be given it.", negative=""),
    ] = [],  # noqa: B006  read only
    edge: RemoteEdge = None,
    state: State | None = None,
    json: Json = False,
) -> None:
    """Show what POLICY would change against the revision that runs, or ran last: who gains, who loses, which files.

    With --target: against what was applied to that cluster last; then which objects, at which fields.
    Changes nothing. Of an instance behind --edge, and with --against, the files are not told, and what earlier
    revisions knew of a server only where --state says which.
    Exits 0; 2 for an invalid policy, 4 for one that asks for what is not enforced here (with --against, who would gain
    is told all the same), and for a change that widens: `apply` takes it with `--allow widening` only.
    """

    def run() -> Exit:
        if cluster.target is not None:
            if edge is not None or against is not None:
                raise MeshwardError(codes.COMMAND_USAGE, "give one of --target, --edge and --against")
            return plan_cluster(policy, site, state or DEFAULT_STATE, cluster, allow=allow, as_json=json)
        cluster.require_none()
        if allow:
            raise MeshwardError(codes.COMMAND_USAGE, f"`--allow {allow[0]}` is of --target")
        if against is not None and edge is not None:
            raise MeshwardError(codes.COMMAND_USAGE, "--against looks at no instance: give it, or --edge")
        document = read_policy(policy)
        place, beside = state or DEFAULT_STATE, edge is not None or against is not None
        before = None if beside else running_site(place)
        told = read_site(site) if site is not None else before
        after = told.site if isinstance(told, SiteDocument) else told
        findings, refused = _admitted(document, told)
        if refused is not None and (json or against is None):
            raise refused
        base = (0, read_policy(against).policy) if against is not None else running_policy(place, edge)
        old = plan_at(base[1], before if not beside else after) if base else None
        new = plan_at(document.policy, after)
        change = compare(old, new)
        here = not beside
        moved = (describe_places_of(old, before), describe_places_of(new, after))
        traces = impact_of(old, new, directories.State(place), moved) if here else None
        known = here or state is not None
        forgotten = once_managed(Revisions(place), old, new) if known and old is not None else []
        code = Exit.UNSAFE if base and (change.widening or forgotten) else Exit.OK
        if json:
            shown = _document(base[0] if base else 0, change, traces)
            print_json({"ok": code == Exit.OK, **shown, "forgotten": forgotten, "elsewhere": moved[1]})
            return code
        print_problems(findings)
        basis = f"revision {base[0]}" if base else "nothing: no revision was accepted here yet"
        basis = basis if against is None else str(against)
        touched = traces.lines() if traces else []
        more = [f"! widening: {sentence}" for sentence in forgotten]
        elsewhere = [f"  {key}: {where}" for key, where in moved[1].items() if moved[0].get(key) != where]
        lines = [
            f"Against {basis}:",
            *change.lines(),
            *more,
            *elsewhere,
            *touched,
            f"plan {change.digest}",
        ]
        stdout().print("\n".join(lines), markup=False)
        if refused is not None:
            raise refused
        return code

    run_verb(run, as_json=json)


def _admitted(
    document: Document, site: SiteDocument | Site | None
) -> tuple[list[Problem], PolicyInvalid | None]:
    """The lints; or what is asked and not enforced here, which hinders nobody to see who would gain.

    Raises PolicyInvalid where the policy is wrong.
    """
    try:
        return list(admit_at(document, site, int(time.time())).findings), None
    except PolicyInvalid as error:
        if error.exit_code is not Exit.UNSAFE:
            raise
        return [], error


def _document(base: int, change: Change, traces: Impact | None) -> dict[str, object]:
    hops = None if traces is None else asdict(traces)
    return {"base": base, "plan": change.digest, "change": asdict(change), "hops": hops}
