"""What was permitted and is not any more, and the other way round: the next request after a change is already right."""

from __future__ import annotations

from typing import Any

from tests.conformance.cases.common import (
    CLOSED,
    OPENS,
    PLATFORM,
    RULES_SMALL,
    SCIENTIST,
    SCORER,
    SITE,
    after,
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
from tests.conformance.format import Token
from tests.conformance.suite import topic

_REVOKED = deny("decision", "revoked")
_KEPT = {"keeps-revoked": OPENS}
_GRANTS: list[dict[str, Any]] = RULES_SMALL["grants"]
_RETIRED = workload("retired")
_BOTH = person("bea", "science", "platform")

POLICIES = {
    "small": RULES_SMALL,
    "moved": policy(roles={**RULES_SMALL["roles"], "scientist": [group("research")]}),
    "without-science": policy(grants=_GRANTS[1:]),
    "with-a-deny": policy(denies=[{"id": "stop", "roles": ["scientist"], "models": ["minilm"]}]),
    "fewer-routes": policy(servers={"plain": {**RULES_SMALL["servers"]["plain"], "infer": ["POST /ask"]}}),
    "other-actions": policy(
        servers={
            "plain": {
                **RULES_SMALL["servers"]["plain"],
                "infer": ["POST /ask"],
                "manage": ["POST /admin/load", "POST /v1/ask"],
            }
        }
    ),
}
CASES = [
    case(
        "a-role-is-given-and-taken",
        "Whoever leaves a group's role loses it at once, and whoever is in the new one has it.",
        (client(), permit("science")),
        after(client(), deny("decision", "identity_without_role"), policy="moved"),
        (client(person("rae", "research")), permit("science")),
        after(client(person("rae", "research")), deny("decision", "identity_without_role"), policy="small"),
        (client(), permit("science")),
        covers=["roles"],
    ),
    case(
        "a-grant-is-taken",
        "A grant that is gone gives nothing; who has another keeps that.",
        (client(_BOTH), permit("science")),
        after(client(_BOTH), permit("all"), policy="without-science"),
        (client(), deny("decision", "no_grant")),
        covers=["roles"],
    ),
    case(
        "a-deny-is-added",
        "A deny holds at once, and its end too.",
        (get(SCIENTIST, "/info"), permit("science")),
        after(get(SCIENTIST, "/info"), deny("decision", "denied_by_rule"), policy="with-a-deny"),
        (get(SCIENTIST, "/info", model="doc.search"), permit("science")),
        after(get(SCIENTIST, "/info"), permit("science"), policy="small"),
        covers=["denies"],
    ),
    case(
        "a-route-goes",
        "A route that no action names any more does not exist, at either hop.",
        (client(target="/v1/ask"), permit("science")),
        (inside(token(), "/v1/ask"), permit()),
        after(client(target="/v1/ask"), deny("decision", "route_unknown"), policy="fewer-routes"),
        (inside(token(), "/v1/ask"), CLOSED),
        (inside(token(), "/ask"), permit()),
        covers=["routes", "permission"],
    ),
    case(
        "a-route-changes-its-action",
        "A route that moves to another action takes that one's permission, and no more the old one's.",
        (inside(token(), "/v1/ask"), permit()),
        after(client(target="/v1/ask"), deny("decision", "no_grant"), policy="other-actions"),
        (client(PLATFORM, "/v1/ask"), permit("all")),
        (inside(token(), "/v1/ask"), CLOSED),
        (inside(token("minilm.manage"), "/v1/ask"), permit()),
        covers=["routes", "permission"],
    ),
    case(
        "a-revoked-subject",
        "Who is revoked is refused from the next request on, with every token; others are not.",
        (client(person("rhea", "science")), permit("science")),
        after(client(person("rhea", "science")), _REVOKED, revoke={"subject": "staff:rhea"}),
        (client(person("rhea", "science", "platform")), _REVOKED),
        (client(), permit("science")),
        covers=["revoked subject"],
    ),
    case(
        "a-revoked-subjects-token",
        "The last hop takes no token of who is revoked; a mesh's proxy does until it ends, within a minute.",
        (inside(token(claims={"sub": "staff:rhea"})), permit()),
        after(
            inside(token(claims={"sub": "staff:rhea"})),
            deny("guard", where=_KEPT),
            revoke={"subject": "staff:rhea"},
        ),
        (inside(token()), permit()),
        covers=["revoked subject"],
    ),
    case(
        "a-revoked-agents-token",
        "Nor one with a revoked agent anywhere in its chain.",
        (inside(token(actors=["planner", "research"])), permit()),
        after(
            inside(token(actors=["planner", "research"])),
            deny("guard", where=_KEPT),
            revoke={"agent": "research"},
        ),
        (inside(token(actors=["research"])), deny("guard", where=_KEPT)),
        (inside(token(actors=["planner"])), permit()),
        covers=["revoked agent"],
    ),
    case(
        "a-revoked-workload",
        "So is a workload.",
        (client(_RETIRED), permit("nightly")),
        after(client(_RETIRED), _REVOKED, revoke={"subject": "workload:retired"}),
        (client(SCORER), permit("nightly")),
        covers=["revoked subject", "workloads"],
    ),
    case(
        "a-revoked-token",
        "A revoked token is refused; another of the same caller is not.",
        (client(token=Token(claims={"jti": "stolen-1"})), permit("science")),
        after(client(token=Token(claims={"jti": "stolen-1"})), _REVOKED, revoke={"token": "stolen-1"}),
        (client(token=Token(claims={"jti": "mine-2"})), permit("science")),
        covers=["revoked token"],
    ),
]
TOPIC = topic("changes", __doc__ or "", POLICIES, CASES, {"cluster": SITE})
