"""The world of the conformance table: models of several kinds, people with every mix of roles, every route."""

from __future__ import annotations

import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from meshward.decide.decide import decide
from meshward.decide.types import Identity, Permit, Request
from meshward.plan.ir import Plan
from meshward.policy.values import Route
from tests.stack import policies

KIND = {
    "infer": ["POST /ask", "GET /ask"],
    "describe": ["GET /info"],
    "observe": ["GET /metrics"],
    "manage": ["POST /admin/reset", "DELETE /admin/index"],
}
MODELS: dict[str, dict[str, Any]] = {
    "emb": {"labels": {"data": "public", "org": "a"}, "server": "tei"},
    "chat": {"labels": {"data": "internal", "org": "b"}, "server": "vllm"},
    "doc.search": {
        "labels": {"data": "public"},
        "server": "handbook",
    },  # its name holds the separator of permissions
}
PEOPLE: dict[str, list[str]] = {
    "reader": ["readers"],
    "chatter": ["chatters"],
    "both": ["readers", "chatters"],
    "admin": ["admins"],
    "leaver": ["admins", "readers"],
    "nobody": [],
    "stranger": ["reader"],  # nearly the name of a group
    "tenant": ["tenants"],
    "roamer": ["roamers"],
    "guest": ["guests"],
    "robot": ["robots"],
    "job": [],  # a workload
}
CLAIMS: dict[str, dict[str, Any]] = {
    "tenant": {"org": "a"},
    "roamer": {"auth_time": int(time.time()) - 7200},
    "robot": {"client_id": "robot"},
}
WORKLOADS = {"job": {"id": "/ns/jobs/sa/job"}}
SOURCE = ip_address("127.0.0.1")  # where the tests ask from
GROUPED = ("reader", "chatter", "admin", "tenant", "roamer", "robot")
ROLES: dict[str, list[dict[str, Any]]] = {
    **{role: [{"issuer": "test", "group": f"{role}s"}] for role in GROUPED},
    "gone": [{"issuer": "test", "group": "guests", "until": "2020-01-01"}],
    "staying": [{"issuer": "test", "group": "guests", "until": "2099-12-31"}],
    "claimed": [{"issuer": "test", "claims": {"org": "a"}}],
    "batch": [{"workload": "job"}],
}
GRANTS: list[dict[str, Any]] = [
    {
        "id": "public",
        "roles": ["reader"],
        "models": {"labels": {"data": "public"}},
        "actions": ["infer", "describe"],
    },
    {"id": "chatting", "roles": ["chatter"], "models": ["chat"], "actions": ["infer"]},
    {
        "id": "everything",
        "roles": ["admin"],
        "models": "all",
        "actions": ["infer", "describe", "observe", "manage"],
    },
    {"id": "own", "roles": ["tenant", "batch"], "models": {"same": ["org"]}, "actions": ["observe"]},
    {"id": "claimed", "roles": ["claimed"], "models": ["doc.search"], "actions": ["describe"]},
    {"id": "gone", "roles": ["gone"], "models": "all", "actions": ["manage"]},
    {"id": "staying", "roles": ["staying"], "models": ["emb"], "actions": ["observe"]},
    {"id": "nightly", "roles": ["batch"], "models": ["emb"], "actions": ["infer"]},
    *(
        {"id": f"when-{number}", "roles": [role], "models": [model], "actions": [action], "when": when}
        for number, (role, model, action, when) in enumerate(
            [
                ("roamer", "emb", "infer", {"from": ["127.0.0.0/8"]}),
                ("roamer", "chat", "infer", {"from": ["203.0.113.0/24"]}),
                ("roamer", "emb", "describe", {"fresh": "3h"}),
                ("roamer", "doc.search", "infer", {"fresh": "1h"}),
                ("roamer", "doc.search", "describe", {"hours": "Mon-Sun 00:00-24:00 UTC", "actor": "absent"}),
                ("roamer", "doc.search", "observe", {"actor": "present"}),
                ("robot", "emb", "infer", {"person": "required"}),
                ("robot", "chat", "infer", {"person": "absent"}),
                ("robot", "doc.search", "infer", {"person": "absent"}),
                ("batch", "chat", "infer", {"person": "required"}),
                ("batch", "chat", "describe", {"fresh": "1h"}),
            ]
        )
    ),
    {"id": "past", "roles": ["chatter"], "models": "all", "actions": ["manage"], "expires": "2020-01-01"},
]
DENIES: list[dict[str, Any]] = [
    {"id": "leaver", "subjects": [{"issuer": "test", "subject": "leaver"}]},
    {"id": "no-robots", "roles": ["robot"], "models": ["doc.search"], "when": {"person": "absent"}},
    {"id": "no-reset", "roles": ["admin"], "models": ["doc.search"], "actions": ["manage"]},
]
PERMITTED: dict[str, dict[str, str]] = {
    "reader": {"emb": "infer describe", "doc.search": "infer describe"},
    "chatter": {"chat": "infer"},
    "both": {"emb": "infer describe", "doc.search": "infer describe", "chat": "infer"},
    "admin": {
        "emb": "infer describe observe manage",
        "chat": "infer describe observe manage",
        "doc.search": "infer describe observe",
    },
    "leaver": {},
    "nobody": {},
    "stranger": {},
    "tenant": {"emb": "observe", "doc.search": "describe"},
    "roamer": {"emb": "infer describe", "doc.search": "describe"},
    "guest": {"emb": "observe"},
    "robot": {"chat": "infer"},
    "job": {"emb": "infer"},
}
"""Who may do what under these rules. Written by hand: a wrong `decide` that is asked for it agrees with itself."""


