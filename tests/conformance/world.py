"""The world of the conformance table: models of several kinds, people with every mix of roles, every route."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshward.decide.decide import decide
from meshward.decide.types import Identity, Permit, Request
from meshward.plan.ir import Plan, Route
from tests.stack import policies

KIND = {
    "infer": ["POST /ask", "GET /ask"],
    "describe": ["GET /info"],
    "observe": ["GET /metrics"],
    "manage": ["POST /admin/reset", "DELETE /admin/index"],
}
MODELS: dict[str, dict[str, Any]] = {
    "emb": {"labels": {"data": "public"}, "server": "tei"},
    "chat": {"labels": {"data": "internal"}, "server": "vllm"},
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
    {"id": "past", "roles": ["chatter"], "models": "all", "actions": ["manage"], "expires": "2020-01-01"},
]
DENIES: list[dict[str, Any]] = [
    {"id": "leaver", "subjects": [{"issuer": "test", "subject": "leaver"}]},
    {"id": "no-reset", "roles": ["admin"], "models": ["doc.search"], "actions": ["manage"]},
]


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
    roles = {role: [{"issuer": "test", "group": f"{role}s"}] for role in ("reader", "chatter", "admin")}
    text = policies.base(jwks, port) | {"servers": {"handbook": KIND}, "models": models, "roles": roles}
    return text | {"grants": GRANTS, "denies": DENIES} | rules, sockets


def identity(name: str) -> Identity:
    return Identity(issuer="test", subject=name, groups=tuple(PEOPLE[name]))


def every_route(plan: Plan) -> list[Route]:
    """All routes of all kinds: each is tried at every model, where it may not exist."""
    versions = [version for model in plan.models.values() for version in model.versions]
    return sorted({route for version in versions for route in version.routes})


def allowed(plan: Plan, who: Identity, model: str, route: Route, at: int) -> bool:
    """What the definition says about a request by its route."""
    action = plan.models[model].action_of(route.method, route.path)
    return action is not None and isinstance(decide(plan, who, Request(model, action, at)), Permit)


def permissions(plan: Plan, who: Identity, model: str, at: int) -> list[str]:
    """The permissions that the edge would ever put into a token of `who` for `model`."""
    asked = ("infer", "describe", "observe", "manage")
    return [f"{model}.{a}" for a in asked if isinstance(decide(plan, who, Request(model, a, at)), Permit)]
