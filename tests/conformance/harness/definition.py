"""The definition as a harness: a caller's token is verified, and `decide` asked. Nothing runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import ClassVar

from meshward.callers.issuers import identity_of, trusted_issuer
from meshward.callers.revocations import Revoked
from meshward.decide.decide import Decider
from meshward.decide.types import Identity, Permit, Request
from meshward.kit.canonical import canonical_json
from meshward.kit.errors import Problem
from meshward.kit.reasons import Reason
from meshward.kit.secret import Secret
from meshward.oidc.jwk import parse_key_set
from meshward.oidc.keys import FixedKeys
from meshward.oidc.refusal import TokenRefused
from meshward.oidc.verify import Verifier
from meshward.plan.ir import Model, Plan
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from meshward.policy.values import Route
from meshward.spiffe.ids import SpiffeId
from meshward.testing.issuer import Issuer
from tests.conformance.format import Change, Client, Hop
from tests.conformance.harness import Answer, Features
from tests.conformance.harness.credentials import issuers_token, lines
from tests.conformance.suite import Asked

USUAL = ("Authorization", "Bearer {token}")


class Definition:
    """Who may what, by the plan alone: of a path only its exact spelling counts, of headers one bearer token."""

    name: ClassVar[str] = "decide"
    features: ClassVar[Features] = Features(
        able=frozenset({"client", "clock", "address", "certificates", "change", "revoke", "via", "agent"}),
        lacks={
            "inside": "`decide` judges who asks, not what a hop is shown",
            "limits": "`decide` counts and measures nothing",
        },
    )

    def refusals(self, _: Asked) -> Sequence[Problem]:
        return ()

    def run(self, asked: Asked) -> Sequence[Answer]:
        world, revoked, answers = World(asked.policy), Revoked(), []
        for step in asked.case.steps:
            if step.before is not None:
                revoked = revoked.joined(revoked_by(step.before))
                if step.before.policy is not None:
                    world = World(asked.policies[step.before.policy])
            assert isinstance(step.request, Client)
            answers.append(world.answer(step.request, revoked))
        return answers


class World:
    """A plan, and issuers in the place of those that it trusts."""

    def __init__(self, policy: Policy) -> None:
        self.plan = resolve(policy)
        self._decider = Decider(self.plan)
        self._issuers = {name: issuer_of(name, self.plan) for name in self.plan.issuers}

    def answer(self, request: Client, revoked: Revoked) -> Answer:
        now = instant(request)
        try:
            identity, token_id = self._identity(request, now)
        except TokenRefused as error:
            return Answer("deny", reason=error.reason, hop=_said_by(error.reason))
        if revoked.hits(identity, token_id, now):
            return Answer("deny", reason=Reason.REVOKED, hop="decision")
        if dict(request.headers).get("Host") not in (None, self.plan.edge.hostname):
            return Answer("deny", said="another host")
        named, known = _named(request), self.plan.models
        if named is None:
            return Answer("deny", said="the body names no model")
        name = self.plan.aliases.get(named, named) if request.model is None else named
        if name not in known:
            return Answer("deny", reason=Reason.MODEL_UNKNOWN, hop="decision")
        action = known[name].action_of(request.method, request.target.partition("?")[0])
        if action is None:
            return Answer("deny", said="no route is spelled so")
        if not _names_its_own(request, known[name]):
            return Answer("deny", said="the body names another model")
        return self._decide(identity, Request(name, action, now, self._source(request), request.via))

    def _decide(self, identity: Identity, request: Request) -> Answer:
        decision = self._decider.decide(identity, request)
        if isinstance(decision, Permit):
            return Answer("permit", grant=decision.pays, permission=decision.permission)
        return Answer("deny", reason=decision.reason, hop="decision", said=decision.sentence)

    def _source(self, request: Client) -> IPv4Address | IPv6Address:
        """The client's address; what a listed proxy says of it, where that is who asks."""
        source = ip_address(request.source or "127.0.0.1")
        told = dict(request.headers).get("X-Forwarded-For")
        listed = any(source in network for network in self.plan.edge.trusted_proxies)
        return ip_address(told.rpartition(",")[2].strip()) if told and listed else source

    def _identity(self, request: Client, now: int) -> tuple[Identity, object]:
        """Who asks, and by which token. Raises TokenRefused."""
        who = request.who
        bearers = [value for name, value in request.headers if name == "Authorization"]
        if who is not None and who.workload is not None:
            if bearers:
                raise TokenRefused(Reason.TWO_CREDENTIALS, "a certificate and a token")
            _require_its_own(request, self.plan, who.workload)
            return Identity(workload=who.workload), None
        issuer = self._issuers[who.issuer if who and who.issuer else next(iter(self._issuers))]
        sent = lines(request.token, issuers_token(request, issuer, now), USUAL)
        bearers += [value for name, value in sent if name == "Authorization"]
        if not bearers:
            raise TokenRefused(Reason.NO_CREDENTIALS, "no credentials")
        scheme, _, text = bearers[0].partition(" ")
        if len(bearers) > 1:
            raise TokenRefused(Reason.BAD_REQUEST, "two headers")
        if scheme != "Bearer":
            raise TokenRefused(Reason.NOT_BEARER, "no bearer token")
        trusted = [
            FixedKeys(
                trusted_issuer(self.plan.issuers[name]),
                parse_key_set(canonical_json({"keys": [each.jwk()]}).encode()),
            )
            for name, each in self._issuers.items()
        ]
        token = asyncio.run(Verifier(trusted, lambda: now).verify(Secret(text)))
        identity = identity_of(token, self.plan.issuers[token.issuer])
        actor = who.actor if who is not None else None
        return replace(identity, actors=(actor,) if actor is not None else ()), token.token_id


