"""What a deny asks, one clause after the other. It applies unless one clause surely is not met: what is not known
does not save the caller.
"""

from __future__ import annotations

from clause_world import (
    DAY_END,
    DAY_START,
    NOON,
    STAFF,
    Row,
    denied,
    deny,
    given,
    permit,
    refused,
    row,
    stranger,
)

NEVER_UNKNOWN = {
    "deny.models.all": "every model is one of all; it is never unmet either: what is no model has no decision",
    "deny.models.names": "the models of a policy are known",
    "deny.actions": "the edge asks for one of four actions, read off the route",
    "deny.when.hours": "the time is known",
    "deny.when.via": "a request that names no calling model is a direct one",
    "deny.when.actor": "a credential without actors is a caller's own",
    "deny.expires": "the time is known",
    "deny.mode": "it is the policy's own word",
}
"""Where a state cannot be: why."""

_FROM = {"from": ["203.0.113.0/24"]}
_WINDOW = {"hours": "Mon 08:00-18:00 UTC"}
_OPENS, _CLOSES = DAY_START + 8 * 3600, DAY_START + 18 * 3600
_FRESH = {"fresh": "12h"}
_SAME = {"same": ["tenant"]}
_S = [{"issuer": "i", "subject": "s"}]
_BOT = [{"issuer": "i", "subject": "bot"}]
_KC_ROLES = {"roles": {"staff": [{"issuer": "kc", "group": "staff"}]}}
_KC = {"issuer": "kc", "subject": "s", "groups": ("staff",)}
_KC_MS = {"issuer": "kc", "subject": "s"}
_BY_BOT = STAFF | {"actors": ("bot",)}
_VIA = {"grants": [given("g", when={"via": ["h", "k"]})]}


def _tenant(value: str) -> dict[str, object]:
    return STAFF | {"attributes": {"tenant": value}}


def _logged_in(at: int) -> dict[str, object]:
    return STAFF | {"authenticated_at": at}


