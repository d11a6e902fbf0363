"""meshward plan: what a policy would change, before anything does."""

from __future__ import annotations

import time
from dataclasses import asdict

from meshward.apply.accept import accept
from meshward.apply.footprint import Footprint, footprint
from meshward.apply.revisions import Revisions
from meshward.apply.sources import read_policy
from meshward.cli.options import DEFAULT_STATE, Json, PolicyPath, State
from meshward.cli.output import guarded, print_json, print_problems, stdout
from meshward.kit.errors import Exit
from meshward.plan.change import Change, compare
from meshward.plan.resolve import resolve
from meshward.runtime import directories


def command(policy: PolicyPath, /, *, state: State = DEFAULT_STATE, json: Json = False) -> None:
    """Show what POLICY would change against the revision that runs, or ran last: who gains, who loses, which files.

    Changes nothing. Exits 0; 2 for an invalid policy, 4 for one that asks for what is not enforced here.
    """

    def run() -> Exit:
        document = read_policy(policy)
        findings = accept(document, int(time.time()))
        revisions = Revisions(state)
        base = revisions.current()
        old = resolve(revisions.policy(base.number)) if base else None
        new = resolve(document.policy)
        change = compare(old, new)
        traces = footprint(old, new, directories.State(state))
        if json:
            print_json(_document(base.number if base else 0, change, traces))
            return Exit.OK
        print_problems(findings)
        against = f"revision {base.number}" if base else "nothing: no revision was accepted here yet"
        lines = [f"Against {against}:", *change.lines(), *traces.lines(), f"plan {change.digest}"]
        stdout().print("\n".join(lines), markup=False)
        return Exit.OK

    guarded(run, as_json=json)


def _document(base: int, change: Change, traces: Footprint) -> dict[str, object]:
    return {"ok": True, "base": base, "plan": change.digest, "change": asdict(change), "hops": asdict(traces)}
