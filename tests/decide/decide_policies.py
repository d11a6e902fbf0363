"""Hypothesis strategies: small policies in which much happens, and requests that hit it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from decide_oracle import Asked, day_end
from hypothesis import strategies as st

from meshward.decide.types import Identity, Request

MODELS = ["m1", "m2", "m3"]
ROLES = ["r1", "r2", "r3"]
GROUPS = ["g1", "g2"]
SUBJECTS = ["s1", "s2"]
AGENTS = ["a1", "a2"]
ACTIONS = ["infer", "describe", "observe", "manage"]
DATES = ["2026-11-20", "2026-11-23", "2027-03-28"]
# Around Berlin's changes of clock (2026-10-25 and 2027-03-28 at 01:00 UTC) and the dates above.
MOMENTS = [1792880000, 1795392000, 1795424400, 1795478400, 1806192000, 1806199200, 1806278400]
HOURS = [
    "Mon-Fri 08:00-18:00 Europe/Berlin",
    "Fri-Mon 22:00-06:00 America/New_York",
    "Sun 02:30-03:00 Europe/Berlin",
    "Mon,Wed 00:00-24:00 UTC",
]
NETWORKS = ["203.0.113.0/24", "2001:db8::/32", "198.51.100.7/32"]
ADDRESSES = ["203.0.113.9", "198.51.100.7", "192.0.2.1", "2001:db8::1"]
CLAIM_KEYS = ["environment", "/nested/id", "flag"]
CLAIM_VALUES = ["production", "1", 1, 0, True, False]


def some(words: list[Any], most: int = 2) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(words), min_size=1, max_size=most, unique=True)


def mapping(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


wide = st.lists(st.sampled_from(ACTIONS), min_size=2, max_size=4, unique=True)
labels = mapping({}, {"tier": st.sampled_from(["cpu", "gpu"]), "tenant": st.sampled_from(["t1", "t2"])})
selections = st.one_of(
    st.just("all"),
    st.just("all"),
    some(MODELS, 3),
    some(MODELS, 3),
    mapping({"labels": labels}, {"same": st.just(["tenant"])}),
    st.just({"same": ["tenant"]}),
)
whens = mapping(
    {},
    {
        "from": some(NETWORKS),
        "hours": st.sampled_from(HOURS),
        "fresh": st.sampled_from(["1h", "12h"]),
        "via": some(MODELS),
        "person": st.sampled_from(["required", "absent"]),
        "actor": st.sampled_from(["present", "absent"]),
    },
)
dates = st.sampled_from(DATES)
modes = st.sampled_from(["enforce", "enforce", "enforce", "shadow"])
subjects = st.fixed_dictionaries(
    {"issuer": st.sampled_from(["i1", "i2"]), "subject": st.sampled_from(SUBJECTS)}
)
claims = st.dictionaries(st.sampled_from(CLAIM_KEYS), st.sampled_from(CLAIM_VALUES), min_size=1, max_size=2)
members = st.one_of(
    st.fixed_dictionaries({"issuer": st.just("i1"), "group": st.sampled_from(GROUPS)}),
    mapping({"issuer": st.sampled_from(["i1", "i2"]), "group": st.sampled_from(GROUPS)}, {"until": dates}),
    mapping(
        {"issuer": st.sampled_from(["i1", "i2"]), "subject": st.sampled_from(SUBJECTS)}, {"until": dates}
    ),
    mapping({"issuer": st.just("ci"), "claims": claims}, {}),
    mapping({"workload": st.just("scorer")}, {"until": dates}),
)
grants = mapping(
    {"roles": some(ROLES), "models": selections, "actions": wide},
    {
        "when": whens,
        "expires": dates,
        "mode": modes,
        "on_request": st.just({"for": "2h"}),
        "limits": st.just({"requests": "5/min"}),
    },
)
plain_grants = mapping({"roles": some(ROLES, 3), "models": selections, "actions": wide}, {"expires": dates})
via_grants = mapping(
    {
        "roles": some(ROLES, 3),
        "models": selections,
        "actions": wide,
        "when": mapping({"via": some(MODELS, 3)}, {}),
    },
    {},
)
denies = mapping(
    {"actions": some(ACTIONS, 3)},
    {
        "roles": some(ROLES),
        "models": selections,
        "subjects": st.lists(subjects, min_size=1, max_size=2),
        "when": whens,
        "expires": dates,
        "mode": modes,
    },
)
agents = mapping(
    {
        "credential": st.sampled_from([{"workload": "scorer"}, {"issuer": "i1", "subject": "s2"}]),
        "acts_for": st.lists(st.sampled_from(ROLES), min_size=2, max_size=3, unique=True),
        "models": selections,
        "actions": wide,
        "max_depth": st.sampled_from([1, 2, 2]),
    },
    {},
)


chains = st.sampled_from([[]] * 6 + [["a1"], ["a2"], ["a1", "a2"], ["a1", "a1"], ["a2", "ghost"]])


moments = st.one_of(
    st.builds(day_end, dates).flatmap(lambda end: st.sampled_from([end - 1, end])),
    st.builds(int.__add__, st.sampled_from(MOMENTS), st.integers(-90000, 90000)),
)


def _model(labels: dict[str, str], calls: list[str], name: str) -> dict[str, Any]:
    versions = {"v1": {"server": "echo", "url": f"unix:/run/{name}.sock"}}
    return {"labels": labels, "calls": [other for other in calls if other != name], "versions": versions}


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """A whole policy as a mapping, as it would stand in a file."""
    rules = draw(st.lists(st.one_of(plain_grants, grants, grants, via_grants), min_size=1, max_size=6))
    refusals = draw(st.lists(denies, max_size=2))
    oidc = {"profile": "oidc", "issuer": "https://sso.example.com", "audience": "models"}
    return {
        "version": 1,
        "trust_domain": "models.example.com",
        "issuers": {
            "i1": oidc,
            "i2": oidc | {"issuer": "https://other.example.com"},
            "ci": {"profile": "github-actions", "audience": "models"},
        },
        "workloads": {"scorer": {"id": "/scorer"}},
        "roles": {role: draw(st.lists(members, min_size=1, max_size=3)) for role in ROLES},
        "servers": {"echo": {"infer": ["POST /run"], "health": "GET /health"}},
        "models": {name: _model(draw(labels), draw(some(MODELS, 3)), name) for name in MODELS},
        "grants": [{"id": f"grant{place}"} | rule for place, rule in enumerate(rules)],
        "denies": [{"id": f"deny{place}"} | rule for place, rule in enumerate(refusals)],
        "agents": {name: draw(agents) for name in AGENTS},
    }


clocks = mapping({}, {"hours": st.sampled_from(HOURS), "fresh": st.sampled_from(["1h", "12h"])})
timed = mapping({"models": st.just("all"), "actions": st.just(["infer"])}, {"when": clocks, "expires": dates})


@st.composite
def timed_policies(draw: st.DrawFn) -> dict[str, Any]:
    """Policies in which every rule speaks of the one thing that is asked, and only times decide."""
    whole = draw(policies())
    lines = draw(
        st.lists(mapping({"issuer": st.just("i1"), "group": st.just("g1")}, {"until": dates}), max_size=2)
    )
    return whole | {
        "roles": dict.fromkeys(ROLES, lines),
        "grants": [
            {"id": f"grant{n}", "roles": ["r1"]} | rule
            for n, rule in enumerate(draw(st.lists(timed, max_size=3)))
        ],
        "denies": [{"id": f"deny{n}"} | rule for n, rule in enumerate(draw(st.lists(timed, max_size=1)))],
    }


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    """A caller and a request. Mostly people with groups; sometimes workloads, jobs, agents, or nobody."""
    issuer = draw(st.sampled_from(["i1", "i1", "i1", "i2", "ci", None]))
    at = draw(moments)
    return Asked(
        model=draw(st.sampled_from([*MODELS * 4, "unknown"])),
        action=draw(st.sampled_from(ACTIONS)),
        at=at,
        issuer=issuer,
        subject=draw(st.sampled_from(SUBJECTS)) if issuer else None,
        groups=tuple(draw(some(GROUPS))) if issuer in ("i1", "i2") else (),
        claims=draw(st.one_of(st.just({}), facts)),
        attributes=draw(
            st.one_of(st.just({}), st.fixed_dictionaries({"tenant": st.sampled_from(["t1", "t2"])}))
        ),
        workload=draw(st.sampled_from(["scorer", None])),
        actors=tuple(draw(chains)),
        authenticated_at=draw(st.one_of(st.none(), st.integers(at - 50000, at))),
        source=draw(st.one_of(st.none(), st.sampled_from(ADDRESSES))),
        via=draw(st.sampled_from([None] * 5 + [*MODELS, "unknown"])),
    )


facts = st.fixed_dictionaries(
    {},
    optional={
        "environment": st.sampled_from(CLAIM_VALUES),
        "flag": st.sampled_from(CLAIM_VALUES),
        "nested": st.one_of(
            st.sampled_from(CLAIM_VALUES), st.fixed_dictionaries({"id": st.sampled_from(CLAIM_VALUES)})
        ),
        "client_id": st.sampled_from(SUBJECTS),
    },
)


def identity_of(asked: Asked) -> Identity:
    return Identity(
        issuer=asked.issuer,
        subject=asked.subject,
        groups=asked.groups,
        claims=asked.claims,
        attributes=asked.attributes,
        workload=asked.workload,
        actors=asked.actors,
        authenticated_at=asked.authenticated_at,
    )


def request_of(asked: Asked) -> Request:
    source = ip_address(asked.source) if asked.source is not None else None
    return Request(asked.model, asked.action, asked.at, source, asked.via)  # type: ignore[arg-type]
