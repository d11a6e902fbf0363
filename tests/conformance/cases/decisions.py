"""Who may what: roles, grants, denies, conditions, attributes, expiry; and what `decide` alone can do so far."""

from __future__ import annotations

from typing import Any

from tests.conformance.cases.common import (
    CLOSED,
    EVERY_ACTION,
    PLATFORM,
    SCIENTIST,
    SCORER,
    SITE,
    case,
    client,
    deny,
    get,
    group,
    inside,
    permit,
    person,
    policy,
    token,
    workload,
)
from tests.conformance.suite import topic

_MEMBERS: dict[str, Any] = {
    "scientist": [group("science")],
    "platform": [group("platform")],
    "batch": [{"workload": "scorer"}],
    "tenant": [group("tenants")],
    "past": [group("guests", until="2020-01-01")],
    "present": [group("guests", until="2099-12-31")],
    "claimed": [{"issuer": "staff", "claims": {"level": 3}}],
    "named": [{"issuer": "staff", "subject": "nina"}],
    "roamer": [group("roamers")],
    "robot": [group("robots")],
    "clerk": [group("clerks")],
}


def _grant(id_: str, role: str, models: Any, *actions: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "roles": [role], "models": models, "actions": list(actions), **more}


RULES = policy(
    roles=_MEMBERS,
    grants=[
        _grant("own", "tenant", {"same": ["tenant"]}, "infer"),
        _grant("over", "clerk", ["minilm"], "infer", expires="2020-01-01"),
        _grant("to-come", "clerk", ["assistant"], "infer", expires="2099-12-31"),
        _grant("near", "roamer", ["minilm"], "infer", when={"from": ["127.0.5.0/24"]}),
        _grant(
            "office", "roamer", ["assistant"], "infer", when={"hours": "Mon-Fri 08:00-18:00 Europe/Berlin"}
        ),
        _grant("always", "roamer", ["assistant"], "describe", when={"hours": "Mon-Sun 00:00-24:00 UTC"}),
        _grant("lately", "roamer", ["doc.search"], "infer", when={"fresh": "1h"}),
        _grant("people", "robot", ["minilm"], "infer", when={"person": "required"}),
        _grant("programs", "robot", ["assistant"], "infer", when={"person": "absent"}),
        _grant("no-agent", "robot", ["doc.search"], "describe", when={"actor": "absent"}),
        _grant("science", "scientist", {"labels": {"data": "public"}}, "infer", "describe"),
        _grant("science-too", "scientist", ["minilm"], "infer", "observe"),
        _grant("all", "platform", "all", *EVERY_ACTION),
        _grant("nightly", "batch", ["minilm"], "infer"),
        _grant("gone", "past", "all", "infer"),
        _grant("staying", "present", ["minilm"], "infer"),
        _grant("levelled", "claimed", ["minilm"], "infer"),
        _grant("nina", "named", ["minilm"], "infer"),
    ],
    denies=[
        {"id": "leaver", "subjects": [{"issuer": "staff", "subject": "leo"}]},
        {"id": "no-load", "roles": ["platform"], "models": ["doc.search"], "actions": ["manage"]},
        {"id": "was-denied", "roles": ["scientist"], "expires": "2020-01-01"},
        {"id": "far", "roles": ["roamer"], "models": ["minilm"], "when": {"from": ["127.0.5.99"]}},
    ],
)
SHADOWED = policy(
    grants=[_grant("shadowed", "scientist", ["minilm"], "infer", mode="shadow")],
    denies=[{"id": "shadowed-deny", "roles": ["platform"], "mode": "shadow"}],
)
ASKED_FOR = policy(
    grants=[_grant("asleep", "scientist", ["minilm"], "infer", on_request={"for": "2h", "approve": []})]
)
CALLED = policy(
    models={**policy()["models"], "assistant": {**policy()["models"]["assistant"], "calls": ["minilm"]}},
    grants=[
        _grant("behind", "scientist", ["minilm"], "infer", when={"via": ["assistant"]}),
        _grant("direct", "platform", ["minilm"], "infer"),
    ],
)
WITH_AGENTS = policy(
    workloads={**policy()["workloads"], "research": {"id": "/agent/research"}},
    grants=[
        _grant("science", "scientist", ["minilm", "assistant"], "infer", "describe"),
        _grant("all", "platform", "all", *EVERY_ACTION),
    ],
    agents={
        "research": {
            "credential": {"workload": "research"},
            "acts_for": ["scientist"],
            "models": ["minilm"],
            "actions": ["infer"],
        }
    },
)
_ROAMER = person("rob", "roamers")
_ROBOT = person("robot", "robots", client_id="robot")
_BY_AGENT = SCIENTIST.model_copy(update={"actor": "research"})
_PLATFORM_BY_AGENT = PLATFORM.model_copy(update={"actor": "research"})

