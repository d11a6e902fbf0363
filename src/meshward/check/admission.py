"""Whether a policy may run here at all: its own tests and laws, and nothing in it that would be ignored."""

from __future__ import annotations

from meshward.check.checking import check
from meshward.kit.errors import Exit, PolicyInvalid, Problem
from meshward.plan.enforced import not_yet_enforced
from meshward.policy.parse import Document


def admit(document: Document, now: int) -> list[Problem]:
    """The lints of a policy that may run; `now` is seconds since the epoch.

    Raises PolicyInvalid with every problem: exit 2 where the policy is wrong, 4 where it asks for what is not
    enforced here.
    """
    findings = check(document, now)
    if any(problem.severity == "error" for problem in findings):
        raise PolicyInvalid(findings)
    missing = not_yet_enforced(document.policy)
    if missing:
        last = Problem(
            "MW1000",
            f"the policy asks for what this release does not enforce ({len(missing)} findings above)",
            "Take them out to run it; `meshward check` and `explain` understand them all the same.",
        )
        refused = PolicyInvalid([*findings, *missing, last])
        refused.exit_code = Exit.UNSAFE
        raise refused
    return findings
