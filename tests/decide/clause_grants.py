"""What a grant asks, one clause after the other: met, not met, not to be known. What is not known never opens."""

from __future__ import annotations

from clause_world import (
    DAY_END,
    DAY_START,
    NOON,
    STAFF,
    Row,
    far,
    given,
    grant,
    lacks,
    permit,
    refused,
    row,
    stranger,
)

NEVER_UNKNOWN = {
    "grant.models.all": "every model is one of all; it is never unmet either: what is no model has no decision",
    "grant.models.names": "the models of a policy are known",
    "grant.actions": "the edge asks for one of four actions, read off the route",
    "grant.when.hours": "the time is known",
    "grant.when.via": "a request that names no calling model is a direct one",
    "grant.when.actor": "a credential without actors is a caller's own",
    "grant.expires": "the time is known",
    "grant.on_request": "until there are activations it sleeps for everybody: never met, never unknown",
    "grant.mode": "it is the policy's own word",
}
"""Where a state cannot be: why."""

_FROM = {"from": ["203.0.113.0/24", "2001:db8::/32"]}
_NETWORKS = "a request from 203.0.113.0/24 or 2001:db8::/32"
_WINDOW = {"hours": "Mon 08:00-18:00 UTC"}
_IN_WINDOW = "a time within Mon 08:00-18:00 UTC"
_NIGHT = {"hours": "Sun 22:00-06:00 UTC"}
_IN_NIGHT = "a time within Sun 22:00-06:00 UTC"
_OPENS, _CLOSES = DAY_START + 8 * 3600, DAY_START + 18 * 3600
_FRESH = "a login less than 12h old"
_H_CALLS = "a call made by h on the caller's behalf"
_DIRECT = "`when: {via: [h]}`: it is for direct requests only"
_SLEEPS = "an activation: the grant sleeps until somebody asks for it"
_ENDED = "a later `expires`: it ended on 2026-11-23"
_EQUAL_A = "an attribute tenant that equals the model's label (a)"
_EQUAL_NONE = "an attribute tenant that equals the model's label (it has none)"
_SAME = {"models": {"same": ["tenant"]}}
_KC_ROLES = {"roles": {"staff": [{"issuer": "kc", "group": "staff"}]}}
_KC = {"issuer": "kc", "subject": "s", "groups": ("staff",)}
_BY_BOT = STAFF | {"actors": ("bot",)}


def _tenant(value: str) -> dict[str, object]:
    return STAFF | {"attributes": {"tenant": value}}


def _logged_in(at: int) -> dict[str, object]:
    return STAFF | {"authenticated_at": at}


_KC_LACKS = refused(
    "condition_not_met", "kc:s holds the role staff, but the grant g for m.infer asks for a person as subject"
)
_KC_PROGRAM = refused(
    "condition_not_met",
    "kc:s holds the role staff, but the grant g for m.infer asks for a program as subject",
)

