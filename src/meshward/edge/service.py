"""The decision service: a raw ASGI application that nginx asks, by unix socket, where it has no answer kept.

It reads the X-Mw-* headers that nginx set, from the raw scope, and nothing else of the request. A permit
carries everything that nginx needs; every other answer refuses; an exception is a 500, which nginx answers
with 503.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote

import structlog

from meshward.callers.issuers import identity_of
from meshward.callers.trust import Trust
from meshward.callers.workloads import CertificateRefused
from meshward.decide import reasons
from meshward.decide.between import decide_between
from meshward.decide.types import Denial, Identity, Permit, Request
from meshward.edge import answers
from meshward.edge.answers import Caller
from meshward.edge.decision_state import DecisionState, Served
from meshward.edge.heartbeat import Heartbeat
from meshward.edge.metadata import document
from meshward.edge.replies import Encoded, Fault, Headers, Permitted, Refused, Reply, encode
from meshward.edge.whoami import WhoAmI, document_response, refusal_response
from meshward.kit.canonical import canonical_json
from meshward.kit.clock import system_clock
from meshward.kit.errors import MeshwardError
from meshward.kit.log import fault_of
from meshward.kit.names import LONGEST_SAID
from meshward.kit.reasons import Reason
from meshward.kit.secret import Secret
from meshward.kit.wellknown import WHOAMI
from meshward.oidc.refusal import KeysUnavailable, TokenRefused
from meshward.policy.values import Route
from meshward.targets.nginx.wire import PREFIX, Header
from meshward.tokens.txn import Transaction

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MOST_CALLERS = 2000
"""Who asked last: so many are known by name before there is a record of their first request."""
_JSON = (b"content-type", b"application/json")

log = structlog.get_logger("meshward.edge")


class FaultyQuestion(Exception):
    """The edge asked in a way that it never does: somebody else is asking, or the edge is broken."""


@dataclass(frozen=True, slots=True)
class Question:
    """What nginx asks. `path` is below the model's base; `model` is spelled as the client did. By the front `v1` it is
    asked first without one: who is this?

    `verdict` is nginx's on the client certificate: `NONE`, `SUCCESS`, or what is wrong with it.
    """

    authorization: Secret | None
    verdict: str
    certificate: str
    method: str
    model: str
    path: str
    front: str
    address: str


class DecisionService:
    """The application. A request uses the `state` and `trust` that it began with."""

    def __init__(self, state: DecisionState, trust: Trust, heartbeat: Heartbeat) -> None:
        self.state = state
        self.trust = trust
        self.refused: MeshwardError | None = None  # why the last reload was not adopted
        self.reloads = 0  # attempts since the start, adopted or not: tells a new refusal from an old one
        self._heartbeat = heartbeat
        self._whoami = WhoAmI()
        self._callers: dict[str, None] = {}  # the last ones, whoever asked last behind the others

    def adopt(self, state: DecisionState, trust: Trust) -> None:
        """Decide by `state` and `trust` from the next request on."""
        self.state, self.trust, self.refused = state, trust, None
        self.reloads += 1

    def refuse(self, error: MeshwardError) -> None:
        """Go on as before: what was to be adopted cannot be."""
        self.refused = error
        self.reloads += 1

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """ASGI. Bodies are never read: nginx sends none."""
        if scope["type"] != "http":
            raise RuntimeError("only http is served")
        path = scope["path"]
        if path == "/decide" and scope["method"] == "GET":
            await _send(send, *await self.answer(scope["headers"]))
        elif path == WHOAMI and scope["method"] == "GET":
            await _send(send, *await self.whoami(scope["headers"]))
        elif path == "/callers":
            await _send(send, 200, [_JSON], canonical_json(list(reversed(self._callers))).encode())
        elif path == "/healthz":
            await _send(send, 200, [_JSON], self._health())
        elif (metadata := document(path, self.state)) is not None:
            await _send(send, 200, [_JSON, (b"cache-control", b"max-age=60")], metadata)
        else:
            await _send(send, 404, [])

    async def answer(self, headers: Headers) -> Encoded:
        """The decision about the request that `headers` describe. Never raises."""
        try:
            return encode(await self.decide(read_question(headers)))
        except Exception as error:
            return encode(_faulty(error))

    async def whoami(self, headers: Headers) -> tuple[int, Headers, bytes]:
        """Who the bearer is to this edge; a whole answer, for nginx to pass on. Never raises."""
        state, trust = self.state, self.trust
        request_id = dict(headers).get(Header.RID.raw, b"").decode("ascii", "replace")
        try:
            question = read_question(headers)
            bearer = bearer_of(question.authorization)
            return document_response(await self._whoami.answer(bearer, question.address, state, trust))
        except (NoBearer, TokenRefused) as refusal:
            return refusal_response(_unauthenticated_reply(refusal, trust, state.live.origin), request_id)
        except Exception as error:
            return refusal_response(_faulty(error), request_id)

    async def decide(self, question: Question) -> Reply:
        """1 can it be recorded, 2 who asks, 3 for which model and action, 4 may they, 5 the token."""
        state, trust = self.state, self.trust
        if state.plan.audit.on_blind == "block" and self._heartbeat.is_blind(state.plan.audit.max_blind):
            return answers.blind_reply()
        resource = answers.resource_of(state.live.origin, question.front, question.model)
        try:
            caller = await _caller(question, state, trust)
        except (NoBearer, TokenRefused, CertificateRefused) as refusal:
            return _unauthenticated_reply(refusal, trust, resource)
        self._remember(caller.identity.name)
        return _decide_request(caller, question, state, resource)

    def _remember(self, name: str) -> None:
        self._callers.pop(name, None)
        self._callers[name] = None
        if len(self._callers) > MOST_CALLERS:
            del self._callers[next(iter(self._callers))]

    def _health(self) -> bytes:
        """For the supervisor and `doctor`: which revision decides, and whether issuers' keys are there."""
        status = {
            "revision": self.state.live.revision,
            "policy": self.state.plan.digest,
            "until": self.state.live.until,
            "ejected": list(self.state.live.ejected),
            "elsewhere": dict(self.state.live.elsewhere),
            "revoked": self.state.revoked.digest,
            "reloads": self.reloads,
            "signs": self.state.minter.kid,
            "keys": self.trust.ages(),
            "reload": None if self.refused is None else self.refused.message,
        }
        return canonical_json(status).encode()


