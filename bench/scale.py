"""A thousand models and grants, fifty roles: how long compiling and planning take, what a decision costs then."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.stack import policies

from bench.figures import Verdict, middle, ratio
from bench.report import say
from meshward.apply.local_paths import LOCAL
from meshward.apply.slots import SLOTS
from meshward.check.admission import admit
from meshward.compare.change import compare
from meshward.decide.decide import Decider
from meshward.decide.types import Identity, Permit, Request
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.parse import Source, parse
from meshward.targets.envoy.files import changing_digests
from meshward.targets.envoy.listener import GuardSettings
from meshward.targets.envoy.projection import GuardPart, guard_view
from meshward.tokens.keys import make_key
from meshward.tokens.txn import Transaction, TransactionTokenMinter

MODELS, GRANTS, ROLES = 1000, 1000, 50
FEW = 3
DECISIONS = 1000  # of a round
NOW = 1_790_000_000


def scale(directory: Path, rounds: int) -> list[Verdict]:
    """Compiling and planning in seconds; a decision's CPU time and a token's size against those with few models."""
    jwks = directory / "jwks.json"
    texts = [json.dumps(policy(MODELS, GRANTS, ROLES, jwks, extra)).encode() for extra in (False, True)]
    old = resolve(parse([Source("old", texts[0])]).policy)
    took = []
    for number in range(rounds):
        began = time.monotonic()
        plan = _planned(old, texts[1])
        took.append(time.monotonic() - began)
        say(f"scale {number + 1}/{rounds}: {took[-1]:.2f} s")
    few = resolve(parse([Source("few", json.dumps(policy(FEW, FEW, FEW, jwks, False)).encode())]).policy)
    asks = [_asking(plan), _asking(few)]
    costs: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for ask, cost in zip(asks, costs, strict=True):
            cost.append(_cpu(ask))
    sizes = [ask() for ask in asks]
    return [
        Verdict(f"{MODELS:,} models x {GRANTS:,} grants x {ROLES} roles compiled and planned", middle(took), 3, "s"),
        Verdict(f"a decision and its token's minting there / with {FEW} models, CPU", ratio(*costs), 1.2, "x"),
        Verdict(f"a Transaction Token's size there / with {FEW} models", sizes[0] / sizes[1], 1.05, "x"),
    ]  # fmt: skip


def policy(models: int, grants: int, roles: int, jwks: Path, extra: bool) -> dict[str, Any]:
    """Each grant gives one role a tenth of the models by label, or a model by name; `extra` changes one grant."""
    named = {
        f"model-{n:04d}": {
            "labels": {"part": f"p{n % 10}"},
            "versions": {"v1": {"server": "tei", "url": f"unix:/run/models/{n:04d}.sock"}},
        }
        for n in range(models)
    }
    members = {f"role-{n:02d}": [{"issuer": "test", "group": f"group-{n:02d}"}] for n in range(roles)}
    rules = [
        {
            "id": f"grant-{n:04d}",
            "roles": [f"role-{n % roles:02d}"],
            "models": {"labels": {"part": f"p{n % 10}"}} if n % 5 == 0 else [f"model-{n % models:04d}"],
            "actions": ["infer", "describe"],
            "limits": {"requests": "600/min"},
        }
        for n in range(grants)
    ]
    if extra:
        rules[-1]["actions"] = ["infer", "observe"]
    return policies.base(jwks, 8443) | {"models": named, "roles": members, "grants": rules}


def _planned(old: Plan, text: bytes) -> Plan:
    """What `plan` and `apply` do before any process is asked."""
    document = parse([Source("new", text)])
    admit(document, NOW, LOCAL)
    plan = resolve(document.policy)
    compare(old, plan)
    settings = GuardSettings("/run/guard")
    keys = [make_key().public_jwk()]
    for model in list(plan.models.values())[:SLOTS]:  # as many as one machine runs
        for version in model.versions:
            changing_digests(guard_view(plan, GuardPart(model.name, version.name)), settings, keys)
    return plan


def _asking(plan: Plan) -> Callable[[], int]:
    """One request decided and its token minted; returns the token's size in bytes."""
    minter = TransactionTokenMinter(
        make_key(), issuer="https://models.test", audience="models.test", workload="spiffe://models.test/edge"
    )
    decider = Decider(plan)
    identity = Identity(issuer="test", subject="alice", groups=("group-01",))
    request = Request(model=f"model-{1:04d}", action="infer", at=NOW)

    def ask() -> int:
        permit = decider.decide(identity, request)
        assert isinstance(permit, Permit), permit
        transaction = Transaction(
            subject=identity.name, permission=permit.permission, model=request.model, action=request.action,
            grant=permit.pays, revision=7, roles=permit.roles, proof={"ath": "a" * 43}, client=None,
            expires_at=NOW + 600,
        )  # fmt: skip
        return len(minter.mint(transaction, NOW).token.reveal())

    ask()
    return ask


def _cpu(ask: Callable[[], int]) -> float:
    began = time.process_time()
    for _ in range(DECISIONS):
        ask()
    return (time.process_time() - began) / DECISIONS
