"""Nobody who was revoked gets past a guard: no subject, and no agent wherever it stands in an actor chain."""

from __future__ import annotations

from typing import Any

from guard_harness import running
from guard_pki import claims

from meshward.policy.schema import Agent
from meshward.targets.envoy.tokens import LONGEST_CHAIN

AGENTS = "spiffe://td.test/agent"


def chain(*names: str) -> dict[str, Any]:
    act: dict[str, Any] = {}
    for name in reversed(names):
        act = {"act": {"sub": f"{AGENTS}/{name}"} | act}
    return act


def test_a_revoked_agent_is_refused_at_every_depth() -> None:
    with running(agents=True) as guard:
        others = [f"a{depth}" for depth in range(LONGEST_CHAIN)]

        def asked(*names: str) -> int:
            return guard.ask(token=guard.signer.sign(claims() | chain(*names))).status

        assert asked("bad") == 200, "before it was revoked"
        guard.apply(guard.render(revoked_agents=(f"{AGENTS}/worse", f"{AGENTS}/bad")))
        for depth in range(LONGEST_CHAIN):
            assert asked(*others[:depth], "bad", *others[depth + 1 :]) == 403, depth
            assert asked(*others[:depth], "bad") == 403, depth
        assert asked(*others) == 200 and asked("badder") == 200 and asked() == 200
        assert guard.ask(token=guard.signer.sign(claims() | {"sub": f"{AGENTS}/bad:x"})).status == 200
        assert asked(*others, "one-more") == 403, "further than a guard looks"
        guard.apply(guard.render())
        assert asked("bad") == 200


def test_a_guard_looks_as_far_as_the_policy_lets_chains_grow() -> None:
    bounds = [each for each in Agent.model_fields["max_depth"].metadata if hasattr(each, "le")]
    assert [each.le for each in bounds] == [LONGEST_CHAIN]