_made: dict[tuple[object, ...], Issuer] = {}


def issuer_of(name: str, plan: Plan) -> Issuer:
    """A stand-in, made once: keys are dear."""
    trusted = plan.issuers[name]
    key = (name, trusted.url, trusted.audiences, trusted.clients, trusted.groups, trusted.profile)
    return _made.setdefault(key, _made.get(key) or Issuer.of(trusted))


def instant(request: Client) -> int:
    """Seconds since the epoch."""
    if request.at is None:
        return int(time.time())
    return int(datetime.strptime(request.at, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp())


def _require_its_own(request: Client, plan: Plan, workload: str) -> None:
    """Raises TokenRefused where the certificate is none of ours with the SPIFFE ID of `workload`."""
    shown, whole = request.certificate, plan.workloads.get(workload, "")
    own = SpiffeId(plan.trust_domain, whole.removeprefix(f"spiffe://{plan.trust_domain}"))
    said = SpiffeId(plan.trust_domain, (shown.path or "{own}").replace("{own}", own.path))
    foreign = shown.authority != "ours" or shown.trust_domain not in (None, plan.trust_domain)
    if foreign or said.is_reserved:
        raise TokenRefused(Reason.CERTIFICATE_REFUSED, "the certificate is none of ours")
    if said != own:
        raise TokenRefused(Reason.WORKLOAD_UNKNOWN, "the certificate is no workload's here")


def _named(request: Client) -> str | None:
    """Which model is asked for, by the base URL or by the body."""
    if request.model is not None:
        return request.model
    found = request.body.get("model") if isinstance(request.body, dict) else None
    return found if isinstance(found, str) else None


def _names_its_own(request: Client, model: Model) -> bool:
    """Whether a body that is looked at for a model names this one."""
    route = Route(request.method, request.target.partition("?")[0])
    if not any(version.is_named_on(route) and version.upstream_model for version in model.versions):
        return True
    named = request.body.get("model") if isinstance(request.body, dict) else None
    return named in (model.name, *model.aliases)


def revoked_by(change: Change) -> Revoked:
    """Whom the change refuses."""
    tables = {kind: {name: None} for kind, name in change.revoke.items()}
    return Revoked(tables.get("subject", {}), tables.get("token", {}), tables.get("agent", {}))


def _said_by(reason: Reason) -> Hop:
    """Two tokens the edge refuses by itself."""
    return "edge" if reason is Reason.BAD_REQUEST else "decision"
