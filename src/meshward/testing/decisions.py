"""What a policy says, asked in a test: the definition itself, with nothing that runs.

policy = Decisions("policy.yaml")
scientist = {"issuer": "okta", "groups": ["data-science"]}
assert policy.permits(scientist, "minilm", "infer")
assert policy.decide({"issuer": "okta"}, "minilm", "infer").reason == "identity_without_role"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshward.check.promises import run_test
from meshward.decide.decide import Decider
from meshward.decide.types import Decision, Permit
from meshward.plan.resolve import resolve
from meshward.policy.schema import Action, Test
from meshward.testing.given import Given, policy_of


class Decisions:
    """Answers as the policy's own `tests:` are answered. Raises MeshwardError for a policy that is wrong."""

    def __init__(self, policy: Given) -> None:
        self._decider = Decider(resolve(policy_of(policy)))

    def decide(
        self,
        who: Mapping[str, Any],
        model: str,
        action: Action,
        *,
        at: str | None = None,
        source: str | None = None,
        via: str | None = None,
    ) -> Decision:
        """A Permit with the grants that hold, or a Denial that says what is missing.

        `who` is an `as:` of a policy's tests; `at` (UTC, like '2026-11-23 10:00'), `source` (an address) and `via`
        are their `at`, `from` and `via`.
        """
        asked = {"as": who, "model": model, "action": action, "at": at, "from": source, "via": via}
        test = Test.model_validate({**asked, "expect": "permit"}, by_alias=True, by_name=False)
        return run_test(self._decider, test)

    def permits(self, who: Mapping[str, Any], model: str, action: Action, **more: str) -> bool:
        """Whether `decide` comes to a Permit."""
        return isinstance(self.decide(who, model, action, **more), Permit)
