"""What harnesses of a mesh share: a case's policy on its site, who is who there, and the edge before it.

A client's request is decided by the definition, as the edge does; what it permits goes on to the last hop of each
version that may get it, from the edge, with the token that the edge would mint. Who is inside goes straight there.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args

from meshward.callers.revocations import Revoked
from meshward.kit import codes
from meshward.kit.errors import MeshwardError, PolicyInvalid, Problem
from meshward.plan.ir import Version
from meshward.plan.placement import MeshService, PlacedPlan
from meshward.plan.resolve import resolve
from meshward.policy.parse import Source
from meshward.policy.schema import Policy
from meshward.policy.site import SiteDocument, parse_site
from meshward.render.compose import place_for
from meshward.render.paths import site_paths, unreached
from meshward.render.report import describe_coverage
from meshward.render.wishes import Wishes
from meshward.tokens.keys import SigningKey, make_key
from tests.conformance.format import Ability, Client, Hop, Inside, Peer, Trait, TransactionToken
from tests.conformance.harness import Answer, Features
from tests.conformance.harness.credentials import Minting
from tests.conformance.harness.definition import World, instant, revoked_by
from tests.conformance.suite import Asked

ISTIO = Wishes(target="istio")
ABLE: frozenset[Ability] = frozenset(
    {"client", "inside", "clock", "address", "certificates", "change", "revoke", "via", "agent"}
)
SIDECAR_TRAITS: frozenset[Trait] = frozenset(get_args(Trait))
"""All of them."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What goes to a last hop. `at`: seconds since the epoch; None: now."""

    model: str
    version: str
    request: Inside
    at: int | None = None


class Sited(ABC):
    """`place` puts a plan in force, `send` asks a last hop of it."""

    name: ClassVar[str]
    features: ClassVar[Features]

    def __init__(self) -> None:
        self.key: SigningKey = make_key()
        self.following: SigningKey = make_key()
        self.placed: PlacedPlan | None = None

    @abstractmethod
    def put_in_force(self, placed: PlacedPlan) -> None: ...

    @abstractmethod
    def send(self, sent: Sent) -> Answer: ...

    def refusals(self, asked: Asked) -> Sequence[Problem]:
        """Also what is lost of what the case is about: it is told, and changes what comes of a request."""
        return [problem for policy in asked.policies.values() for problem in _refusals(policy, asked)]

    def run(self, asked: Asked) -> Sequence[Answer]:
        world, revoked, answers = self.begin(asked.policy, asked), Revoked(), []
        for step in asked.case.steps:
            if step.before is not None:
                revoked = revoked.joined(revoked_by(step.before))
                if step.before.policy is not None:
                    world = self.begin(asked.policies[step.before.policy], asked)
            answers.append(self._answer(step.request, world, revoked))
        return answers

    @property
    def minting(self) -> Minting:
        assert self.placed is not None
        plan = self.placed.plan
        return Minting(f"https://{plan.edge.hostname}", plan.trust_domain, self.placed.edge_id, self.key)

    def spiffe_id(self, peer: Peer, model: str) -> str:
        """Whom the peer says to be, by the site; `model`: whose last hop it calls."""
        assert self.placed is not None
        plan, whole = self.placed.plan, self.placed.edge_id
        if peer.workload is not None:
            whole = plan.workloads[peer.workload]
        if peer.model is not None:
            place = self.placed.places[peer.model, plan.models[peer.model].versions[0].name]
            assert isinstance(place, MeshService), model
            account = place.service_account or place.name
            whole = f"spiffe://{plan.trust_domain}/ns/{place.namespace}/sa/{account}"
        own = "/" + whole.removeprefix("spiffe://").partition("/")[2]
        shown = peer.certificate
        path = (shown.path or "{own}").replace("{own}", own)
        return f"spiffe://{shown.trust_domain or plan.trust_domain}{path}"

    def begin(self, policy: Policy, asked: Asked) -> World:
        """Put `policy` in force on the case's site; the definition's own world of it."""
        placed = place_for(resolve(policy), _site(asked), ISTIO)
        if placed != self.placed:
            self.placed = placed
            self.put_in_force(placed)
        return World(policy)

    def _answer(self, request: Client | Inside, world: World, revoked: Revoked) -> Answer:
        if isinstance(request, Inside):
            return self.send(Sent(request.model, self._versions(request.model)[0].name, request))
        decided = world.answer(request, revoked)
        if decided.decision == "deny" or decided.permission is None:
            return decided
        model, _, _ = decided.permission.rpartition(".")
        onward = Inside(
            model=model,
            method=request.method,
            target=request.target,
            token=TransactionToken(permission=decided.permission),
        )
        at = None if request.at is None else instant(request)
        answers = [
            self.send(Sent(model, version.name, onward, at))
            for version in self._versions(model)
            if version.weight > 0
        ]
        refused = next((each for each in answers if each.decision == "deny"), None)
        if refused is not None:
            hop: Hop = "guard"
            return Answer("deny", hop=hop, said=f"the edge permits it, the last hop: {refused.said}")
        return Answer("permit", grant=decided.grant, arrived=answers[0].arrived)

    def _versions(self, model: str) -> tuple[Version, ...]:
        assert self.placed is not None
        return self.placed.plan.models[model].versions


def _site(asked: Asked) -> SiteDocument | None:
    if asked.site is None:
        return None
    return parse_site(Source("site", json.dumps(asked.site).encode()))


def _refusals(policy: Policy, asked: Asked) -> Sequence[Problem]:
    try:
        placed = place_for(resolve(policy), _site(asked), ISTIO)
        report = describe_coverage(placed.plan, site_paths(placed), unreached(placed))
    except PolicyInvalid as error:
        return [problem for problem in error.problems if problem.code is not codes.NOT_COVERED]
    except MeshwardError as error:
        return [Problem(error.code, error.message, error.remedy)]
    return [
        Problem(loss.feature.code, loss.sentence, "")
        for loss in report.losses
        if loss.feature.title in asked.case.covers
    ]
