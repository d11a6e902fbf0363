"""What a policy says of itself: its laws and its tests, each clause met and not met; and whom `as:` speaks of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clause_world import BASE, given

_VIA_H = {"when": {"via": ["h"]}}


@dataclass(frozen=True, slots=True)
class LawRow:
    """A law over a policy, and what breaks it: (grant, what it gives against the law)."""

    clause: str
    state: str
    case: str
    law: dict[str, Any]
    grants: list[dict[str, Any]]
    breaks: list[tuple[str, list[str]]]
    rules: dict[str, Any] = field(default_factory=dict)


def _law(**keys: Any) -> dict[str, Any]:
    return {"id": "law", "roles": ["staff"], "models": ["m"], "actions": ["infer"]} | keys


LAWS: tuple[LawRow, ...] = (
    LawRow("never.roles", "met", "the role", _law(), [given("g")], [("g", ["m.infer staff"])]),
    LawRow(
        "never.roles",
        "met",
        "one of the grants",
        _law(),
        [given("g", roles=["boss", "staff"])],
        [("g", ["m.infer staff"])],
    ),
    LawRow("never.roles", "unmet", "another role", _law(), [given("g", roles=["boss"])], []),
    LawRow(
        "never.models.all",
        "met",
        "any",
        _law(models="all"),
        [given("g", models=["n"])],
        [("g", ["n.infer staff"])],
    ),
    LawRow(
        "never.models.names",
        "met",
        "one of two",
        _law(),
        [given("g", models=["m", "n"])],
        [("g", ["m.infer staff"])],
    ),
    LawRow("never.models.names", "unmet", "another model", _law(), [given("g", models=["n"])], []),
    LawRow(
        "never.models.labels",
        "met",
        "its label",
        _law(models={"labels": {"tier": "gpu"}}),
        [given("g")],
        [("g", ["n.infer staff"])],
    ),
    LawRow(
        "never.models.labels",
        "unmet",
        "other value",
        _law(models={"labels": {"tier": "x"}}),
        [given("g")],
        [],
    ),
    LawRow(
        "never.models.same",
        "met",
        "it may be met some day",
        _law(models={"same": ["tier"]}),
        [given("g", models=["n"])],
        [("g", ["n.infer staff"])],
    ),
    LawRow(
        "never.actions",
        "met",
        "one of two",
        _law(actions=["describe", "infer"]),
        [given("g", actions=["infer", "manage"])],
        [("g", ["m.infer staff"])],
    ),
    LawRow("never.actions", "unmet", "another action", _law(), [given("g", actions=["manage"])], []),
    LawRow(
        "never.unless", "met", "a law without it", _law(), [given("g", **_VIA_H)], [("g", ["m.infer staff"])]
    ),
    LawRow("never.unless", "unmet", "only by it", _law(unless={"via": ["h"]}), [given("g", **_VIA_H)], []),
    LawRow(
        "never.unless", "unmet", "by one of two", _law(unless={"via": ["h", "k"]}), [given("g", **_VIA_H)], []
    ),
    LawRow(
        "never.unless",
        "met",
        "also by another",
        _law(unless={"via": ["h"]}),
        [given("g", when={"via": ["h", "k"]})],
        [("g", ["m.infer staff"])],
    ),
    LawRow(
        "never.unless",
        "met",
        "asked directly",
        _law(unless={"via": ["h"]}),
        [given("g")],
        [("g", ["m.infer staff"])],
    ),
    LawRow(
        "never.unless",
        "met",
        "under another condition",
        _law(unless={"via": ["h"]}),
        [given("g", when={"fresh": "1h"})],
        [("g", ["m.infer staff"])],
    ),
    LawRow(
        "never.roles",
        "met",
        "two grants of three",
        _law(),
        [given("g"), given("x", roles=["boss"]), given("h")],
        [("g", ["m.infer staff"]), ("h", ["m.infer staff"])],
    ),
    LawRow(
        "never.roles",
        "unmet",
        "a deny takes it back",
        _law(),
        [given("g")],
        [],
        {"denies": [{"id": "d", "roles": ["staff"]}]},
    ),
    LawRow("never.roles", "unmet", "in shadow", _law(), [given("g", mode="shadow")], []),
)

BROKEN_LAW = (
    _law(actions=["infer", "describe", "manage", "observe"], roles=["staff", "boss"]),
    [given("g", models=["m"], roles=["staff", "boss"], actions=["infer", "manage"])],
    "m.infer to staff, m.infer to boss, m.manage to staff and 1 more",
)
"""A law, the grants that break it by more than is shown, and the words for what they give against it."""
BROKEN_BY_THREE = (
    _law(actions=["infer", "describe", "manage", "observe"]),
    [given("g", models=["m"], actions=["infer", "describe", "observe"])],
    "m.infer to staff, m.describe to staff and m.observe to staff",
)


@dataclass(frozen=True, slots=True)
class TestRow:
    """A test that stands in a policy, and why it fails; "" if it does not."""

    __test__ = False  # not a pytest class

    clause: str
    case: str
    test: dict[str, Any]
    rules: dict[str, Any] = field(default_factory=dict)
    fails: str = ""


def _test(expect: str = "permit", **keys: Any) -> dict[str, Any]:
    return {"as": _STAFF, "model": "m", "action": "infer", "expect": expect} | keys


def _as(**keys: Any) -> dict[str, Any]:
    return {"as": _STAFF | keys}


_STAFF: dict[str, Any] = {"issuer": "i", "subject": "s", "groups": ["staff"]}
_GETS = "this test expects a denial and gets a permit: m.infer is given by g"
_NO_ACTION = (
    "this test expects a permit and gets a denial: i:s holds the role staff, which gives no m.manage; "
    "the nearest grant, g, lacks action manage (nearest grant: g)"
)
_NEAREST_OF_TWO = (
    "this test expects a permit and gets a denial: i:s holds the role staff, which gives no m.manage; "
    "the nearest grant, g, lacks action manage (nearest grant: g)"
)
_NO_ADDRESS = (
    "this test expects a permit and gets a denial: i:s holds the role staff, but the grant g for m.infer asks for "
    "a request from 203.0.113.0/24 (its address is not known) (nearest grant: g)"
)
_RULED = "this test expects a permit and gets a denial: the rule d denies m.infer to i:s"
_TENANT = {
    "issuers": BASE["issuers"]
    | {"i": BASE["issuers"]["i"] | {"attributes": {"tenant": "/org", "tier": "cpu"}}},
    "grants": [given("g", models={"same": ["tenant", "tier"]})],
}
_FRESH = {"grants": [given("g", when={"fresh": "1h"})]}
_NOON = {"grants": [given("g", when={"hours": "Mon 12:00-12:01 UTC"})]}
_IN_2024 = {
    "grants": [given("g", expires="2024-01-01")],
    "denies": [{"id": "d", "models": ["m"], "expires": "2023-12-31"}],
}
_CI = {"roles": BASE["roles"] | {"staff": [{"issuer": "ci", "claims": {"env": "prod"}}]}}
_OF_W = {"roles": BASE["roles"] | {"staff": [{"workload": "w"}]}}
_SUBJECT = {"roles": BASE["roles"] | {"staff": [{"issuer": "i", "subject": "t"}]}}
_FROM = {"grants": [given("g", when={"from": ["203.0.113.0/24"]})]}
_VIA = {"grants": [given("g", when={"via": ["h"]})]}
_PRESENT = {"grants": [given("g", when={"actor": "present"})]}

TESTS: tuple[TestRow, ...] = (
    TestRow("expect", "a permit", _test()),
    TestRow("expect", "a denial that is a permit", _test("denial"), {}, _GETS),
    TestRow("expect", "a denial", _test("denial", action="manage")),
    TestRow("expect", "a permit that is a denial", _test(action="manage"), {}, _NO_ACTION),
    TestRow(
        "expect",
        "a permit and the nearest of two",
        _test(action="manage"),
        {"grants": [given("g"), given("f", models=["n"], actions=["manage"])]},
        _NEAREST_OF_TWO,
    ),
    TestRow(
        "expect", "a permit and a rule denies", _test(), {"denies": [{"id": "d", "models": "all"}]}, _RULED
    ),
    TestRow("model", "another", _test("denial", model="n"), {"grants": [given("g", models=["m"])]}),
    TestRow("action", "another", _test("denial", action="describe")),
    TestRow("as.issuer", "another", _test("denial", **_as(issuer="j"))),
    TestRow("as.subject", "named", _test(**_as(subject="t", groups=[])), _SUBJECT),
    TestRow("as.subject", "another", _test("denial"), _SUBJECT),
    TestRow("as.groups", "another", _test("denial", **_as(groups=["x"]))),
    TestRow("as.claims", "told", _test(**{"as": {"issuer": "ci", "claims": {"env": "prod"}}}), _CI),
    TestRow("as.claims", "not told", _test("denial", **{"as": {"issuer": "ci"}}), _CI),
    TestRow("as.attributes", "read from claims, and a constant", _test(**_as(claims={"org": "a"})), _TENANT),
    TestRow(
        "as.attributes", "a claim that is no text", _test("denial", **_as(claims={"org": ["a"]})), _TENANT
    ),
    TestRow("as.attributes", "none", _test("denial"), _TENANT),
    TestRow(
        "as.attributes",
        "told, which wins",
        _test(**_as(claims={"org": "b"}, attributes={"tenant": "a"})),
        _TENANT,
    ),
    TestRow("as.workload", "told", _test(**{"as": {"workload": "w"}}), _OF_W),
    TestRow("as.workload", "not told", _test("denial"), _OF_W),
    TestRow("as.actor", "told", _test(**_as(actor="bot")), _PRESENT),
    TestRow("as.actor", "not told", _test("denial"), _PRESENT),
    TestRow("as.authenticated", "just now if not told", _test(at="2026-11-23 10:00"), _FRESH),
    TestRow(
        "as.authenticated",
        "59 minutes ago",
        _test(at="2026-11-23 10:00", **_as(authenticated="2026-11-23 09:01")),
        _FRESH,
    ),
    TestRow(
        "as.authenticated",
        "an hour ago",
        _test("denial", at="2026-11-23 10:00", **_as(authenticated="2026-11-23 09:00")),
        _FRESH,
    ),
    TestRow("at", "noon on a Monday if not told", _test(), _NOON),
    TestRow("at", "the first of January 2024 if not told", _test(), _IN_2024),
    TestRow("at", "told", _test("denial", at="2026-11-23 12:01"), _NOON),
    TestRow("from", "told", _test(**{"from": "203.0.113.9"}), _FROM),
    TestRow("from", "not told", _test(), _FROM, _NO_ADDRESS),
    TestRow("via", "told", _test(via="h"), _VIA),
    TestRow("via", "not told", _test("denial"), _VIA),
)

UNKNOWN_NAMES: tuple[tuple[dict[str, str], str, str], ...] = (
    # `as:`, what it is told, and what is known
    ({"issuer": "ghost"}, "the policy has no issuer `ghost`", "known: ci, entra, i, j, k8s, kc, okta"),
    ({"workload": "ghost"}, "the policy has no workload `ghost`", "known: w"),
    ({"actor": "ghost"}, "the policy has no agent `ghost`", "known: none"),
)
"""Against a policy without agents."""
