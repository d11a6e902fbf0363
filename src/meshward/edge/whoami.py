"""GET /.well-known/meshward/whoami: who the bearer of a token is to this edge, for a person to read.

Asking may cost a decision per model and action, so it yields to real decisions between a few of them, and
one is answered at a time; the edge limits how often an address may ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

from meshward.callers.issuers import identity_of
from meshward.callers.trust import Trust
from meshward.decide.types import Identity, Permit, Request
from meshward.edge.decision_state import DecisionState
from meshward.edge.replies import Fault, Headers, Refused
from meshward.kit.canonical import canonical_json
from meshward.kit.clock import Clock, system_clock
from meshward.kit.secret import Secret
from meshward.oidc.verify import VerifiedToken
from meshward.policy.schema import Action
from meshward.targets.nginx.wire import rate_text

_BREATH = 50  # decisions between two yields: a few milliseconds
_PRIVATE = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_FAULT = "Nobody could tell just now. Try again."


class WhoAmI:
    """Answers one question at a time."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()

    async def answer(self, bearer: Secret, address: str, state: DecisionState, trust: Trust) -> bytes:
        """The JSON document. Raises TokenRefused, KeysUnavailable, and ValueError for an address that is none."""
        token = await trust.verifier.verify(bearer)
        source = ip_address(address)
        identity = identity_of(token, state.plan.issuers[token.issuer])
        async with self._turn:
            at = int(self._clock())
            permits: list[Permit] = []
            async for model, action in _each_action(state):
                decision = state.decider.decide(identity, Request(model, action, at, source))
                if isinstance(decision, Permit):
                    permits.append(decision)
        return canonical_json(_describe_caller(identity, token, permits, at, state)).encode()


async def _each_action(state: DecisionState) -> AsyncIterator[tuple[str, Action]]:
    """Each model with each action that one of its routes means."""
    count = 0
    for model, routes in state.served.items():
        for action in sorted({served.action for served in routes.values()}):
            count += 1
            if count % _BREATH == 0:
                await asyncio.sleep(0)
            yield model, action


def _describe_caller(
    identity: Identity, token: VerifiedToken, permits: list[Permit], at: int, state: DecisionState
) -> dict[str, Any]:
    revoked = state.revoked.hits(identity, token.token_id, at)
    return {
        "identity": identity.name,
        "issuer": state.plan.issuers[token.issuer].url,
        "subject": identity.subject,
        "client": token.client,
        "groups": list(identity.groups),
        "attributes": dict(identity.attributes),
        "roles": sorted(state.decider.roles(identity, at)),
        "permissions": [] if revoked else [_permission(permit) for permit in permits],
        "revoked": revoked,
        "expires_at": token.expires_at,
        "revision": state.live.revision,
    }


def _permission(permit: Permit) -> dict[str, Any]:
    model, _, action = permit.permission.rpartition(".")
    return {
        "model": model,
        "action": action,
        "grant": permit.pays,
        "limit": rate_text(permit.limits.requests if permit.limits else None) or None,
        "holds_until": permit.holds_until,
    }


def document_response(document: bytes) -> tuple[int, Headers, bytes]:
    """`document` as an answer that a client gets."""
    return 200, _PRIVATE, document


def refusal_response(reply: Refused | Fault, request_id: str) -> tuple[int, Headers, bytes]:
    """`reply` as nginx tells it to clients: this answer passes as it is."""
    message = reply.message or _FAULT
    body = {"error": message, "error_type": reply.reason, "request_id": request_id, "layer": "edge"}
    headers = [*_PRIVATE, (b"x-error-message", message.encode())]
    if isinstance(reply, Refused) and reply.challenge:
        headers.append((b"www-authenticate", reply.challenge.encode()))
    status = reply.status if isinstance(reply, Refused) else 503
    if status in (429, 503):
        headers.append((b"retry-after", b"1"))
    return status, headers, canonical_json(body).encode()
