"""Who a caller is: the lines of roles, agents and their limits, calls of models, and what may be asked at all."""

from __future__ import annotations

from clause_world import (
    BASE,
    DAY_END,
    STAFF,
    Expected,
    Row,
    agent_lacks,
    far,
    given,
    permit,
    refused,
    row,
    stranger,
)

NEVER_UNKNOWN = {
    "member.until": "the time is known",
    "agent.models.all": "every model is one of all; it is never unmet either: what is no model has no decision",
    "agent.models.names": "the models of a policy are known",
    "agent.actions": "the edge asks for one of four actions, read off the route",
    "agent.max_depth": "the whole chain stands in the credential",
    "model.calls": "a call that names no calling model is a direct request",
}
"""Where a state cannot be: why."""

_STAFF_OF_I = "role staff (from i group staff)"


BOSS_ENDS = 4102444800  # 2100-01-01T00:00:00Z


def _member(*lines: dict[str, object]) -> dict[str, object]:
    return {"roles": {"staff": list(lines)}}


def _agent(name: str = "bot", **keys: object) -> dict[str, object]:
    return {"agents": BASE["agents"] | {name: BASE["agents"][name] | keys}}


_CI = {"issuer": "ci", "subject": "repo"}
_CLAIMS = _member({"issuer": "ci", "claims": {"env": "prod", "/run/id": 7}})
_CLAIMS_LACK = "role staff (from ci claims /run/id and env)"
_SUBJECT = _member({"issuer": "i", "subject": "s"})
_ONE_SUBJECT = "role staff (from i one named subject)"
_WORKLOAD = _member({"workload": "w"})
_OF_W = "role staff (from workload w)"
_BOTH = _member({"issuer": "i", "group": "staff", "workload": "w"})
_OF_BOTH = "role staff (from i group staff workload w)"
_UNTIL = _member({"issuer": "i", "group": "staff", "until": "2026-11-23"})
_BY_BOT = STAFF | {"actors": ("bot",)}
_BY_TWO = STAFF | {"actors": ("tool", "bot")}
_SAME = {"same": ["tenant"]}
_M_NOT = "m is not among its models"
_VIA_H = {"grants": [given("g", when={"via": ["h", "k", "m"]})]}


def _claims(**claims: object) -> dict[str, object]:
    return _CI | {"claims": claims}


def _held(**keys: object) -> dict[str, object]:
    return STAFF | keys


def _undeclared(via: str, model: str = "m") -> Expected:
    return refused(
        "call_not_declared", f"{via} may not call {model} on anybody's behalf: it is not among its `calls`"
    )