class NoBearer(Exception):
    """There is no bearer token to verify."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sentence = sentence


def read_question(headers: Headers) -> Question:
    """The X-Mw-* headers, each at most once. Raises FaultyQuestion."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name.startswith(PREFIX):
            if name in found:
                raise FaultyQuestion("a header came twice")
            found[name] = value
    try:
        text = {name: value.decode("ascii") for name, value in found.items()}
        authorization = text.get(Header.AUTHORIZATION.raw)
        question = Question(
            authorization=Secret(authorization) if authorization else None,
            verdict=text.get(Header.VERIFY.raw, "NONE"),
            certificate=unquote(text.get(Header.CERTIFICATE.raw, ""), errors="strict"),
            method=text[Header.METHOD.raw],
            model=unquote(text.get(Header.MODEL.raw, ""), errors="strict"),
            path=text[Header.PATH.raw],
            front=text[Header.FRONT.raw],
            address=text[Header.ADDR.raw],
        )
    except (KeyError, ValueError):
        raise FaultyQuestion("a header is missing or not ASCII") from None
    if question.front not in ("m", "v1") or not question.path.startswith("/"):
        raise FaultyQuestion("no front or no path")
    return question


def bearer_of(authorization: Secret | None) -> Secret:
    """Step 0 of verification: the token of `Authorization: Bearer` (RFC 6750, 2.1). Raises NoBearer."""
    if authorization is None:
        raise NoBearer(Reason.NO_CREDENTIALS, "No credentials were sent.")
    scheme, space, token = authorization.reveal().partition(" ")
    if scheme.lower() != "bearer" or not space:
        raise NoBearer(Reason.NOT_BEARER, "Only bearer tokens are accepted.")
    return Secret(token)


def _require_one(question: Question) -> None:
    """Two credentials name two callers, and nobody says which is meant. Raises CertificateRefused."""
    if question.authorization is not None and (question.verdict != "NONE" or question.certificate):
        raise CertificateRefused(
            Reason.TWO_CREDENTIALS,
            "A client certificate and an Authorization header were sent. Send one of them.",
        )


