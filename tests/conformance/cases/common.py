"""What the topics share: one policy with a site, its callers, and short ways to write a case."""

from __future__ import annotations

from typing import Any

from meshward.policy.schema import As
from tests.conformance.format import (
    Case,
    Change,
    Client,
    Expect,
    Hop,
    Inside,
    Otherwise,
    Step,
    TransactionToken,
)

ISSUER = "https://staff.example/realms/staff"
AUDIENCE = "models"
ROUTES = {
    "infer": ["POST /ask", "POST /v1/ask"],
    "describe": ["GET /info"],
    "observe": ["GET /metrics"],
    "manage": ["POST /admin/load"],
}
EVERY_ACTION = ["infer", "describe", "observe", "manage"]


def group(name: str, **more: Any) -> dict[str, Any]:
    return {"issuer": "staff", "group": name, **more}


def model(name: str, **more: Any) -> dict[str, Any]:
    """Of one version, on this machine where no site says otherwise."""
    return {"versions": {"v1": {"server": "plain", "url": f"unix:/run/models/{name}.sock"}}, **more}


def policy(**parts: Any) -> dict[str, Any]:
    """The small world: who there is, what there is; `parts` say who may what."""
    return {
        "version": 1,
        "trust_domain": "models.test",
        "edge": {"hostname": "models.test"},
        "issuers": {
            "staff": {
                "profile": "oidc",
                "issuer": ISSUER,
                "audience": AUDIENCE,
                "groups": "/groups",
                "attributes": {"tenant": "/tenant"},
            }
        },
        "workloads": {name: {"id": f"/ns/jobs/sa/{name}"} for name in ("scorer", "idle", "retired")},
        "servers": {"plain": ROUTES},
        "models": {
            "minilm": model("minilm", labels={"data": "public", "tenant": "acme"}),
            "assistant": model("assistant", labels={"data": "internal", "tenant": "umbra"}),
            "doc.search": model("doc.search", labels={"data": "public"}),
        },
        "roles": {
            "scientist": [group("science")],
            "platform": [group("platform")],
            "batch": [{"workload": "scorer"}, {"workload": "retired"}],
        },
        "grants": [
            {
                "id": "science",
                "roles": ["scientist"],
                "models": {"labels": {"data": "public"}},
                "actions": ["infer", "describe"],
            },
            {"id": "all", "roles": ["platform"], "models": "all", "actions": EVERY_ACTION},
            {"id": "nightly", "roles": ["batch"], "models": ["minilm"], "actions": ["infer"]},
        ],
        **parts,
    }


RULES_SMALL = policy()

SITE: dict[str, Any] = {
    "version": 1,
    "trust_domain": "cluster.local",
    "edge": {"workload": {"namespace": "edge", "service_account": "nginx"}},
    "workloads": {
        name: {"namespace": "jobs", "service_account": name} for name in ("scorer", "idle", "retired")
    },
    "models": {
        name: {
            "v1": {
                "namespace": "models",
                "service": label,
                "port": 8080,
                "select": {"app": label},
                "service_account": label,
            }
        }
        for name, label in (("minilm", "minilm"), ("assistant", "assistant"), ("doc.search", "doc-search"))
    },
}


def person(subject: str, *groups: str, **claims: Any) -> As:
    return As.model_validate(
        {"issuer": "staff", "subject": subject, "groups": list(groups), "claims": claims}
    )


def workload(name: str) -> As:
    return As.model_validate({"workload": name})


SCIENTIST = person("ann", "science")
PLATFORM = person("pat", "platform")
SCORER = workload("scorer")


def client(who: As | None = SCIENTIST, target: str = "/ask", **more: Any) -> Client:
    """POST /ask of minilm, unless told."""
    return Client(who=who, target=target, **{"model": "minilm", **more})


def get(who: As | None, target: str, **more: Any) -> Client:
    return client(who, target, method="GET", **more)


def token(permission: str = "minilm.infer", **differs: Any) -> TransactionToken:
    return TransactionToken(permission=permission, **differs)


def inside(token_: TransactionToken | None, target: str = "/ask", **more: Any) -> Inside:
    """POST /ask straight to minilm's last hop by the edge, unless told."""
    return Inside(token=token_, target=target, **{"model": "minilm", **more})


def permit(grant: str | None = None, **more: Any) -> Expect:
    return Expect(decision="permit", grant=grant, **more)


def deny(by: Hop, reason: str | None = None, **more: Any) -> Expect:
    return Expect(decision="deny", refused_by=by, reason=reason, **more)


CLOSED = deny("guard")
OPENS = Otherwise(decision="permit")


def case(id_: str, about: str, *steps: Step | tuple[Client | Inside, Expect], **more: Any) -> Case:
    """`more`: importance, covers, policy, site."""
    made = [each if isinstance(each, Step) else Step(request=each[0], expect=each[1]) for each in steps]
    return Case(id=id_, about=about, steps=made, **{"policy": "small", "site": "cluster", **more})


def after(request: Client | Inside, expect: Expect, **change: Any) -> Step:
    """A step before which `change` comes into force."""
    return Step(before=Change(**change), request=request, expect=expect)


def trap(id_: str, about: str, *steps: Step | tuple[Client | Inside, Expect], **more: Any) -> Case:
    return case(id_, about, *steps, importance="trap", **more)