CASES = [
    case(
        "a-role-gives-its-grants",
        "A member may do what a grant to the role says, and nothing beside it.",
        (client(), permit("science")),
        (get(SCIENTIST, "/info"), permit("science")),
        (get(SCIENTIST, "/metrics"), permit("science-too")),
        (client(SCIENTIST, "/admin/load"), deny("decision", "no_grant")),
        (client(SCIENTIST, model="assistant"), deny("decision", "no_grant")),
        covers=["roles", "permission", "routes"],
    ),
    case(
        "the-first-grant-pays",
        "Of several grants that hold the first in the file pays, whatever another asks or gives.",
        (client(), permit("science")),
        (get(SCIENTIST, "/metrics"), permit("science-too")),
    ),
    case(
        "nobody-without-a-role",
        "Who holds no role may nothing; nor by nearly the name of a group.",
        (client(person("nobody")), deny("decision", "identity_without_role")),
        (client(person("near", "scienc")), deny("decision", "identity_without_role")),
        (client(person("case", "Science")), deny("decision", "identity_without_role")),
        (client(person("spaced", "science platform")), deny("decision", "identity_without_role")),
        covers=["roles", "identity"],
    ),
    case(
        "every-action-has-its-own-permission",
        "A role with every action on every model has each by its own route.",
        *(
            (client(PLATFORM, path, method=method, model=name), permit("all"))
            for name in ("minilm", "assistant")
            for method, path in (
                ("POST", "/v1/ask"),
                ("GET", "/info"),
                ("GET", "/metrics"),
                ("POST", "/admin/load"),
            )
        ),
    ),
    case(
        "a-dot-in-a-name",
        "The last dot splits a permission: `doc.search` is a model, and no action of `doc`.",
        (client(model="doc.search"), permit("science")),
    ),
    case(
        "a-dot-in-a-name-inside",
        "So it is at the last hop.",
        (inside(token("doc.search.infer"), model="doc.search"), permit()),
        (inside(token("doc.search.describe"), model="doc.search"), CLOSED),
        (inside(token("minilm.infer"), model="doc.search"), CLOSED),
    ),
    case(
        "a-model-that-is-not",
        "What the policy does not name does not exist.",
        (client(model="nothing"), deny("decision", "model_unknown")),
        (client(target="/other"), deny("decision", "route_unknown")),
        (get(SCIENTIST, "/ask"), deny("decision", "route_unknown")),
    ),
    case(
        "a-deny-beats-every-grant",
        "A deny of a subject, or of a role's action, holds whatever a grant says.",
        (client(person("leo", "science", "platform")), deny("decision", "denied_by_rule")),
        (client(PLATFORM, "/admin/load", model="doc.search"), deny("decision", "denied_by_rule")),
        (client(PLATFORM, "/ask", model="doc.search"), permit("all")),
        covers=["denies"],
    ),
    case(
        "a-deny-with-another-role",
        "A deny of one role holds for who has another role besides.",
        (
            client(person("both", "platform", "science"), "/admin/load", model="doc.search"),
            deny("decision", "denied_by_rule"),
        ),
        covers=["denies"],
    ),
    case(
        "a-deny-under-a-condition",
        "A deny holds where its condition does, and else the grant does.",
        (client(_ROAMER, source="127.0.5.99"), deny("decision", "denied_by_rule")),
        (client(_ROAMER, source="127.0.5.98"), permit("near")),
        covers=["denies", "conditions"],
    ),
    case(
        "what-has-ended",
        "A grant, a deny and a membership end with their last day.",
        (client(person("cleo", "clerks")), deny("decision", "condition_not_met")),
        (client(person("cleo", "clerks"), model="assistant"), permit("to-come")),
        (client(person("gus", "guests")), permit("staying")),
        (client(person("gus", "guests"), model="assistant"), deny("decision", "no_grant")),
        covers=["expiry"],
    ),
    case(
        "the-last-second",
        "A grant holds to the end of its last day, UTC, and not one second longer.",
        (client(person("cleo", "clerks"), at="2020-01-01 23:59"), permit("over")),
        (client(person("cleo", "clerks"), at="2020-01-02 00:00"), deny("decision", "condition_not_met")),
        importance="edge",
        covers=["expiry"],
    ),
    case(
        "from-an-address",
        "A condition on addresses holds for those, and for no other.",
        (client(_ROAMER, source="127.0.5.1"), permit("near")),
        (client(_ROAMER, source="127.0.6.1"), deny("decision", "condition_not_met")),
        (
            client(_ROAMER, source="127.0.6.1", headers=[("X-Forwarded-For", "127.0.5.1")]),
            deny("decision", "condition_not_met"),
        ),
        covers=["conditions"],
    ),
    case(
        "within-hours",
        "A condition on hours is on the clock of its zone, summer and winter.",
        (client(_ROAMER, model="assistant", at="2026-07-06 06:00"), permit("office")),
        (
            client(_ROAMER, model="assistant", at="2026-01-05 06:59"),
            deny("decision", "condition_not_met"),
        ),
        (client(_ROAMER, model="assistant", at="2026-01-05 07:00"), permit("office")),
        (
            client(_ROAMER, model="assistant", at="2026-01-10 12:00"),
            deny("decision", "condition_not_met"),
        ),
        covers=["conditions"],
    ),
    case(
        "at-all-hours",
        "Hours that are always hold now, too.",
        (get(_ROAMER, "/info", model="assistant"), permit("always")),
        covers=["conditions"],
    ),
    case(
        "a-fresh-login",
        "A condition on a fresh login needs one that is known and recent.",
        (client(_ROAMER, model="doc.search", token={"times": {"auth_time": -60}}), permit("lately")),
        (
            client(_ROAMER, model="doc.search", token={"times": {"auth_time": -7200}}),
            deny("decision", "condition_not_met"),
        ),
        (client(_ROAMER, model="doc.search"), deny("decision", "condition_not_met")),
        covers=["conditions"],
    ),
    case(
        "a-person-or-a-program",
        "Grants for people are not for programs, and the other way round; what is not known opens neither.",
        (client(_ROBOT), deny("decision", "condition_not_met")),
        (client(_ROBOT, model="assistant"), permit("programs")),
        (get(_ROBOT, "/info", model="doc.search"), permit("no-agent")),
        covers=["conditions"],
    ),
    case(
        "the-same-tenant",
        "`same` compares the caller's attribute with the model's label; absence on either side is no match.",
        (client(person("tom", "tenants", tenant="acme")), permit("own")),
        (
            client(person("tom", "tenants", tenant="acme"), model="assistant"),
            deny("decision", "condition_not_met"),
        ),
        (
            client(person("tom", "tenants", tenant="acme"), model="doc.search"),
            deny("decision", "condition_not_met"),
        ),
        (client(person("tess", "tenants")), deny("decision", "condition_not_met")),
        (client(person("ted", "tenants", tenant=["acme"])), deny("decision", "condition_not_met")),
        covers=["attributes"],
    ),
    case(
        "a-claim-of-the-right-type",
        "A role by a claim asks for that value in that type.",
        (client(person("cli", level=3)), permit("levelled")),
        (client(person("cli", level="3")), deny("decision", "identity_without_role")),
        (client(person("cli", level=3.5)), deny("decision", "identity_without_role")),
        (client(person("cli", level=[3])), deny("decision", "identity_without_role")),
        covers=["roles"],
    ),
    case(
        "a-role-by-subject",
        "A role of one subject is that subject's alone.",
        (client(person("nina")), permit("nina")),
        (client(person("Nina")), deny("decision", "identity_without_role")),
        covers=["identity", "roles"],
    ),
    case(
        "a-workload-has-its-role",
        "A workload is who its certificate says, and may what its role's grants say.",
        (client(SCORER), permit("nightly")),
        (get(SCORER, "/info"), deny("decision", "no_grant")),
        (client(workload("idle")), deny("decision", "identity_without_role")),
        covers=["workloads"],
    ),
    case(
        "in-shadow",
        "A rule in shadow opens nothing and closes nothing.",
        (client(), deny("decision", "no_grant")),
        (client(PLATFORM), deny("decision", "no_grant")),
        policy="shadowed",
        covers=["shadow"],
    ),
    case(
        "asked-for",
        "A grant on request gives nothing until it was activated.",
        (client(), deny("decision", "condition_not_met")),
        policy="asked-for",
        covers=["on request"],
    ),
    case(
        "on-behalf",
        "A grant `via` a model is for its calls alone; other grants are for direct requests alone.",
        (client(via="assistant"), permit("behind")),
        (client(), deny("decision", "condition_not_met")),
        (client(PLATFORM), permit("direct")),
        (client(PLATFORM, via="assistant"), deny("decision", "condition_not_met")),
        (client(via="doc.search"), deny("decision", "call_not_declared")),
        policy="called",
        covers=["via", "calls"],
    ),
    case(
        "by-an-agent",
        "An agent may no more than its own entry and its person both may.",
        (client(_BY_AGENT), permit("science")),
        (client(_BY_AGENT, model="assistant"), deny("decision", "actor_unauthorized")),
        (get(_BY_AGENT, "/info"), deny("decision", "actor_unauthorized")),
        (client(_PLATFORM_BY_AGENT), deny("decision", "actor_unauthorized")),
        policy="agents",
        covers=["agents"],
    ),
]
TOPIC = topic(
    "decisions",
    __doc__ or "",
    {
        "small": RULES,
        "shadowed": SHADOWED,
        "asked-for": ASKED_FOR,
        "called": CALLED,
        "agents": WITH_AGENTS,
    },
    CASES,
    {"cluster": SITE},
)
