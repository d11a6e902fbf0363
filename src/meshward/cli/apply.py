"""meshward apply: make a policy live at every hop, or change nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.text import Text

from meshward.apply.revisions import Revisions
from meshward.apply.sited import admit_at
from meshward.apply.sources import read_policy, read_site
from meshward.cli.asking import ask_instance, running_site
from meshward.cli.cluster import ClusterOptions, apply_to_cluster
from meshward.cli.options import DEFAULT_STATE, Json, PolicyPath, RemoteEdge, RunSitePath, State
from meshward.cli.output import print_json, print_problems, run_verb, stdout
from meshward.control.verbs.apply import APPLY, Applied
from meshward.control.verbs.history import REVISIONS
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.policy.parse import to_json
from meshward.policy.site import Site, SiteDocument, site_to_json

_HERE = ClusterOptions()
Reason = Annotated[str, Parameter(help="Why, for `meshward history`.")]
Allow = Annotated[
    list[Literal["widening"]],
    Parameter(
        help="`widening`: somebody may gain `manage` or a right, be believed, get a secret, or less be recorded.",
        negative="",
    ),
]
ApplyAllow = Annotated[
    list[Literal["widening", "takeover", "envoyfilter"]],
    Parameter(
        help="`widening`: somebody may gain `manage` or a right, be believed, get a secret, or less be recorded. Of "
        "--target: `takeover`: objects and fields of somebody else become ours; `envoyfilter`: as `render` has it.",
        negative="",
    ),
]


def command(
    policy: PolicyPath,
    /,
    *,
    reason: Reason = "",
    allow: ApplyAllow = [],  # noqa: B006  read only
    plan: Annotated[
        str | None, Parameter(help="Apply only the change with this digest: what `meshward plan` showed.")
    ] = None,
    site: RunSitePath = None,
    cluster: ClusterOptions = _HERE,
    edge: RemoteEdge = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Make POLICY what runs, at every hop, or change nothing; with --target, what a mesh in a cluster enforces.

    Exits 0 when each hop reports its new rules; 3 if somebody else was first, 4 for a widening without leave or, with
    --edge, for what names something of the machine, 5 if a hop refused: then the old revision runs on.
    """

    def run() -> Exit:
        if cluster.target is not None:
            if edge is not None:
                raise MeshwardError(
                    codes.COMMAND_USAGE, "--target asks a cluster, --edge an instance: give one"
                )
            return apply_to_cluster(
                policy, site, state, cluster, reason=reason, allow=allow, reviewed=plan, as_json=json
            )
        cluster.require_none()
        if extra := [each for each in allow if each != "widening"]:
            raise MeshwardError(codes.COMMAND_USAGE, f"`--allow {extra[0]}` is of --target")
        base = base_of(state, edge)
        document = read_policy(policy)
        place = site_for(site, state, edge)
        print_problems(admit_at(document, place, int(time.time())).findings)
        given = {"policy": to_json(document.policy), "plan": plan, "base": base, "reason": reason}
        if site is not None and place is not None:
            given["site"] = site_to_json(place.site if isinstance(place, SiteDocument) else place)
        done = ask_instance(state, APPLY, {**given, "allow": list(allow)}, edge)
        return tell(done, as_json=json)

    run_verb(run, as_json=json)


def base_of(state: Path, edge: str | None) -> int | None:
    """The revision that this change is planned on. None where files say another than what was accepted last."""
    if edge is not None:
        return ask_instance(state, REVISIONS, {}, edge).current
    revisions = Revisions(state)
    current = revisions.current()
    return current.number if current and revisions.stands(current) else None


def site_for(given: Path | None, state: Path, edge: str | None) -> SiteDocument | Site | None:
    """The site that is `given`; else that of the revision that runs, as far as it can be read from here."""
    if given is not None:
        return read_site(given)
    return None if edge is not None else running_site(state)


def tell(done: Applied, *, as_json: bool) -> Exit:
    """Print what an apply came to."""
    if as_json:
        print_json({"ok": True, **done.as_json()})
        return Exit.OK
    console = stdout()
    if not done.changed:
        console.print(f"Nothing to change: this is revision {done.revision} already.")
        return Exit.OK
    console.print("\n".join(done.lines), markup=False)
    hops = "every hop of that machine" if done.elsewhere else "every hop"
    text = f"revision {done.revision} is live at {hops} ({done.seconds * 1000:.0f} ms)"
    console.print(Text(text, style="bold green"))
    for key, where in done.elsewhere.items():
        console.print(f"  not awaited: {key}, {where}", markup=False, soft_wrap=True)
    return Exit.OK