CALLER_ROWS: tuple[Row, ...] = (
    row("member.issuer", "met", "it vouches", {}, permit()),
    row("member.issuer", "unmet", "another has a group of that name", {}, stranger("j:s"), _held(issuer="j")),
    row("member.issuer", "unknown", "nobody vouches", {}, stranger("nobody"), _held(issuer=None)),
    row(
        "member.issuer",
        "unmet",
        "it asks for nothing else",
        _member({"issuer": "i"}),
        stranger("i:s", "role staff (from i)"),
    ),
    row(
        "member.issuer",
        "unmet",
        "it asks for nothing at all",
        _member({}),
        stranger("nobody", "role staff (from )"),
        {},
    ),
    row("member.group", "met", "it is listed", {}, permit(), _held(groups=("x", "staff"))),
    row("member.group", "met", "a workload calls for its member", {}, permit(), _held(workload="w")),
    row("member.group", "unmet", "another is listed", {}, stranger("i:s"), _held(groups=("staf", "staff2"))),
    row("member.group", "unknown", "none are told", {}, stranger("i:s"), _held(groups=())),
    row("member.claims", "met", "the very values", _CLAIMS, permit(), _claims(env="prod", run={"id": 7})),
    row(
        "member.claims",
        "unmet",
        "another value",
        _CLAIMS,
        stranger("ci:repo", _CLAIMS_LACK),
        _claims(env="test", run={"id": 7}),
    ),
    row(
        "member.claims",
        "unmet",
        "a text for a number",
        _CLAIMS,
        stranger("ci:repo", _CLAIMS_LACK),
        _claims(env="prod", run={"id": "7"}),
    ),
    row(
        "member.claims",
        "unmet",
        "a fraction for a number",
        _CLAIMS,
        stranger("ci:repo", _CLAIMS_LACK),
        _claims(env="prod", run={"id": 7.0}),
    ),
    row(
        "member.claims",
        "unknown",
        "one is not there",
        _CLAIMS,
        stranger("ci:repo", _CLAIMS_LACK),
        _claims(env="prod"),
    ),
    row(
        "member.claims",
        "unknown",
        "the pointer leads through a text",
        _CLAIMS,
        stranger("ci:repo", _CLAIMS_LACK),
        _claims(env="prod", run="id"),
    ),
    row("member.claims", "unknown", "none are told", _CLAIMS, stranger("ci:repo", _CLAIMS_LACK), _CI),
    row("member.subject", "met", "this one", _SUBJECT, permit(), _held(groups=())),
    row("member.subject", "unmet", "another", _SUBJECT, stranger("i:t", _ONE_SUBJECT), _held(subject="t")),
    row(
        "member.subject",
        "unmet",
        "of another issuer",
        _SUBJECT,
        stranger("j:s", _ONE_SUBJECT),
        _held(issuer="j"),
    ),
    row(
        "member.subject",
        "unknown",
        "it is not told",
        _SUBJECT,
        stranger("somebody from i", _ONE_SUBJECT),
        _held(subject=None),
    ),
    row(
        "member.subject",
        "unmet",
        "beside a group",
        _member({"issuer": "i", "group": "staff", "subject": "t"}),
        stranger("i:s", "role staff (from i group staff one named subject)"),
    ),
    row("member.workload", "met", "this one", _WORKLOAD, permit(), {"workload": "w"}),
    row("member.workload", "unmet", "another", _WORKLOAD, stranger("workload:v", _OF_W), {"workload": "v"}),
    row(
        "member.workload",
        "unmet",
        "on a persons behalf",
        _WORKLOAD,
        stranger("i:s", _OF_W),
        _held(workload="w"),
    ),
    row("member.workload", "unknown", "no certificate", _WORKLOAD, stranger("nobody", _OF_W), {}),
    row("member.workload", "met", "beside a group", _BOTH, permit(), _held(workload="w")),
    row(
        "member.workload",
        "unmet",
        "beside a group and another calls",
        _BOTH,
        stranger("i:s", _OF_BOTH),
        _held(workload="v"),
    ),
    row("member.workload", "unknown", "beside a group and none calls", _BOTH, stranger("i:s", _OF_BOTH)),
    row(
        "member.workload",
        "met",
        "of any person of an issuer",
        _member({"issuer": "i", "workload": "w"}),
        permit(),
        _held(workload="w"),
    ),
    row("member.until", "met", "last second", _UNTIL, permit(until=DAY_END), at=DAY_END - 1),
    row(
        "member.until",
        "unmet",
        "it is over",
        _UNTIL,
        stranger("i:s", "role staff (the membership ended on 2026-11-23)"),
        at=DAY_END,
    ),
    row(
        "member.until",
        "unmet",
        "and another caller is told of the line",
        _UNTIL,
        stranger("i:s", _STAFF_OF_I),
        _held(groups=()),
        at=DAY_END,
    ),
    row(
        "member.until",
        "unmet",
        "of two lines the first that ended is told",
        _member(
            {"issuer": "i", "group": "staff", "until": "2026-11-22"},
            {"issuer": "i", "subject": "s", "until": "2026-11-20"},
        ),
        stranger("i:s", "role staff (the membership ended on 2026-11-22)"),
    ),
    row(
        "member.until",
        "met",
        "the longest line counts",
        _member(
            {"issuer": "i", "group": "staff", "until": "2026-11-22"},
            {"issuer": "i", "group": "staff", "until": "2026-11-24"},
            {"issuer": "i", "subject": "s", "until": "2026-11-23"},
        ),
        permit(until=DAY_END + 86400),
    ),
    row(
        "member.until",
        "met",
        "a line without an end counts",
        _member({"issuer": "i", "subject": "s"}, {"issuer": "i", "group": "staff", "until": "2026-11-23"}),
        permit(),
    ),
    row(
        "member.until",
        "met",
        "a line without an end counts before others",
        _member({"issuer": "i", "group": "staff"}, {"issuer": "i", "subject": "s", "until": "2026-11-23"}),
        permit(),
    ),
    row(
        "member.until",
        "unmet",
        "and another issuer is told of its own lines",
        _member(
            {"issuer": "i", "group": "staff", "until": "2026-11-22"},
            {"issuer": "j", "group": "people"},
            {"issuer": "j", "group": "them"},
            {"issuer": "j", "group": "others"},
        ),
        stranger("j:s", "role staff (from j group people or j group them)"),
        _held(issuer="j"),
    ),
    row(
        "member.until",
        "met",
        "of two roles the first to end",
        {
            "roles": {
                "staff": [{"issuer": "i", "group": "staff", "until": "2026-11-24"}],
                "boss": [{"issuer": "i", "group": "boss", "until": "2026-11-23"}],
            }
        },
        permit(until=DAY_END, roles=("boss", "staff")),
        _held(groups=("staff", "boss")),
    ),
    row("agent.acts_for", "met", "the role", {}, permit(), _BY_BOT),
    row(
        "agent.acts_for",
        "met",
        "and only that role is left",
        {"grants": [given("b", roles=["boss"]), given("g")]},
        permit("g"),
        _BY_BOT | {"groups": ("staff", "boss")},
    ),
    row(
        "agent.acts_for",
        "unmet",
        "and the caller holds another role that is asked for",
        {
            "grants": [given("g", roles=["boss"])],
            "roles": BASE["roles"] | {"boss": [{"issuer": "i", "group": "boss", "until": "2099-12-31"}]},
        },
        far("role boss (from i group boss)", BOSS_ENDS),
        _BY_BOT | {"groups": ("staff", "boss")},
    ),
    row(
        "agent.acts_for",
        "unmet",
        "another role",
        _agent(acts_for=["boss"]),
        agent_lacks("it acts only for boss"),
        _BY_BOT,
    ),
    row(
        "agent.acts_for",
        "unknown",
        "no groups are told",
        {},
        refused(
            "actor_unauthorized",
            "the agent bot may not ask for m.infer on behalf of i:s: it acts only for staff",
            None,
            (),
        ),
        _BY_BOT | {"groups": ()},
    ),
    row(
        "agent.acts_for",
        "unmet",
        "no role for the whole chain",
        _agent("tool", acts_for=["boss"]),
        refused(
            "actor_unauthorized",
            "the agent tool may not ask for m.infer on behalf of i:s: no role is one for which the whole chain may act",
            None,
            ("boss", "staff"),
        ),
        _BY_TWO | {"groups": ("staff", "boss")},
    ),
    row("agent.models.all", "met", "any model", {}, permit(), _BY_BOT),
    row("agent.models.names", "met", "it is named", _agent(models=["n", "m"]), permit(), _BY_BOT),
    row(
        "agent.models.names", "unmet", "others are named", _agent(models=["n"]), agent_lacks(_M_NOT), _BY_BOT
    ),
    row(
        "agent.models.labels",
        "met",
        "its label",
        _agent(models={"labels": {"tier": "cpu"}}),
        permit(),
        _BY_BOT,
    ),
    row(
        "agent.models.labels",
        "unmet",
        "other value",
        _agent(models={"labels": {"tier": "gpu"}}),
        agent_lacks(_M_NOT),
        _BY_BOT,
    ),
    row(
        "agent.models.labels",
        "unknown",
        "no such label",
        _agent(models={"labels": {"x": "y"}}),
        agent_lacks(_M_NOT),
        _BY_BOT,
    ),
    row(
        "agent.models.same",
        "met",
        "equal",
        _agent(models=_SAME),
        permit(),
        _BY_BOT | {"attributes": {"tenant": "a"}},
    ),
    row(
        "agent.models.same",
        "unmet",
        "another tenant",
        _agent(models=_SAME),
        agent_lacks(_M_NOT),
        _BY_BOT | {"attributes": {"tenant": "b"}},
    ),
    row(
        "agent.models.same", "unknown", "caller has none", _agent(models=_SAME), agent_lacks(_M_NOT), _BY_BOT
    ),
    row("agent.actions", "met", "it is named", _agent(actions=["manage", "infer"]), permit(), _BY_BOT),
    row(
        "agent.actions",
        "unmet",
        "another is named",
        _agent(actions=["manage"]),
        agent_lacks("infer is not among its actions"),
        _BY_BOT,
    ),
    row("agent.max_depth", "met", "two of two", {}, permit(), _BY_TWO),
    row(
        "agent.max_depth",
        "unmet",
        "two of one",
        _agent(max_depth=1),
        agent_lacks("the chain has 2 agents, it may be part of 1"),
        _BY_TWO,
    ),
    row(
        "agent.max_depth",
        "unmet",
        "the first of two",
        _agent("tool", max_depth=1),
        agent_lacks("the chain has 2 agents, it may be part of 1", "tool"),
        _BY_TWO,
    ),
    row(
        "agent.max_depth",
        "unmet",
        "a loop",
        {},
        agent_lacks("the chain of agents has a loop"),
        STAFF | {"actors": ("bot", "bot")},
    ),
    row("agent", "met", "it is known", {}, permit(), STAFF | {"actors": ("tool",)}),
    row(
        "agent",
        "unmet",
        "there is none of that name",
        {},
        agent_lacks("the policy knows no such agent", "ghost"),
        STAFF | {"actors": ("ghost",)},
    ),
    row(
        "agent",
        "unknown",
        "one of the chain is not known",
        {},
        agent_lacks("the policy knows no such agent", "ghost"),
        STAFF | {"actors": ("bot", "ghost")},
    ),
    row("model.calls", "met", "it is declared", _VIA_H, permit(), via="h"),
    row("model.calls", "unmet", "another is declared", _VIA_H, _undeclared("m"), via="m"),
    row(
        "model.calls",
        "unmet",
        "of a model that there is not",
        _VIA_H,
        _undeclared("an unknown model"),
        via="ghost",
    ),
    row("model", "met", "it is there", {}, permit(), model="n"),
    row(
        "model",
        "unmet",
        "there is none of that name",
        {},
        refused("model_unknown", "there is no model of that name here", None, ()),
        model="x",
    ),
    row(
        "model",
        "unknown",
        "it cannot be a name",
        {},
        refused("model_unknown", "there is no model of that name here", None, ()),
        permission="?.infer",
        model="../m",
    ),
    row(
        "fault",
        "met",
        "an instant that is none",
        {"grants": [given("g", expires="2026-11-23")]},
        refused("fault", "the decision could not be made", "noon", ()),
        at="noon",
    ),
)
