"""What `up` enforces today, key by key. What the format has and `up` has not yet is refused by name.

Nothing is ever ignored: every key of the format stands in `STANDING`, and one that does not is refused too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from meshward.kit.errors import Problem
from meshward.policy.schema import Audit, Policy
from meshward.policy.values import parse_rate

_REMEDY = "take it out of the policy that `up` runs; `check`, its tests and `explain` already understand it"
_MINUTE = 60


class Standing(Enum):
    """Of keys that are never refused."""

    ENFORCED = "enforced"  # by edge, guard or decision service
    CHECKED = "checked"  # for `check` and for people; changes nothing at run time


@dataclass(frozen=True, slots=True)
class NotYet:
    """A key that `up` refuses where `refused` says so of its value."""

    code: str
    sentence: str
    refused: Callable[[object], bool] = bool


def _other_than(*accepted: object) -> Callable[[object], bool]:
    return lambda value: value not in accepted


def _given(value: object) -> bool:
    return value is not None


def _slow(rate: object) -> bool:
    return isinstance(rate, str) and parse_rate(rate).seconds > _MINUTE


def _behind_https(value: object) -> bool:
    return any(str(url).startswith("https:") for url in (value if isinstance(value, list) else [value]))


def _default(name: str) -> object:
    return Audit.model_fields[name].get_default(call_default_factory=True)


_SHADOW = NotYet(
    "MW1026", "rules in shadow are not yet compared with what was decided", _other_than("enforce")
)
_CAPTURE = NotYet(
    "MW1018", "capture modes other than `digest` are not yet recorded", _other_than(None, "digest")
)
_HTTPS = NotYet("MW1013", "servers behind https are not yet reached", _behind_https)
_E, _C = Standing.ENFORCED, Standing.CHECKED

STANDING: dict[str, Standing | NotYet] = {
    "Policy.version": _E,
    "Policy.trust_domain": _E,
    "Policy.edge": _E,
    "Policy.issuers": _E,
    "Policy.workloads": _E,
    "Policy.roles": _E,
    "Policy.operators": _E,
    "Policy.credentials": _E,
    "Policy.servers": _E,
    "Policy.models": _E,
    "Policy.grants": _E,
    "Policy.denies": _E,
    "Policy.never": _C,
    "Policy.agents": NotYet("MW1001", "token exchange for agents does not exist yet"),
    "Policy.audit": _E,
    "Policy.tests": _C,
    "Edge.listen": _E,
    "Edge.hostname": _E,
    "Edge.certificate": _E,
    "Edge.trusted_proxies": NotYet("MW1006", "the edge does not yet believe any proxy's X-Forwarded-For"),
    "Certificate.from": _E,
    "Certificate.path": _E,
    "Issuer.profile": _E,
    "Issuer.issuer": _E,
    "Issuer.audience": _E,
    "Issuer.groups": _E,
    "Issuer.login": _C,
    "Issuer.attributes": _E,
    "Issuer.jwks": _E,
    "Issuer.region": _E,
    "Issuer.user_pool": _E,
    "Issuer.clients": _E,
    "Jwks.url": _E,
    "Jwks.file": _E,
    "Jwks.max_stale": _E,
    "Jwks.allow": _E,
    "Workload.id": _E,
    "Member.issuer": _E,
    "Member.group": _E,
    "Member.claims": _E,
    "Member.subject": _E,
    "Member.workload": _E,
    "Member.until": _E,
    "Operators.apply": _E,
    "Operators.traffic": _E,
    "Operators.audit": NotYet("MW1003", "records of others are read on the machine alone, by its owner"),
    "Operators.open": NotYet("MW1034", "there are no sealed texts yet that anybody could open"),
    "Operators.erase": NotYet("MW1035", "records are not yet erased on anybody's wish"),
    "Credential.from": _E,
    "Credential.name": _E,
    "Credential.path": _E,
    "Credential.command": _E,
    "Server.infer": _E,
    "Server.describe": _E,
    "Server.observe": _E,
    "Server.manage": _E,
    "Server.health": _E,
    "Version.server": NotYet(
        "MW1012",
        "hosted Inference Endpoints are not yet reached",
        lambda value: value == "inference-endpoint",
    ),
    "Version.url": _HTTPS,
    "Version.replicas": _HTTPS,
    "Version.credential": _E,
    "Version.model": NotYet("MW1015", "the body's `model` is not yet rewritten for the server", _given),
    "Model.task": _C,
    "Model.labels": _E,
    "Model.aliases": _E,
    "Model.versions": _E,
    "Model.traffic": _E,
    "Model.cache": NotYet("MW1016", "answers are not yet cached", _given),
    "Model.timeout": _E,
    "Model.max_body": _E,
    "Model.on_expiry": _E,
    "Model.audit": _E,
    "Model.calls": NotYet("MW1019", "calls from model to model are not yet let through"),
    "ModelAudit.capture": _CAPTURE,
    "ModelSelector.labels": _E,
    "ModelSelector.same": _E,
    "When.from": _E,
    "When.hours": _E,
    "When.fresh": _E,
    "When.via": NotYet("MW1033", "calls from model to model are not yet let through", _given),
    "When.person": _E,
    "When.actor": _E,
    "Limits.requests": NotYet("MW1021", "request limits per hour or day are not yet counted", _slow),
    "Limits.tokens": NotYet("MW1022", "budgets of tokens are not yet counted", _given),
    "Limits.concurrent": NotYet("MW1023", "requests at the same time are not yet counted", _given),
    "Limits.per": NotYet(
        "MW1024", "limits per attribute are not yet counted", _other_than("identity", "grant")
    ),
    "Subject.issuer": _E,
    "Subject.subject": _E,
    "Grant.id": _E,
    "Grant.roles": _E,
    "Grant.models": _E,
    "Grant.actions": _E,
    "Grant.when": _E,
    "Grant.limits": _E,
    "Grant.expires": _E,
    "Grant.on_request": NotYet("MW1025", "grants cannot yet be asked for", _given),
    "Grant.mode": _SHADOW,
    "Deny.id": _E,
    "Deny.subjects": _E,
    "Deny.roles": _E,
    "Deny.models": _E,
    "Deny.actions": _E,
    "Deny.when": _E,
    "Deny.expires": _E,
    "Deny.mode": _SHADOW,
    "Audit.capture": _CAPTURE,
    "Audit.seal_to": NotYet("MW1028", "records are not yet sealed"),
    "Audit.retention": NotYet(
        "MW1029", "records are not yet erased by age", _other_than(_default("retention"))
    ),
    "Audit.max_blind": NotYet(
        "MW1030", "the bound is fixed at its default", _other_than(_default("max_blind"))
    ),
    "Audit.on_blind": NotYet(
        "MW1031", "going on while records are lost is not offered yet", _other_than("block")
    ),
}
_UNKNOWN = NotYet("MW1032", "`up` does not know this key", _given)


def not_yet_enforced(policy: Policy) -> list[Problem]:
    """What `policy` says and `up` would have to ignore, in the format's order. Empty: `up` may run it."""
    return list(_refusals(policy, ""))


def _refusals(node: BaseModel, path: str) -> Iterator[Problem]:
    for name, field in type(node).model_fields.items():
        key, value = spelling(name, field), getattr(node, name)
        place = f"{path}.{key}" if path else key
        standing = STANDING.get(f"{type(node).__name__}.{key}", _UNKNOWN)
        if isinstance(standing, NotYet) and standing.refused(value):
            yield Problem(standing.code, f"`{place}`: {standing.sentence}", _REMEDY)
        elif standing is Standing.ENFORCED:
            for step, child in _children(value):
                yield from _refusals(child, f"{place}{step}")


def spelling(name: str, field: FieldInfo) -> str:
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
