"""What a policy must keep beyond its schema: names that exist and are unique, parts that mean something."""

from __future__ import annotations

from meshward.kit.errors import Problem
from meshward.policy.positions import Positions
from meshward.policy.rules.access import check_access
from meshward.policy.rules.findings import MOST_PROBLEMS, Findings
from meshward.policy.rules.identities import check_identities
from meshward.policy.rules.issuers import check_issuers
from meshward.policy.rules.models import check_models
from meshward.policy.rules.references import check_references
from meshward.policy.rules.sharing import check_sharing
from meshward.policy.schema import Policy

__all__ = ["MOST_PROBLEMS", "check"]

_RULES = (check_references, check_issuers, check_identities, check_models, check_sharing, check_access)


def check(policy: Policy, positions: Positions) -> list[Problem]:
    """Every error and lint in `policy`. None of them depends on the time."""
    findings = Findings(positions)
    for rule in _RULES:
        rule(policy, findings)
    return findings.problems
