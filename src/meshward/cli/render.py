"""meshward render: a policy as files for somebody else's machines."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from meshward.apply.hop_files import lua_modules
from meshward.apply.local_paths import LOCAL
from meshward.apply.public_keys import keys_of, keys_of_state
from meshward.apply.sources import read_policy, read_site
from meshward.check.checking import check
from meshward.check.site import site_lints
from meshward.cli.options import Json, PolicyPath, SitePath
from meshward.cli.output import print_json, print_problems, run_verb, stdout
from meshward.kit import codes
from meshward.kit.errors import MeshwardError, PolicyInvalid, Problem
from meshward.kit.exits import Exit
from meshward.kit.rendered import Written, write_rendered
from meshward.plan.coverage import Way
from meshward.plan.resolve import resolve
from meshward.render.compose import Rendering, render_site
from meshward.render.texts import report_json, report_lines
from meshward.render.wishes import Allowed, GuardMode, Routes, TargetName, Wishes

_BESIDE = tuple(path for path in LOCAL if path.way is Way.BESIDE)


def command(
    policy: PolicyPath,
    /,
    *,
    target: Annotated[TargetName, Parameter(help="What the files are for.")],
    out: Annotated[Path, Parameter(help="The directory; it then holds these files and nothing else.")],
    site: SitePath = None,
    keys: Annotated[
        Path | None, Parameter(help="The edge's public keys, current and next, as a JSON Web Key Set.")
    ] = None,
    state: Annotated[
        Path | None, Parameter(help="The edge's instance, whose public keys are taken; no key is made.")
    ] = None,
    strict: Annotated[bool, Parameter(negative="", help="Refuse any loss.")] = False,
    guard: Annotated[GuardMode, Parameter(help="Of istio: whose guards are rendered beside it.")] = "auto",
    routes: Annotated[Routes, Parameter(help="Of istio: VirtualServices or HTTPRoutes.")] = "istio",
    allow: Annotated[
        tuple[Allowed, ...], Parameter(negative="", help="Of istio: what is written on request alone.")
    ] = (),
    owned: Annotated[
        bool,
        Parameter(
            negative="", help="Of istio: nobody but our own ServiceAccount may change what guards models."
        ),
    ] = False,
    mesh_wide: Annotated[
        bool, Parameter(negative="", help="Of istio: strict mTLS and default deny for the whole mesh.")
    ] = False,
    json: Json = False,
) -> None:
    """Write what enforces POLICY on a site as files for `kubectl apply`, another nginx, or another Envoy.

    Prints what each hop of each path enforces, what it leaves and who takes that, and every loss.
    Exits 0; 2 for an invalid policy or site; 4, and writes nothing, where no hop of a path sees what decides access,
    for any loss with --strict, and where the directory holds what was not rendered.
    """

    def run() -> Exit:
        wishes = Wishes(target, _keys(keys, state), guard, routes, frozenset(allow), owned, mesh_wide)
        _require_fit(wishes)
        document = read_policy(policy)
        findings = check(document, int(time.time()))
        if any(problem.severity == "error" for problem in findings):
            raise PolicyInvalid(findings)
        plan, placing = resolve(document.policy), None if site is None else read_site(site)
        rendering = render_site(
            plan,
            placing,
            wishes,
            lua=lua_modules(),
            beside=_BESIDE,
            strict=strict,
        )
        findings += () if placing is None else site_lints(plan, placing)
        written = write_rendered(out, rendering.files)
        if json:
            print_json(_document(rendering, written, wishes, findings))
        else:
            print_problems(findings)
            _print(rendering, written, out)
        return Exit.OK

    run_verb(run, as_json=json)


def _keys(file: Path | None, state: Path | None) -> tuple[dict[str, str], ...]:
    if file is not None and state is not None:
        raise MeshwardError(codes.COMMAND_USAGE, "give --keys or --state, not both")
    if file is not None:
        return keys_of(file)
    return () if state is None else keys_of_state(state)


def _require_fit(wishes: Wishes) -> None:
    plain = Wishes(wishes.target, wishes.keys)
    if wishes.target != "istio" and wishes != plain:
        message = "--guard, --routes, --allow, --owned and --mesh-wide are of target istio"
        raise MeshwardError(codes.COMMAND_USAGE, message)


def _document(
    rendering: Rendering, written: Written, wishes: Wishes, findings: list[Problem]
) -> dict[str, object]:
    return {
        "ok": True,
        "exit": 0,
        "target": wishes.target,
        "policy": rendering.placed.plan.digest,
        "notes": list(rendering.notes),
        **report_json(rendering.report),
        "files": sorted(rendering.files),
        "changed": list(written.changed),
        "removed": list(written.removed),
        "problems": [problem.as_json() for problem in findings],
    }


def _print(rendering: Rendering, written: Written, out: Path) -> None:
    lines = [*report_lines(rendering.report), *rendering.notes]
    lines += [f"+ {path}" for path in written.changed]
    lines += [f"- {path}" for path in written.removed]
    total = f"{len(rendering.files)} file{'' if len(rendering.files) == 1 else 's'} in {out}"
    lines.append(f"{total}: {len(written.changed)} written, {len(written.same)} as they were.")
    stdout().print("\n".join(lines), markup=False)
