"""Whether a policy may run here at all: its own tests and laws, and nothing in it that would be ignored."""

from __future__ import annotations

from collections.abc import Sequence

from meshward.check.checking import check
from meshward.kit import codes
from meshward.kit.errors import PolicyInvalid, Problem
from meshward.kit.exits import Exit
from meshward.plan.coverage import Path, find_unenforced
from meshward.plan.requirements import requirements
from meshward.policy.parse import Document
from meshward.policy.schema import Policy


def admit(document: Document, now: int, paths: Sequence[Path]) -> list[Problem]:
    """The lints of a policy that may run on `paths`; `now` is seconds since the epoch.

    Raises PolicyInvalid with every problem: exit 2 where the policy is wrong, 4 where it asks for what is not
    enforced there.
    """
    findings = check(document, now)
    if any(problem.severity == "error" for problem in findings):
        raise PolicyInvalid(findings)
    require_enforced(document.policy, paths, findings)
    return findings


def require_enforced(policy: Policy, paths: Sequence[Path], findings: Sequence[Problem] = ()) -> None:
    """Prove that `paths` enforce all that `policy` asks for, before anything is made of it.

    Raises PolicyInvalid (exit 4) with each gap, after `findings`.
    """
    missing = find_unenforced(requirements(policy), paths)
    if not missing:
        return
    last = Problem(
        codes.NOT_ENFORCED,
        f"the policy asks for what this release does not enforce ({len(missing)} findings above)",
        codes.NOT_ENFORCED.remedy,
    )
    raise PolicyInvalid([*findings, *missing, last], Exit.UNSAFE)
