"""Split enforcement: hops that each check what they see, by different grants, must not let pass what no grant permits.

One grant passes the edge, another the guard, and the sum permits what no grant does. So one hop decides with all the
facts, and its token says the one permission that came of it.
"""

from __future__ import annotations

from typing import Any

from tests.conformance.cases.common import (
    CLOSED,
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
    trap,
)
from tests.conformance.suite import topic


def _grant(id_: str, role: str, models: Any, *actions: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "roles": [role], "models": models, "actions": list(actions), **more}


RULES = policy(
    roles={"staff": [group("staff")], "tenant": [group("tenants")], "late": [group("late")]},
    grants=[
        _grant("asks-from-near", "staff", ["minilm"], "infer", when={"from": ["127.0.5.0/24"]}),
        _grant("looks-from-anywhere", "staff", ["minilm"], "describe"),
        _grant("own-asks", "tenant", {"same": ["tenant"]}, "infer"),
        _grant("all-look", "tenant", "all", "describe"),
        _grant("old-login-looks", "late", ["assistant"], "describe", when={"fresh": "30d"}),
        _grant("fresh-login-asks", "late", ["assistant"], "infer", when={"fresh": "10m"}),
    ],
)
_STAFF = person("sam", "staff")
_TENANT = person("tia", "tenants", tenant="acme")
_LATE = person("lea", "late")
_AN_HOUR_AGO = {"times": {"auth_time": -3600}}

CASES = [
    trap(
        "address-of-one-action-of-another",
        "A grant for this action elsewhere and one for another action here are no grant for this action here.",
        (client(_STAFF, source="127.0.5.7"), permit("asks-from-near")),
        (get(_STAFF, "/info", source="127.0.6.7"), permit("looks-from-anywhere")),
        (client(_STAFF, source="127.0.6.7"), deny("decision", "condition_not_met")),
        covers=["conditions", "permission"],
    ),
    trap(
        "tenant-of-one-model-of-another",
        "Nor are a grant on one's own model and a grant to look at all of them.",
        (client(_TENANT), permit("own-asks")),
        (get(_TENANT, "/info", model="assistant"), permit("all-look")),
        (client(_TENANT, model="assistant"), deny("decision", "condition_not_met")),
        covers=["attributes", "permission"],
    ),
    trap(
        "login-of-one-action-of-another",
        "Nor does an old login ask because it may look.",
        (get(_LATE, "/info", model="assistant", token=_AN_HOUR_AGO), permit("old-login-looks")),
        (client(_LATE, model="assistant", token=_AN_HOUR_AGO), deny("decision", "condition_not_met")),
        covers=["conditions", "permission"],
    ),
    case(
        "a-token-says-one-permission",
        "The token of the grant that holds opens what that one gives, and not what another would.",
        (inside(token("minilm.describe"), "/info", method="GET"), permit()),
        (inside(token("minilm.describe"), "/ask"), CLOSED),
        (inside(token("assistant.describe"), "/info", method="GET"), CLOSED),
        covers=["permission"],
    ),
]
TOPIC = topic("split", __doc__ or "", {"small": RULES}, CASES, {"cluster": SITE})
