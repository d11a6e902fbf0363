"""What each key of the policy's format asks of a path: which features, and by which of its values.

Nothing is ever ignored: every key of the format stands in `KEYS`, and one that does not asks for what nobody enforces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from meshward.plan.features import ALWAYS, Feature, Requires
from meshward.policy.schema import Audit, Policy
from meshward.policy.values import Rate

_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Need:
    """`feature` is asked for by those values of a key that `asked` says so of."""

    feature: Feature
    asked: Callable[[object], bool] = bool


@dataclass(frozen=True, slots=True)
class Checked:
    """Of keys that are for `check` and for people: they, and all below them, change nothing at run time."""


def _other_than(*accepted: object) -> Callable[[object], bool]:
    return lambda value: value not in accepted


def _is(accepted: object) -> Callable[[object], bool]:
    return lambda value: value == accepted


def _is_given(value: object) -> bool:
    return value is not None


def _slow(rate: object) -> bool:
    return isinstance(rate, Rate) and rate.seconds > _MINUTE


def _fast(rate: object) -> bool:
    return _is_given(rate) and not _slow(rate)


def _behind_https(value: object) -> bool:
    return any(str(url).startswith("https:") for url in (value if isinstance(value, list) else [value]))


def _not_default(name: str) -> Callable[[object], bool]:
    return _other_than(Audit.model_fields[name].get_default(call_default_factory=True))


Row = tuple[Need, ...] | Checked
_PART: Row = ()  # belongs to what a key above or beside it asks for: asks for nothing by itself
_CHECKED: Row = Checked()


def _always(*features: Feature) -> Row:
    return tuple(Need(feature, _is_given) for feature in features)


def _where(feature: Feature, asked: Callable[[object], bool] = bool) -> Row:
    return (Need(feature, asked),)


_CAPTURE: Row = (
    Need(Feature.BODY_DIGESTS, _is("digest")),
    Need(Feature.CAPTURE, _other_than(None, "digest")),
)
_HTTPS: Row = _where(Feature.HTTPS_UPSTREAM, _behind_https)
_SHADOW: Row = _where(Feature.SHADOW, _other_than("enforce"))

KEYS: dict[str, Row] = {
    "Policy.version": _PART,
    "Policy.trust_domain": _PART,
    "Policy.edge": _PART,
    "Policy.issuers": _where(Feature.IDENTITY),
    "Policy.workloads": _where(Feature.WORKLOADS),
    "Policy.roles": _where(Feature.ROLES),
    "Policy.operators": _PART,
    "Policy.credentials": _where(Feature.SERVER_CREDENTIAL),
    "Policy.servers": _PART,
    "Policy.models": _PART,
    "Policy.grants": _where(Feature.ROLES),
    "Policy.denies": _where(Feature.DENIES),
    "Policy.never": _CHECKED,
    "Policy.agents": _where(Feature.AGENTS),
    "Policy.audit": _PART,
    "Policy.tests": _CHECKED,
    "Edge.listen": _always(Feature.LISTENER),
    "Edge.hostname": _always(Feature.LISTENER),
    "Edge.certificate": _always(Feature.EDGE_CERTIFICATE),
    "Edge.trusted_proxies": _where(Feature.TRUSTED_PROXIES),
    "Certificate.from": _PART,
    "Certificate.path": _PART,
    "Issuer.profile": _PART,
    "Issuer.issuer": _PART,
    "Issuer.audience": _PART,
    "Issuer.groups": _PART,
    "Issuer.login": _CHECKED,
    "Issuer.attributes": _PART,
    "Issuer.jwks": _PART,
    "Issuer.region": _PART,
    "Issuer.user_pool": _PART,
    "Issuer.clients": _PART,
    "Jwks.url": _PART,
    "Jwks.file": _PART,
    "Jwks.max_stale": _PART,
    "Jwks.allow": _PART,
    "Workload.id": _PART,
    "Member.issuer": _where(Feature.IDENTITY),
    "Member.group": _PART,
    "Member.claims": _PART,
    "Member.subject": _PART,
    "Member.workload": _where(Feature.WORKLOADS),
    "Member.until": _where(Feature.EXPIRY),
    "Operators.apply": _where(Feature.OPERATORS),
    "Operators.traffic": _where(Feature.OPERATORS),
    "Operators.audit": _where(Feature.OPERATORS_AUDIT),
    "Operators.open": _where(Feature.OPERATORS_OPEN),
    "Operators.erase": _where(Feature.OPERATORS_ERASE),
    "Credential.from": _PART,
    "Credential.name": _PART,
    "Credential.path": _PART,
    "Credential.command": _PART,
    "Server.infer": _where(Feature.ROUTES),
    "Server.describe": _where(Feature.ROUTES),
    "Server.observe": _where(Feature.ROUTES),
    "Server.manage": _where(Feature.ROUTES),
    "Server.health": _where(Feature.HEALTH),
    "Server.body_model": _PART,
    "Version.server": (
        Need(Feature.ROUTES),
        Need(Feature.HEALTH),
        Need(Feature.HOSTED_ENDPOINT, _is("inference-endpoint")),
    ),
    "Version.url": _HTTPS,
    "Version.replicas": (Need(Feature.REPLICAS), Need(Feature.HTTPS_UPSTREAM, _behind_https)),
    "Version.credential": _where(Feature.SERVER_CREDENTIAL),
    "Version.pass": _where(Feature.PASSED_SUBJECT),
    "Version.model": _where(Feature.BODY_MODEL, _is_given),
    "Model.task": _CHECKED,
    "Model.labels": _PART,
    "Model.aliases": _where(Feature.BODY_ROUTING),
    "Model.versions": _always(Feature.WEIGHTS),
    "Model.traffic": _where(Feature.WEIGHTS),
    "Model.cache": _where(Feature.CACHE, _is_given),
    "Model.timeout": _always(Feature.TIMEOUT),
    "Model.max_duration": _always(Feature.TIMEOUT),
    "Model.max_body": _always(Feature.MAX_BODY),
    "Model.on_expiry": _where(Feature.EXPIRED_STREAM, _is("cut")),
    "Model.audit": _PART,
    "Model.calls": _where(Feature.CALLS),
    "ModelAudit.capture": _CAPTURE,
    "ModelSelector.labels": _PART,
    "ModelSelector.same": _where(Feature.ATTRIBUTES),
    "Cache.ttl": _PART,
    "Cache.share": _PART,
    "When.from": _where(Feature.CONDITIONS),
    "When.hours": _where(Feature.CONDITIONS),
    "When.fresh": _where(Feature.CONDITIONS),
    "When.via": _where(Feature.VIA, _is_given),
    "When.person": _where(Feature.CONDITIONS),
    "When.actor": _where(Feature.CONDITIONS),
    "Limits.requests": (Need(Feature.REQUEST_RATE, _fast), Need(Feature.REQUEST_LEDGER, _slow)),
    "Limits.tokens": _where(Feature.TOKEN_BUDGET, _is_given),
    "Limits.concurrent": _where(Feature.CONCURRENCY, _is_given),
    "Limits.per": _where(Feature.SHARED_LIMIT, _other_than("identity", "grant")),
    "OnRequest.for": _PART,
    "OnRequest.approve": _PART,
    "OnRequest.tell": _PART,
    "Subject.issuer": _where(Feature.IDENTITY),
    "Subject.subject": _PART,
    "Grant.id": _PART,
    "Grant.roles": _where(Feature.ROLES),
    "Grant.models": _PART,
    "Grant.actions": _where(Feature.ROUTES),
    "Grant.when": _PART,
    "Grant.limits": _PART,
    "Grant.expires": _where(Feature.EXPIRY),
    "Grant.on_request": _where(Feature.ON_REQUEST, _is_given),
    "Grant.mode": _SHADOW,
    "Deny.id": _PART,
    "Deny.subjects": _PART,
    "Deny.roles": _where(Feature.ROLES),
    "Deny.models": _PART,
    "Deny.actions": _where(Feature.ROUTES),
    "Deny.when": _PART,
    "Deny.expires": _where(Feature.EXPIRY),
    "Deny.mode": _SHADOW,
    "AgentCredential.workload": _where(Feature.WORKLOADS),
    "AgentCredential.issuer": _where(Feature.IDENTITY),
    "AgentCredential.subject": _PART,
    "Agent.credential": _PART,
    "Agent.acts_for": _PART,
    "Agent.models": _PART,
    "Agent.actions": _PART,
    "Agent.limits": _PART,
    "Agent.max_depth": _PART,
    "Audit.capture": _CAPTURE,
    "Audit.seal_to": _where(Feature.SEALING),
    "Audit.retention": _where(Feature.RETENTION, _not_default("retention")),
    "Audit.max_disk": _where(Feature.RETENTION),
    "Audit.max_blind": _where(Feature.MAX_BLIND, _not_default("max_blind")),
    "Audit.on_blind": (
        Need(Feature.BLOCK_WHEN_BLIND, _is("block")),
        Need(Feature.ALERT_WHEN_BLIND, _other_than("block")),
    ),
}
_UNKNOWN: Row = _where(Feature.UNKNOWN_KEY, _is_given)


def requirements(policy: Policy) -> Requires:
    """What a path must enforce for `policy`, and which keys ask for it, in the format's order."""
    found: dict[Feature, list[str]] = {feature: list(places) for feature, places in ALWAYS.items()}
    for feature, place in _features_asked(policy, ""):
        found.setdefault(feature, []).append(place)
    return MappingProxyType({feature: tuple(places) for feature, places in found.items()})


def _features_asked(node: BaseModel, path: str) -> Iterator[tuple[Feature, str]]:
    for name, field in type(node).model_fields.items():
        key, value = key_in_file(name, field), getattr(node, name)
        row = KEYS.get(f"{type(node).__name__}.{key}", _UNKNOWN)
        if isinstance(row, Checked):
            continue
        place = f"{path}.{key}" if path else key
        yield from ((need.feature, place) for need in row if need.asked(value))
        for step, child in _children(value):
            yield from _features_asked(child, f"{place}{step}")


def key_in_file(name: str, field: FieldInfo) -> str:
    """A field as the file spells it: `from`, not `source`."""
    return field.alias or name


def _children(value: object) -> Iterator[tuple[str, BaseModel]]:
    if isinstance(value, BaseModel):
        yield "", value
    elif isinstance(value, dict):
        yield from ((f".{key}", child) for key, child in value.items() if isinstance(child, BaseModel))
        yield from (
            (f".{key}[{place}]", child)
            for key, children in value.items()
            if isinstance(children, list)
            for place, child in enumerate(children)
        )
    elif isinstance(value, list):
        for place, child in enumerate(value):
            if isinstance(child, BaseModel):
                yield f"[{getattr(child, 'id', place)}]", child