def policy(jwks: Path, port: int, directory: Path, **rules: Any) -> tuple[dict[str, Any], dict[str, Path]]:
    """The policy, and the socket of each model version."""
    sockets = {f"{name}/v1": directory / f"{index}.sock" for index, name in enumerate(MODELS)}
    models = {
        name: {
            "labels": entry["labels"],
            "versions": {"v1": {"server": entry["server"], "url": f"unix:{sockets[name + '/v1']}"}},
        }
        for name, entry in MODELS.items()
    }
    text = policies.base(jwks, port) | {"servers": {"handbook": KIND}, "models": models, "roles": ROLES}
    text["issuers"]["test"]["attributes"] = {"org": "/org"}
    text["workloads"] = WORKLOADS
    return text | {"grants": GRANTS, "denies": DENIES} | rules, sockets


def identity(name: str) -> Identity:
    """What the decision should make of the token, or the certificate, of `name`."""
    if name in WORKLOADS:
        return Identity(workload=name)
    claims = CLAIMS.get(name, {})
    return Identity(
        issuer="test",
        subject=name,
        groups=tuple(PEOPLE[name]),
        claims={"sub": name} | claims,
        attributes={"org": claims["org"]} if "org" in claims else {},
        authenticated_at=claims.get("auth_time"),
    )


def every_route(plan: Plan) -> list[Route]:
    """All routes of all kinds: each is tried at every model, where it may not exist."""
    versions = [version for model in plan.models.values() for version in model.versions]
    return sorted({route for version in versions for route in version.routes})


def is_permitted(plan: Plan, person: str, model: str, route: Route) -> bool:
    """What PERMITTED says about a request by its route."""
    action = plan.models[model].action_of(route.method, route.path)
    return action in PERMITTED[person].get(model, "").split()


def allowed(plan: Plan, who: Identity, model: str, route: Route, at: int) -> bool:
    """What the definition says about a request by its route."""
    action = plan.models[model].action_of(route.method, route.path)
    return action is not None and isinstance(decide(plan, who, Request(model, action, at, SOURCE)), Permit)


def permissions(plan: Plan, who: Identity, model: str, at: int) -> list[str]:
    """The permissions that the edge would ever put into a token of `who` for `model`."""
    asked = ("infer", "describe", "observe", "manage")
    return [
        f"{model}.{a}" for a in asked if isinstance(decide(plan, who, Request(model, a, at, SOURCE)), Permit)
    ]
