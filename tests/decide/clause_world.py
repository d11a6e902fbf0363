"""The words in which the tables of clauses are written: a small policy, who asks, and what must come out.

Nothing here comes from `meshward.decide`: what is expected is written by hand, and `scripts/mutate.py` replaces that
package under the same tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from json import dumps, loads
from typing import Any, Literal

from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.parse import Document, Source, parse
from meshward.policy.schema import Policy

State = Literal["met", "unmet", "unknown"]
STATES: tuple[State, ...] = ("met", "unmet", "unknown")

DAY_START = 1795392000  # Monday, 2026-11-23T00:00:00Z
NOON = DAY_START + 12 * 3600
DAY_END = DAY_START + 24 * 3600  # the first second of the 24th


def _servers(name: str) -> dict[str, Any]:
    return {"v1": {"server": "echo", "url": f"unix:/run/{name}.sock"}}


BASE: dict[str, Any] = {
    "version": 1,
    "trust_domain": "models.example.com",
    "issuers": {
        "i": {"profile": "oidc", "issuer": "https://sso.example.com", "audience": "models"},
        "j": {"profile": "oidc", "issuer": "https://other.example.com", "audience": "models"},
        "okta": {"profile": "okta", "issuer": "https://o.example.com/oauth2/default", "audience": "models"},
        "entra": {
            "profile": "entra",
            "issuer": "https://login.microsoftonline.com/8b5d5a4e-3a6c-4d3e-9a0b-0c1d2e3f4a5b/v2.0",
            "audience": "models",
        },
        "kc": {"profile": "keycloak", "issuer": "https://kc.example.com", "audience": "models"},
        "ci": {"profile": "github-actions", "audience": "models"},
        "k8s": {"profile": "kubernetes", "issuer": "https://k.example.com", "audience": "models"},
    },
    "workloads": {"w": {"id": "/w"}},
    "roles": {
        "staff": [{"issuer": "i", "group": "staff"}],
        "boss": [{"issuer": "i", "group": "boss"}],
    },
    "servers": {"echo": {"infer": ["POST /run"], "describe": ["GET /info"], "health": "GET /health"}},
    "models": {
        "m": {"versions": _servers("m"), "labels": {"tier": "cpu", "tenant": "a"}},
        "n": {"versions": _servers("n"), "labels": {"tier": "gpu"}},
        "h": {"versions": _servers("h"), "calls": ["m"]},
        "k": {"versions": _servers("k"), "calls": ["m", "n"]},
    },
    "grants": [{"id": "g", "roles": ["staff"], "models": "all", "actions": ["infer"]}],
    "agents": {
        "bot": {
            "credential": {"issuer": "i", "subject": "bot"},
            "acts_for": ["staff"],
            "models": "all",
            "actions": ["infer"],
            "max_depth": 2,
        },
        "tool": {
            "credential": {"workload": "w"},
            "acts_for": ["staff", "boss"],
            "models": "all",
            "actions": ["infer"],
            "max_depth": 2,
        },
    },
}

STAFF: dict[str, Any] = {"issuer": "i", "subject": "s", "groups": ("staff",)}
"""A person of the issuer `i` who holds the role `staff`."""


@dataclass(frozen=True, slots=True)
class Expected:
    """`verdict`: permit, or the reason of a denial. `sentence` is the denial's, whole; `grants` the permit's."""

    verdict: str
    grants: tuple[str, ...] = ()
    sentence: str = ""
    until: int | None = None
    roles: tuple[str, ...] = ("staff",)


@dataclass(frozen=True, slots=True)
class Row:
    """One question put to `decide`, and its answer. `case` says in words what is special about it."""

    clause: str
    state: State
    case: str
    rules: Mapping[str, Any]
    expected: Expected
    who: Mapping[str, Any] = field(default_factory=lambda: STAFF)
    asked: Mapping[str, Any] = field(default_factory=dict)
    permission: str | None = None  # in the answer, where it is not the one that is asked for

    @property
    def id(self) -> str:
        return f"{self.clause}-{self.state}-{self.case}"


def row(
    clause: str,
    state: State,
    case: str,
    rules: Mapping[str, Any],
    expected: Expected,
    who: Mapping[str, Any] = STAFF,
    permission: str | None = None,
    **asked: Any,
) -> Row:
    """`asked` changes the question, which is: may `who` infer with m, on Monday at noon, from 203.0.113.9?"""
    return Row(clause, state, case, rules, expected, who, asked, permission)


def grant(**keys: Any) -> dict[str, Any]:
    """The rules with one grant, `g`: to staff, all models, infer; and what `keys` say."""
    return {"grants": [given("g", **keys)]}


def given(name: str, **keys: Any) -> dict[str, Any]:
    return {"id": name, "roles": ["staff"], "models": "all", "actions": ["infer"]} | keys


def deny(**keys: Any) -> dict[str, Any]:
    """The rules with the grant of the base, and one deny, `d`, of what `keys` say."""
    return {"denies": [{"id": "d"} | keys]}


def permit(*grants: str, until: int | None = None, roles: tuple[str, ...] = ("staff",)) -> Expected:
    return Expected("permit", grants or ("g",), "", until, roles)


def refused(
    reason: str, sentence: str, until: int | None = None, roles: tuple[str, ...] = ("staff",)
) -> Expected:
    return Expected(reason, (), sentence, until, roles)


def lacks(lack: str, until: int | None = None) -> Expected:
    """The grant g is for this caller, but for a condition."""
    return refused(
        "condition_not_met", f"i:s holds the role staff, but the grant g for m.infer asks for {lack}", until
    )


def far(lack: str, until: int | None = None) -> Expected:
    """The grant g is nearest, and gives something else."""
    return refused(
        "no_grant",
        f"i:s holds the role staff, which gives no m.infer; the nearest grant, g, lacks {lack}",
        until,
    )


def denied(until: int | None = None, who: str = "i:s", roles: tuple[str, ...] = ("staff",)) -> Expected:
    """The deny d applies."""
    return refused("denied_by_rule", f"the rule d denies m.infer to {who}", until, roles)


def stranger(who: str, lack: str = "role staff (from i group staff)") -> Expected:
    """Somebody without a role; the grant g asks for one."""
    return refused("identity_without_role", f"{who} holds no role; m.infer asks for {lack}", None, ())


def agent_lacks(lack: str, agent: str = "bot") -> Expected:
    return refused(
        "actor_unauthorized", f"the agent {agent} may not ask for m.infer on behalf of i:s: {lack}"
    )


def plan_of(rules: Mapping[str, Any]) -> Plan:
    """The plan of the base policy with `rules` in place of its own keys."""
    return _plan(dumps(rules, sort_keys=True))


@cache
def _plan(rules: str) -> Plan:
    return resolve(Policy.model_validate(BASE | loads(rules)))


def document_of(rules: Mapping[str, Any]) -> Document:
    """The same as a file that was parsed: with positions."""
    return _document(dumps(rules, sort_keys=True))


@cache
def _document(rules: str) -> Document:
    return parse([Source("policy.yaml", dumps(BASE | loads(rules), indent=1).encode())])