DENY_ROWS: tuple[Row, ...] = (
    row("deny.subjects", "met", "the caller", deny(subjects=_S), denied()),
    row("deny.subjects", "met", "one of two", deny(subjects=[*_BOT, *_S]), denied()),
    row("deny.subjects", "met", "the agent", deny(subjects=_BOT), denied(), _BY_BOT),
    row(
        "deny.subjects",
        "met",
        "the second agent",
        deny(subjects=_BOT),
        denied(),
        STAFF | {"actors": ("tool", "bot")},
    ),
    row(
        "deny.subjects",
        "unmet",
        "another subject",
        deny(subjects=[{"issuer": "i", "subject": "t"}]),
        permit(),
    ),
    row(
        "deny.subjects",
        "unmet",
        "another issuers",
        deny(subjects=[{"issuer": "j", "subject": "s"}]),
        permit(),
    ),
    row("deny.subjects", "unmet", "an agent that is not here", deny(subjects=_BOT), permit()),
    row(
        "deny.subjects",
        "unmet",
        "an agent without a subject",
        deny(subjects=_BOT),
        permit(),
        STAFF | {"actors": ("tool",)},
    ),
    row(
        "deny.subjects",
        "unmet",
        "an agent that there is not",
        deny(subjects=_BOT),
        refused(
            "actor_unauthorized",
            "the agent ghost may not ask for m.infer on behalf of i:s: the policy knows no such agent",
        ),
        STAFF | {"actors": ("ghost",)},
    ),
    row(
        "deny.subjects",
        "unknown",
        "no subject is told",
        deny(subjects=_S),
        permit(),
        STAFF | {"subject": None},
    ),
    row("deny.subjects", "unknown", "no issuer", deny(subjects=_S), stranger("nobody"), {"subject": "s"}),
    row("deny.subjects", "unmet", "its role too", deny(subjects=_S, roles=["boss"]), permit()),
    row("deny.subjects", "unmet", "its model too", deny(subjects=_S, models=["n"]), permit()),
    row("deny.subjects", "unmet", "its action too", deny(subjects=_S, actions=["manage"]), permit()),
    row(
        "deny.subjects",
        "met",
        "and all else",
        deny(subjects=_S, roles=["staff"], models=["m"], actions=["infer"]),
        denied(),
    ),
    row("deny.subjects", "unmet", "in shadow", deny(subjects=_S, mode="shadow"), permit()),
    row("deny.roles", "met", "the role is held", deny(roles=["staff"]), denied()),
    row("deny.roles", "met", "one of two", deny(roles=["boss", "staff"]), denied()),
    row(
        "deny.roles",
        "met",
        "though the agent acts for another role",
        deny(roles=["boss"]),
        denied(roles=("boss", "staff")),
        _BY_BOT | {"groups": ("staff", "boss")},
    ),
    row("deny.roles", "unmet", "another role", deny(roles=["boss"]), permit()),
    row(
        "deny.roles",
        "unknown",
        "no groups are told",
        deny(roles=["staff"]),
        stranger("i:s"),
        STAFF | {"groups": ()},
    ),
    row("deny.models.all", "met", "any model", deny(models="all"), denied()),
    row("deny.models.names", "met", "it is named", deny(models=["n", "m"]), denied()),
    row("deny.models.names", "unmet", "others are named", deny(models=["n"]), permit()),
    row("deny.models.labels", "met", "its label", deny(models={"labels": {"tier": "cpu"}}), denied()),
    row("deny.models.labels", "unmet", "other value", deny(models={"labels": {"tier": "gpu"}}), permit()),
    row("deny.models.labels", "unknown", "no such label", deny(models={"labels": {"x": "y"}}), permit()),
    row("deny.models.same", "met", "equal", deny(models=_SAME), denied(), _tenant("a")),
    row("deny.models.same", "unmet", "another tenant", deny(models=_SAME), permit(), _tenant("b")),
    row(
        "deny.models.same",
        "unmet",
        "model has no label",
        deny(models=_SAME),
        permit(),
        _tenant("a"),
        model="n",
    ),
    row("deny.models.same", "unknown", "caller has none", deny(models=_SAME), denied()),
    row("deny.actions", "met", "it is named", deny(actions=["manage", "infer"]), denied()),
    row("deny.actions", "unmet", "another is named", deny(actions=["manage"]), permit()),
    row("deny.when.from", "met", "within", deny(when=_FROM), denied()),
    row("deny.when.from", "met", "mapped address", deny(when=_FROM), denied(), source="::ffff:203.0.113.9"),
    row("deny.when.from", "unmet", "outside", deny(when=_FROM), permit(), source="203.0.114.0"),
    row("deny.when.from", "unknown", "no address", deny(when=_FROM), denied(), source=None),
    row("deny.when.hours", "met", "it opens", deny(when=_WINDOW), denied(_CLOSES), at=_OPENS),
    row("deny.when.hours", "met", "last second", deny(when=_WINDOW), denied(_CLOSES), at=_CLOSES - 1),
    row(
        "deny.when.hours",
        "unmet",
        "one second before",
        deny(when=_WINDOW),
        permit(until=_OPENS),
        at=_OPENS - 1,
    ),
    row(
        "deny.when.hours", "unmet", "it closes", deny(when=_WINDOW), permit(until=_OPENS + 86400), at=_CLOSES
    ),
    row(
        "deny.when.fresh", "met", "last second", deny(when=_FRESH), denied(NOON + 1), _logged_in(NOON - 43199)
    ),
    row(
        "deny.when.fresh", "unmet", "twelve hours ago", deny(when=_FRESH), permit(), _logged_in(NOON - 43200)
    ),
    row("deny.when.fresh", "unknown", "it is not told when", deny(when=_FRESH), denied()),
    row("deny.when.via", "met", "called by it", _VIA | deny(when={"via": ["h"]}), denied(), via="h"),
    row("deny.when.via", "unmet", "by another", _VIA | deny(when={"via": ["h"]}), permit(), via="k"),
    row("deny.when.via", "unmet", "asked directly", deny(when={"via": ["h"]}), permit()),
    row("deny.when.person", "met", "a person", deny(when={"person": "required"}), denied()),
    row(
        "deny.when.person",
        "met",
        "a program",
        deny(when={"person": "absent"}),
        denied(),
        STAFF | {"claims": {"client_id": "s"}},
    ),
    row(
        "deny.when.person",
        "unmet",
        "a program where people are denied",
        deny(when={"person": "required"}),
        permit(),
        STAFF | {"claims": {"client_id": "s"}},
    ),
    row(
        "deny.when.person",
        "unmet",
        "a person where programs are denied",
        deny(when={"person": "absent"}),
        permit(),
    ),
    row(
        "deny.when.person",
        "unknown",
        "required and not told",
        _KC_ROLES | deny(when={"person": "required"}),
        denied(who="kc:s"),
        _KC,
    ),
    row(
        "deny.when.person",
        "unknown",
        "absent and not told",
        _KC_ROLES | deny(when={"person": "absent"}),
        denied(who="kc:s"),
        _KC,
    ),
    row("deny.when.actor", "met", "an agent", deny(when={"actor": "present"}), denied(), _BY_BOT),
    row("deny.when.actor", "met", "no agent", deny(when={"actor": "absent"}), denied()),
    row("deny.when.actor", "unmet", "nobody between", deny(when={"actor": "present"}), permit()),
    row("deny.when.actor", "unmet", "an agent between", deny(when={"actor": "absent"}), permit(), _BY_BOT),
    row(
        "deny.expires",
        "met",
        "last second",
        deny(models="all", expires="2026-11-23"),
        denied(DAY_END),
        at=DAY_END - 1,
    ),
    row(
        "deny.expires", "unmet", "it is over", deny(models="all", expires="2026-11-23"), permit(), at=DAY_END
    ),
    row("deny.expires", "met", "of a subject", deny(subjects=_S, expires="2026-11-23"), denied(DAY_END)),
    row("deny.mode", "met", "enforced", deny(models="all", mode="enforce"), denied()),
    row("deny.mode", "unmet", "in shadow", deny(models="all", mode="shadow"), permit()),
    # Several at once: one that surely is not met saves, one that is not known does not.
    row(
        "deny.when.fresh",
        "unknown",
        "and another clause is not met",
        deny(when=_FRESH | _FROM),
        permit(),
        source="192.0.2.1",
    ),
    row("deny.when.fresh", "unknown", "and the other is met", deny(when=_FRESH | _FROM), denied()),
    row(
        "deny.when.hours",
        "met",
        "and it expires first",
        deny(when=_WINDOW, expires="2026-11-22"),
        permit(),
        at=NOON,
    ),
    row(
        "deny.when.hours",
        "unmet",
        "of a first and the second applies",
        {"denies": [{"id": "first", "when": {"hours": "Mon 13:00-14:00 UTC"}}, {"id": "d", "models": "all"}]},
        denied(NOON + 3600),
    ),
    row(
        "deny.models.all", "met", "before a call that is not declared", deny(models="all"), denied(), via="m"
    ),
    row(
        "deny.models.all",
        "met",
        "before an agent that may not",
        deny(models="all"),
        denied(),
        STAFF | {"actors": ("ghost",)},
    ),
)
