"""meshward check: parse, validate, lint, and run the policy's own tests."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

from meshward.apply.sources import read_policy, read_site
from meshward.check.checking import check
from meshward.check.site import find_widening, site_lints
from meshward.cli.options import Json, PolicyPath, SitePath
from meshward.cli.output import print_json, print_problems, run_verb, stdout
from meshward.kit.errors import PolicyInvalid
from meshward.kit.exits import Exit
from meshward.plan.resolve import resolve
from meshward.policy.rules import MOST_PROBLEMS


def command(policy: PolicyPath, /, *, site: SitePath = None, json: Json = False) -> None:
    """Parse and validate POLICY, run its tests and laws, and point out what can never have an effect.

    With --site: and prove that the site names what the policy has, and widens nothing.
    Exits 0 when all is good (lints do not count), 2 when it is not.
    """
    run_verb(lambda: _check(policy, site, json), as_json=json)


def _check(path: Path, site: Path | None, as_json: bool) -> Exit:
    document = read_policy(path)
    findings = check(document, int(time.time()))
    if site is not None:
        plan, placing = resolve(document.policy), read_site(site)
        findings += islice(find_widening(plan, placing), MOST_PROBLEMS)
        findings += site_lints(plan, placing)
    errors = [problem for problem in findings if problem.severity == "error"]
    if errors:
        raise PolicyInvalid(findings)
    policy = document.policy
    if as_json:
        print_json({"ok": True, "exit": 0, "problems": [problem.as_json() for problem in findings]})
        return Exit.OK
    print_problems(findings)
    stdout().print(
        f"{path}: good. {_count(policy.models, 'model')}, {_count(policy.roles, 'role')}, "
        f"{_count(policy.grants, 'grant')}, {_count(policy.tests, 'test')} passed."
    )
    if site is not None:
        stdout().print(f"{site}: widens nothing.")
    return Exit.OK


def _count(things: object, word: str) -> str:
    number = len(things)  # type: ignore[arg-type]
    return f"{number} {word}{'' if number == 1 else 's'}"
