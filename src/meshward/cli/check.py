"""meshward check: parse, validate, lint, and run the policy's own tests."""

from __future__ import annotations

import time

from meshward.apply.sources import read_policy
from meshward.check.checking import check
from meshward.cli.options import Json, PolicyPath
from meshward.cli.output import print_json, print_problems, run_verb, stdout
from meshward.kit.errors import PolicyInvalid
from meshward.kit.exits import Exit


def command(policy: PolicyPath, /, *, json: Json = False) -> None:
    """Parse and validate POLICY, run its tests and laws, and point out what can never have an effect.

    Exits 0 when the policy is good (lints do not count), 2 when it is not.
    """
    run_verb(lambda: _check(policy, json), as_json=json)


def _check(path: PolicyPath, as_json: bool) -> Exit:
    document = read_policy(path)
    findings = check(document, int(time.time()))
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
    return Exit.OK


def _count(things: object, word: str) -> str:
    number = len(things)  # type: ignore[arg-type]
    return f"{number} {word}{'' if number == 1 else 's'}"