async def _caller(question: Question, state: DecisionState, trust: Trust) -> Caller:
    """Step 2. Raises NoBearer, TokenRefused, CertificateRefused, KeysUnavailable."""
    _require_one(question)
    if question.verdict != "NONE" or question.certificate:
        workload = state.workloads.verify(question.verdict, question.certificate, system_clock())
        return Caller(Identity(workload=workload.name), workload, state.live.revision)
    token = await trust.verifier.verify(bearer_of(question.authorization))
    return Caller(identity_of(token, state.plan.issuers[token.issuer]), token, state.live.revision)


def _unauthenticated_reply(
    refusal: NoBearer | TokenRefused | CertificateRefused, trust: Trust, resource: str
) -> Refused:
    if not isinstance(refusal, NoBearer):
        return answers.unauthenticated_reply(refusal.reason, refusal.sentence, resource, error=True)
    hint = f"{refusal.sentence} Send Authorization: Bearer and a token from {trust.expected}"
    return answers.unauthenticated_reply(refusal.reason, hint, resource, error=False)


def _faulty(error: Exception) -> Fault:
    """What nobody could decide. Keys that are not there were told of by whoever tried to fetch them."""
    if isinstance(error, FaultyQuestion):
        log.error("faulty question", why=str(error))
        return Fault(500, Reason.FAULTY_QUESTION)
    if isinstance(error, KeysUnavailable):
        return answers.keys_unavailable_reply()
    log.error("fault", **fault_of(error))
    return Fault(500, Reason.DECISION_FAULT)


def _decide_request(caller: Caller, question: Question, state: DecisionState, resource: str) -> Reply:
    """Steps 3 to 5, for a verified identity: which model and action, may they, the token."""
    now = system_clock()
    if state.revoked.hits(caller.identity, caller.token.token_id, now):
        return answers.revoked_reply(caller, resource, now)
    if question.front == "v1" and not question.model:
        return answers.unnamed_reply(caller, now)
    name = _model_name(state, question)
    if name is None:
        unknown = reasons.MODEL_UNKNOWN
        return answers.not_found_reply(caller, unknown.reason, unknown.sentence, unknown.remedy, now)
    served = state.served[name].get((question.method, question.path))
    if served is None:
        what, remedy = f"the model {name} has no such route", "look at the method and path"
        return answers.not_found_reply(caller, Reason.ROUTE_UNKNOWN, what, remedy, now, model=name)
    request = _request(name, served, question, int(now))
    decision = state.decider.decide(caller.identity, request)
    if isinstance(decision, Permit) and state.next is not None:
        route = Route(question.method, question.path)
        decision = decide_between(decision, state.decider, state.next, caller.identity, request, route)
    if isinstance(decision, Denial):
        if decision.reason is Reason.FAULT:
            log.error("decision fault", model=name, action=served.action)
            return Fault(500, Reason.DECISION_FAULT)
        return answers.denial_reply(caller, decision, name, served.action, resource, now)
    return _permit(caller, decision, name, served, state, now)


def _model_name(state: DecisionState, question: Question) -> str | None:
    """A model's name; by /v1 also its aliases, which a path could not spell."""
    if len(question.model) > LONGEST_SAID:
        return None
    name = (
        state.plan.aliases.get(question.model, question.model) if question.front == "v1" else question.model
    )
    return name if name in state.plan.models else None


def _permit(
    caller: Caller, permit: Permit, name: str, served: Served, state: DecisionState, now: float
) -> Permitted:
    """Step 5: the Transaction Token, and with it everything that nginx needs."""
    transaction = Transaction(
        subject=caller.identity.name,
        permission=permit.permission,
        model=name,
        action=served.action,
        grant=permit.pays,
        revision=state.live.revision,
        roles=answers.shown_roles(permit.roles),
        proof=caller.token.proof,
        client=caller.token.client,
        expires_at=caller.token.expires_at,
        actors=caller.identity.actors,
    )
    minted = state.minter.mint(transaction, now)
    return answers.permit_reply(caller, permit, minted, served, state.plan.models[name], now)


def _request(model: str, served: Served, question: Question, at: int) -> Request:
    try:
        source = ip_address(question.address)
    except ValueError:
        raise FaultyQuestion("the address is none") from None
    return Request(model=model, action=served.action, at=at, source=source)


async def _send(send: Send, status: int, headers: Headers, body: bytes = b"") -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