GRANT_ROWS: tuple[Row, ...] = (
    row("grant.roles", "met", "the role is held", grant(), permit()),
    row("grant.roles", "met", "one of two is held", grant(roles=["boss", "staff"]), permit()),
    row(
        "grant.roles", "unmet", "another is held", grant(roles=["boss"]), far("role boss (from i group boss)")
    ),
    row("grant.roles", "unknown", "no groups are told", grant(), stranger("i:s"), STAFF | {"groups": ()}),
    row("grant.models.all", "met", "any model", grant(), permit()),
    row("grant.models.names", "met", "it is named", grant(models=["n", "m"]), permit()),
    row("grant.models.names", "unmet", "others are named", grant(models=["n", "h"]), far("model m")),
    row("grant.models.labels", "met", "its label", grant(models={"labels": {"tier": "cpu"}}), permit()),
    row(
        "grant.models.labels",
        "unmet",
        "other value",
        grant(models={"labels": {"tier": "gpu"}}),
        far("model m"),
    ),
    row(
        "grant.models.labels",
        "unmet",
        "one of two labels",
        grant(models={"labels": {"tier": "cpu", "tenant": "b"}}),
        far("model m"),
    ),
    row(
        "grant.models.labels",
        "unknown",
        "no such label",
        grant(models={"labels": {"x": "y"}}),
        far("model m"),
    ),
    row("grant.models.same", "met", "equal", grant(**_SAME), permit(), _tenant("a")),
    row("grant.models.same", "unmet", "another tenant", grant(**_SAME), lacks(_EQUAL_A), _tenant("b")),
    row("grant.models.same", "unknown", "caller has none", grant(**_SAME), lacks(_EQUAL_A)),
    row(
        "grant.models.same",
        "unknown",
        "model has no label",
        grant(**_SAME),
        refused(
            "condition_not_met",
            f"i:s holds the role staff, but the grant g for n.infer asks for {_EQUAL_NONE}",
        ),
        _tenant("a"),
        model="n",
    ),
    row(
        "grant.models.same",
        "unknown",
        "neither has it",
        grant(**_SAME),
        refused(
            "condition_not_met",
            f"i:s holds the role staff, but the grant g for n.infer asks for {_EQUAL_NONE}",
        ),
        model="n",
    ),
    row(
        "grant.models.same",
        "unmet",
        "one of two differs",
        grant(models={"same": ["tenant", "tier"]}),
        lacks("an attribute tier that equals the model's label (cpu)"),
        STAFF | {"attributes": {"tenant": "a", "tier": "gpu"}},
    ),
    row("grant.actions", "met", "it is named", grant(actions=["describe", "infer"]), permit()),
    row("grant.actions", "unmet", "another is named", grant(actions=["describe"]), far("action infer")),
    row("grant.when.from", "met", "within", grant(when=_FROM), permit()),
    row("grant.when.from", "met", "first address", grant(when=_FROM), permit(), source="203.0.113.0"),
    row("grant.when.from", "met", "last address", grant(when=_FROM), permit(), source="203.0.113.255"),
    row("grant.when.from", "met", "second network", grant(when=_FROM), permit(), source="2001:db8::1"),
    row("grant.when.from", "met", "mapped address", grant(when=_FROM), permit(), source="::ffff:203.0.113.9"),
    row(
        "grant.when.from",
        "unmet",
        "one before",
        grant(when=_FROM),
        lacks(f"{_NETWORKS} (it came from 203.0.112.255)"),
        source="203.0.112.255",
    ),
    row(
        "grant.when.from",
        "unmet",
        "one after",
        grant(when=_FROM),
        lacks(f"{_NETWORKS} (it came from 203.0.114.0)"),
        source="203.0.114.0",
    ),
    row(
        "grant.when.from",
        "unmet",
        "other kind of address",
        grant(when=_FROM),
        lacks(f"{_NETWORKS} (it came from 2001:db9::)"),
        source="2001:db9::",
    ),
    row(
        "grant.when.from",
        "unmet",
        "mapped and outside",
        grant(when=_FROM),
        lacks(f"{_NETWORKS} (it came from 192.0.2.1)"),
        source="::ffff:192.0.2.1",
    ),
    row(
        "grant.when.from",
        "unknown",
        "no address",
        grant(when=_FROM),
        lacks(f"{_NETWORKS} (its address is not known)"),
        source=None,
    ),
    row("grant.when.hours", "met", "at noon", grant(when=_WINDOW), permit(until=_CLOSES)),
    row("grant.when.hours", "met", "it opens", grant(when=_WINDOW), permit(until=_CLOSES), at=_OPENS),
    row("grant.when.hours", "met", "last second", grant(when=_WINDOW), permit(until=_CLOSES), at=_CLOSES - 1),
    row(
        "grant.when.hours",
        "unmet",
        "one second before",
        grant(when=_WINDOW),
        lacks(_IN_WINDOW, _OPENS),
        at=_OPENS - 1,
    ),
    row(
        "grant.when.hours",
        "unmet",
        "it closes",
        grant(when=_WINDOW),
        lacks(_IN_WINDOW, _OPENS + 86400),
        at=_CLOSES,
    ),
    row(
        "grant.when.hours",
        "unmet",
        "another day",
        grant(when=_WINDOW),
        lacks(_IN_WINDOW, _CLOSES + 86400),
        at=NOON + 86400,
    ),
    row(
        "grant.when.hours",
        "met",
        "past midnight",
        grant(when=_NIGHT),
        permit(until=DAY_START + 6 * 3600),
        at=DAY_START,
    ),
    row(
        "grant.when.hours",
        "met",
        "before midnight",
        grant(when=_NIGHT),
        permit(until=DAY_START + 6 * 3600),
        at=DAY_START - 1,
    ),
    row(
        "grant.when.hours",
        "unmet",
        "the morning",
        grant(when=_NIGHT),
        lacks(_IN_NIGHT, DAY_START + 22 * 3600),
        at=DAY_START + 6 * 3600,
    ),
    row(
        "grant.when.fresh",
        "met",
        "last second",
        grant(when={"fresh": "12h"}),
        permit(until=NOON + 1),
        _logged_in(NOON - 12 * 3600 + 1),
    ),
    row(
        "grant.when.fresh",
        "met",
        "just now",
        grant(when={"fresh": "12h"}),
        permit(until=NOON + 12 * 3600),
        _logged_in(NOON),
    ),
    row(
        "grant.when.fresh",
        "unmet",
        "twelve hours ago",
        grant(when={"fresh": "12h"}),
        lacks(_FRESH),
        _logged_in(NOON - 12 * 3600),
    ),
    row(
        "grant.when.fresh",
        "unknown",
        "it is not told when",
        grant(when={"fresh": "12h"}),
        lacks(f"{_FRESH} (when it was is not known)"),
    ),
    row("grant.when.via", "met", "called by it", grant(when={"via": ["h"]}), permit(), via="h"),
    row("grant.when.via", "met", "one of two", grant(when={"via": ["k", "h"]}), permit(), via="h"),
    row("grant.when.via", "unmet", "by another", grant(when={"via": ["h"]}), lacks(_H_CALLS), via="k"),
    row("grant.when.via", "unmet", "asked directly", grant(when={"via": ["h"]}), lacks(_H_CALLS)),
    row("grant.when.via", "unmet", "a grant without it", grant(), lacks(_DIRECT), via="h"),
    row(
        "grant.when.via",
        "unmet",
        "a grant with another condition",
        grant(when={"person": "required"}),
        lacks(_DIRECT),
        via="h",
    ),
    row("grant.when.person", "met", "a person", grant(when={"person": "required"}), permit()),
    row(
        "grant.when.person",
        "met",
        "no person",
        grant(when={"person": "absent"}),
        permit(),
        STAFF | {"claims": {"client_id": "s"}},
    ),
    row(
        "grant.when.person",
        "unmet",
        "a program",
        grant(when={"person": "required"}),
        lacks("a person as subject"),
        STAFF | {"claims": {"client_id": "s"}},
    ),
    row(
        "grant.when.person",
        "unmet",
        "a person for a program",
        grant(when={"person": "absent"}),
        lacks("a program as subject"),
    ),
    row(
        "grant.when.person",
        "unknown",
        "required and not told",
        _KC_ROLES | grant(when={"person": "required"}),
        _KC_LACKS,
        _KC,
    ),
    row(
        "grant.when.person",
        "unknown",
        "absent and not told",
        _KC_ROLES | grant(when={"person": "absent"}),
        _KC_PROGRAM,
        _KC,
    ),
    row("grant.when.actor", "met", "an agent", grant(when={"actor": "present"}), permit(), _BY_BOT),
    row("grant.when.actor", "met", "no agent", grant(when={"actor": "absent"}), permit()),
    row(
        "grant.when.actor",
        "unmet",
        "nobody between",
        grant(when={"actor": "present"}),
        lacks("an agent acting for the caller"),
    ),
    row(
        "grant.when.actor",
        "unmet",
        "an agent between",
        grant(when={"actor": "absent"}),
        lacks("no agent acting for the caller"),
        _BY_BOT,
    ),
    row(
        "grant.expires",
        "met",
        "last second",
        grant(expires="2026-11-23"),
        permit(until=DAY_END),
        at=DAY_END - 1,
    ),
    row("grant.expires", "unmet", "it is over", grant(expires="2026-11-23"), lacks(_ENDED), at=DAY_END),
    row("grant.on_request", "unmet", "it sleeps", grant(on_request={"for": "2h"}), lacks(_SLEEPS)),
    row("grant.mode", "met", "enforced", grant(mode="enforce"), permit()),
    row(
        "grant.mode",
        "unmet",
        "in shadow",
        grant(mode="shadow"),
        refused("no_grant", "no grant gives m.infer to i:s"),
    ),
    # Several at once: all must hold, each is named, and the first change of any of them ends the answer.
    row(
        "grant.when.hours",
        "met",
        "and ends before the login does",
        grant(when=_WINDOW | {"fresh": "12h"}),
        permit(until=_CLOSES),
        _logged_in(NOON),
    ),
    row(
        "grant.when.fresh",
        "met",
        "and ends before the hours do",
        grant(when=_WINDOW | {"fresh": "12h"}),
        permit(until=NOON + 60),
        _logged_in(NOON - 12 * 3600 + 60),
    ),
    row(
        "grant.when.fresh",
        "unmet",
        "though the hours are met",
        grant(when=_WINDOW | {"fresh": "12h"}),
        lacks(_FRESH, _CLOSES),
        _logged_in(NOON - 12 * 3600),
    ),
    row(
        "grant.when.hours",
        "unmet",
        "and the login is old and the grant over",
        grant(when=_WINDOW | {"fresh": "12h"}, expires="2026-11-22"),
        lacks(
            f"a later `expires`: it ended on 2026-11-22, {_IN_WINDOW} and {_FRESH}",
            _OPENS,
        ),
        _logged_in(DAY_START - 12 * 3600),
        at=DAY_START,
    ),
    # Which grant pays, and how long the answer holds with several.
    row(
        "grant.roles",
        "met",
        "two grants and the first pays",
        {"grants": [given("b", roles=["boss"]), given("s", limits={"concurrent": 4}), given("t")]},
        permit("s", "t"),
    ),
    row(
        "grant.expires",
        "met",
        "a second grant changes the answer sooner",
        {"grants": [given("g", expires="2026-11-24"), given("f", expires="2026-11-23")]},
        permit("g", "f", until=DAY_END),
    ),
    row(
        "grant.when.hours",
        "unmet",
        "beside a grant that holds",
        {"grants": [given("f", when={"hours": "Mon 13:00-14:00 UTC"}), given("g")]},
        permit("g", until=NOON + 3600),
    ),
    # Which grant a refusal names: the nearest, but one that lacks only a condition before others.
    row(
        "grant.roles",
        "unmet",
        "two lack as many and the other role is nearer",
        {"grants": [given("f", models=["n"]), given("e", actions=["describe"]), given("g", roles=["boss"])]},
        far("role boss (from i group boss)"),
    ),
    row(
        "grant.models.names",
        "unmet",
        "nearer than a role and a condition",
        {"grants": [given("f", roles=["boss"], when={"fresh": "12h"}), given("g", models=["n"])]},
        far("model m"),
    ),
    row(
        "grant.models.names",
        "unmet",
        "the first of two",
        {"grants": [given("g", models=["n"]), given("f", actions=["describe"])]},
        far("model m"),
    ),
    row(
        "grant.actions",
        "unmet",
        "the first of two",
        {"grants": [given("g", actions=["describe"]), given("f", models=["n"])]},
        far("action infer"),
    ),
    row(
        "grant.when.fresh",
        "unknown",
        "before a grant that lacks less",
        {
            "grants": [
                given("f", roles=["boss"]),
                given("g", when={"fresh": "12h", "actor": "present"}),
            ]
        },
        lacks(f"{_FRESH} (when it was is not known) and an agent acting for the caller"),
    ),
    row(
        "grant.mode",
        "unmet",
        "in shadow and for another role",
        grant(mode="shadow", roles=["boss"]),
        refused("no_grant", "no grant gives m.infer to i:s"),
    ),
)
