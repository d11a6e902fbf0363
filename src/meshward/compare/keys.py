"""How a change of each key of the format is judged. None is forgotten: every key stands in `KEYS`.

`tests/compare/test_keys.py` changes each of them and holds `compare` to what stands here.
"""

from __future__ import annotations

from enum import Enum


class Judged(Enum):
    """By what a change of a key can give something to somebody; the value is for people to read."""

    PERMITS = "whom it lets in, under which conditions"
    PLACES = "which routes of which servers it opens, and to whom"
    TRUST = "whom we believe, and on which terms"
    RIGHTS = "who has rights over meshward"
    SECRETS = "which server is sent which secret"
    RECORDS = "what is recorded, how long, and who may read it"
    SHARING = "who gets answers that were another's"
    TOLD = "it gives nobody anything: told, with its values"
    PART = "by the keys below it"
    CHECKED = "it is for `check` alone"


_P, _T, _B = Judged.PERMITS, Judged.TOLD, Judged.PART

KEYS: dict[str, Judged] = {
    "Policy.version": Judged.CHECKED,
    "Policy.trust_domain": Judged.TRUST,
    **dict.fromkeys((f"Policy.{key}" for key in ("edge", "issuers", "workloads", "roles", "operators")), _B),
    **dict.fromkeys(
        (f"Policy.{key}" for key in ("credentials", "servers", "models", "grants", "denies")), _B
    ),
    **dict.fromkeys((f"Policy.{key}" for key in ("never", "agents", "audit")), _B),
    "Policy.tests": Judged.CHECKED,
    "Edge.listen": _T,
    "Edge.hostname": _T,
    "Edge.certificate": _B,
    "Edge.trusted_proxies": Judged.TRUST,
    "Certificate.from": _T,
    "Certificate.path": _T,
    "Issuer.profile": Judged.TRUST,
    "Issuer.issuer": Judged.TRUST,
    "Issuer.audience": Judged.TRUST,
    "Issuer.groups": Judged.TRUST,
    "Issuer.login": _B,
    "Issuer.attributes": Judged.TRUST,
    "Issuer.jwks": _B,
    "Issuer.region": Judged.TRUST,
    "Issuer.user_pool": Judged.TRUST,
    "Issuer.clients": Judged.TRUST,
    "Login.client": _T,
    "Jwks.url": Judged.TRUST,
    "Jwks.file": Judged.TRUST,
    "Jwks.max_stale": Judged.TRUST,
    "Jwks.allow": Judged.TRUST,
    "Workload.id": _P,
    "Member.issuer": _P,
    "Member.group": _P,
    "Member.claims": _P,
    "Member.subject": _P,
    "Member.workload": _P,
    "Member.until": _P,
    "Operators.apply": Judged.RIGHTS,
    "Operators.traffic": Judged.RIGHTS,
    "Operators.audit": Judged.RIGHTS,
    "Operators.open": Judged.RIGHTS,
    "Operators.erase": Judged.RIGHTS,
    "Credential.from": Judged.SECRETS,
    "Credential.name": Judged.SECRETS,
    "Credential.path": Judged.SECRETS,
    "Credential.command": Judged.SECRETS,
    "Server.infer": Judged.PLACES,
    "Server.describe": Judged.PLACES,
    "Server.observe": Judged.PLACES,
    "Server.manage": Judged.PLACES,
    "Server.health": _T,
    "Server.body_model": Judged.PLACES,
    "Version.server": Judged.PLACES,
    "Version.url": Judged.PLACES,
    "Version.replicas": Judged.PLACES,
    "Version.credential": Judged.SECRETS,
    "Version.pass": _T,
    "Version.model": Judged.PLACES,
    "Model.task": _T,
    "Model.labels": _P,
    "Model.aliases": Judged.PLACES,
    "Model.versions": _B,
    "Model.traffic": _T,
    "Model.cache": _B,
    "Model.timeout": _T,
    "Model.max_duration": _T,
    "Model.max_body": _T,
    "Model.on_expiry": _T,
    "Model.audit": _B,
    "Model.calls": _P,
    "ModelAudit.capture": Judged.RECORDS,
    "ModelSelector.labels": _P,
    "ModelSelector.same": _P,
    "Cache.ttl": _T,
    "Cache.share": Judged.SHARING,
    "When.from": _P,
    "When.hours": _P,
    "When.fresh": _P,
    "When.via": _P,
    "When.person": _P,
    "When.actor": _P,
    "Limits.requests": _T,
    "Limits.tokens": _T,
    "Limits.concurrent": _T,
    "Limits.per": _T,
    "OnRequest.for": _P,
    "OnRequest.approve": _P,
    "OnRequest.tell": _T,
    "Subject.issuer": _P,
    "Subject.subject": _P,
    "Grant.id": _T,
    "Grant.roles": _P,
    "Grant.models": _P,
    "Grant.actions": _P,
    "Grant.when": _B,
    "Grant.limits": _B,
    "Grant.expires": _P,
    "Grant.on_request": _B,
    "Grant.mode": _P,
    "Deny.id": _T,
    "Deny.subjects": _P,
    "Deny.roles": _P,
    "Deny.models": _P,
    "Deny.actions": _P,
    "Deny.when": _B,
    "Deny.expires": _P,
    "Deny.mode": _P,
    "Unless.via": _T,
    "Never.id": _T,
    "Never.roles": _T,
    "Never.models": _T,
    "Never.actions": _T,
    "Never.unless": _B,
    "AgentCredential.workload": _P,
    "AgentCredential.issuer": _P,
    "AgentCredential.subject": _P,
    "Agent.credential": _B,
    "Agent.acts_for": _P,
    "Agent.models": _P,
    "Agent.actions": _P,
    "Agent.limits": _B,
    "Agent.max_depth": _P,
    "Audit.capture": Judged.RECORDS,
    "Audit.seal_to": Judged.RECORDS,
    "Audit.retention": Judged.RECORDS,
    "Audit.max_disk": Judged.RECORDS,
    "Audit.max_blind": Judged.RECORDS,
    "Audit.on_blind": Judged.RECORDS,
}
