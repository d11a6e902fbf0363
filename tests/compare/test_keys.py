"""Each key of the format, changed in a policy that uses it: what gives somebody something is named and needs leave."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import BaseModel

from meshward.compare.change import Change, compare
from meshward.compare.keys import KEYS, Judged
from meshward.plan.requirements import key_in_file
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from tests.classes import classes_in

NEEDS_LEAVE = {Judged.PERMITS, Judged.TRUST, Judged.RIGHTS, Judged.SECRETS, Judged.RECORDS, Judged.SHARING}
KIND = {"infer": ["POST /run"], "describe": ["GET /info"], "observe": ["GET /load"], "manage": ["POST /stop"]}
BASE: dict[str, Any] = {
    "version": 1,
    "trust_domain": "one.test",
    "edge": {"trusted_proxies": ["10.9.0.0/24"], "certificate": {"from": "files", "path": "/etc/edge"}},
    "issuers": {
        "corp": {
            "profile": "oidc", "issuer": "https://idp.test", "audience": ["a"], "groups": "/groups", "clients": ["c"],
            "attributes": {"tenant": "/org"}, "jwks": {"url": "https://idp.test/keys"}, "login": {"client": "cli"},
        },
        "lab": {"profile": "oidc", "issuer": "https://lab.test", "audience": "a", "jwks": {"file": "/etc/lab.json"}},
        "pool": {"profile": "cognito", "region": "eu-west-1", "user_pool": "eu-west-1_a", "clients": ["c"]},
    },
    "workloads": {"w": {"id": "/w"}, "v": {"id": "/v"}},
    "roles": {
        "boss": [{"issuer": "corp", "group": "bosses"}],
        "user": [{"issuer": "corp", "group": "users"}],
        "ci": [{"issuer": "corp", "claims": {"flag": 1}}],
        "one": [{"issuer": "corp", "subject": "s"}],
        "bot": [{"workload": "w"}],
        "temp": [{"issuer": "corp", "group": "temps", "until": "2026-06-30"}],
        "barred": [{"issuer": "corp", "group": "contractors"}],
        "empty": [],
    },
    "operators": {"apply": ["boss"], "traffic": ["boss"], "audit": ["boss"], "open": ["boss"], "erase": ["boss"]},
    "credentials": {
        "env": {"from": "env", "name": "KEY"},
        "file": {"from": "file", "path": "/k"},
        "run": {"from": "command", "command": ["/bin/get", "s3cret"]},
    },
    "servers": {"mine": {**KIND, "health": "GET /health"}},
    "models": {
        name: {
            "task": "t", "labels": {"tenant": f"t{n}", "tier": f"x{n}"}, "aliases": [f"a{n}"],
            "versions": {
                "v1": {"server": "mine", "url": f"unix:/run/{name}.sock", "credential": credential},
                "v2": {"server": "mine", "url": f"unix:/run/{name}b.sock", "credential": credential},
            },
            "cache": {"ttl": "1m"}, "calls": ["m1"] if name == "m2" else [],
        }
        for n, (name, credential) in enumerate([("m0", "env"), ("m1", "file"), ("m2", "run")])
    },
    "grants": [
        {"id": "rule", "roles": ["boss", "one", "ci", "temp", "bot"], "models": ["m0"], "actions": ["manage"],
         "expires": "2026-12-31"},
        {"id": "use", "roles": ["user"], "models": ["m1"], "actions": ["infer"], "limits": {"requests": "5/s"}},
        {"id": "own", "roles": ["user"], "models": {"same": ["tenant"]}, "actions": ["manage"]},
        {"id": "tier", "roles": ["ci"], "models": {"labels": {"tier": "x1"}}, "actions": ["manage"]},
        {"id": "tied", "roles": ["one"], "models": ["m1"], "actions": ["manage"],
         "when": {"from": ["10.0.0.0/8"], "hours": "Mon-Fri 08:00-18:00 UTC", "fresh": "1h", "person": "required",
                  "actor": "absent"}},
        {"id": "called", "roles": ["boss"], "models": ["m1"], "actions": ["manage"], "when": {"via": ["m0"]}},
        {"id": "asked", "roles": ["boss"], "models": ["m2"], "actions": ["manage"],
         "on_request": {"for": "1h", "approve": ["boss"], "tell": ["x"]}},
        {"id": "shadow", "roles": ["user"], "models": ["m2"], "actions": ["manage"], "mode": "shadow"},
        {"id": "wide", "roles": ["boss"], "models": ["m2"], "actions": ["manage"], "when": {"actor": "present"}},
    ],
    "denies": [
        {"id": "no", "roles": ["barred"], "models": "all", "actions": ["manage"], "expires": "2026-12-31"},
        {"id": "not", "subjects": [{"issuer": "corp", "subject": "x"}]},
        {"id": "when", "roles": ["boss"], "models": ["m0"], "actions": ["manage"], "when": {"from": ["192.0.2.0/24"]}},
    ],
    "never": [{"id": "law", "roles": ["user"], "models": ["m0"], "unless": {"via": ["m1"]}}],
    "agents": {
        "helper": {"credential": {"issuer": "corp", "subject": "h"}, "acts_for": ["user"], "models": ["m2"],
                   "actions": ["infer"], "limits": {"requests": "5/s"}, "max_depth": 1},
        "aide": {"credential": {"workload": "w"}, "acts_for": ["boss"], "models": ["m2"], "actions": ["manage"]},
        "peer": {"credential": {"workload": "v"}, "acts_for": ["boss"], "models": ["m2"], "actions": ["manage"],
                 "max_depth": 2},
    },
    "audit": {"seal_to": ["/k1"]},
}  # fmt: skip
GONE = object()

EDITS: dict[str, tuple[str, Any]] = {
    "Policy.trust_domain": ("trust_domain", "two.test"),
    "Edge.listen": ("edge.listen", "0.0.0.0:8443"),
    "Edge.hostname": ("edge.hostname", "other.test"),
    "Edge.trusted_proxies": ("edge.trusted_proxies", []),
    "Certificate.from": ("edge.certificate", {"from": "generated"}),
    "Certificate.path": ("edge.certificate.path", "/etc/other"),
    "Issuer.profile": ("issuers.corp.profile", "keycloak"),
    "Issuer.issuer": ("issuers.corp.issuer", "https://other.test"),
    "Issuer.audience": ("issuers.corp.audience", ["a", "b"]),
    "Issuer.groups": ("issuers.corp.groups", "/roles"),
    "Issuer.attributes": ("issuers.corp.attributes.tenant", "/team"),
    "Issuer.region": ("issuers.pool.region", "eu-west-2"),
    "Issuer.user_pool": ("issuers.pool.user_pool", "eu-west-1_b"),
    "Issuer.clients": ("issuers.corp.clients", []),
    "Login.client": ("issuers.corp.login.client", "other"),
    "Jwks.url": ("issuers.corp.jwks.url", "https://idp.test/other"),
    "Jwks.file": ("issuers.lab.jwks.file", "/tmp/lab.json"),
    "Jwks.max_stale": ("issuers.corp.jwks.max_stale", "48h"),
    "Jwks.allow": ("issuers.corp.jwks.allow", ["private"]),
    "Workload.id": ("workloads.w.id", "/x"),
    "Member.issuer": ("roles.boss.0.issuer", "lab"),
    "Member.group": ("roles.boss.0.group", "others"),
    "Member.claims": ("roles.ci.0.claims.flag", True),
    "Member.subject": ("roles.one.0.subject", "x2"),
    "Member.workload": ("roles.bot.0.workload", "v"),
    "Member.until": ("roles.temp.0.until", "2026-07-31"),
    **{f"Operators.{right}": (f"operators.{right}", ["user"]) for right in BASE["operators"]},
    "Credential.from": ("credentials.env", {"from": "file", "path": "/x"}),
    "Credential.name": ("credentials.env.name", "OTHER"),
    "Credential.path": ("credentials.file.path", "/x"),
    "Credential.command": ("credentials.run.command", ["/bin/other"]),
    "Server.infer": ("servers.mine", {**KIND, "infer": ["POST /run", "POST /stop"], "manage": []}),
    "Server.describe": ("servers.mine", {**KIND, "describe": ["POST /run"], "infer": ["GET /info"]}),
    "Server.observe": ("servers.mine", {**KIND, "observe": ["POST /run"], "infer": ["GET /load"]}),
    "Server.manage": ("servers.mine.manage", ["POST /stop", "POST /wipe"]),
    "Server.health": ("servers.mine.health", "GET /ready"),
    "Server.body_model": ("servers.mine.body_model", "ignores"),
    "Version.server": ("models.m0.versions.v1.server", "vllm"),
    "Version.url": ("models.m0.versions.v1.url", "unix:/run/m1.sock"),
    "Version.replicas": ("models.m0.versions.v1.replicas", ["unix:/run/x.sock"]),
    "Version.credential": ("models.m0.versions.v1.credential", "run"),
    "Version.pass": ("models.m0.versions.v1.pass", ["subject"]),
    "Version.model": ("models.m1.versions.v1.model", "m"),
    "Model.task": ("models.m0.task", "u"),
    "Model.labels": ("models.m0.labels.tenant", "t7"),
    "Model.aliases": ("models.m0.aliases", ["a0", "b0"]),
    "Model.traffic": ("models.m0.traffic", {"v1": 7}),
    "Model.timeout": ("models.m0.timeout", "90s"),
    "Model.max_duration": ("models.m0.max_duration", "2h"),
    "Model.max_body": ("models.m0.max_body", "3m"),
    "Model.on_expiry": ("models.m0.on_expiry", "cut"),
    "Model.calls": ("models.m0.calls", ["m1"]),
    "ModelAudit.capture": ("models.m0.audit", {"capture": "off"}),
    "ModelSelector.labels": ("grants.3.models.labels.tier", "x2"),
    "ModelSelector.same": ("grants.2.models", {"labels": {"tier": "x1"}}),
    "Cache.ttl": ("models.m0.cache.ttl", "2m"),
    "Cache.share": ("models.m0.cache.share", "everyone"),
    "When.from": ("grants.4.when.from", ["10.0.0.0/7"]),
    "When.hours": ("grants.4.when.hours", "Mon-Fri 08:00-18:01 UTC"),
    "When.fresh": ("grants.4.when.fresh", "2h"),
    "When.via": ("grants.5.when.via", ["m0", "m2"]),
    "When.person": ("grants.4.when.person", "absent"),
    "When.actor": ("grants.8.when.actor", "absent"),
    "Limits.requests": ("grants.1.limits.requests", "7/s"),
    "Limits.tokens": ("grants.1.limits.tokens", "7/s"),
    "Limits.concurrent": ("grants.1.limits.concurrent", 7),
    "Limits.per": ("grants.1.limits.per", "grant"),
    "OnRequest.for": ("grants.6.on_request.for", "2h"),
    "OnRequest.approve": ("grants.6.on_request.approve", []),
    "OnRequest.tell": ("grants.6.on_request.tell", ["y"]),
    "Subject.issuer": ("denies.1.subjects.0.issuer", "lab"),
    "Subject.subject": ("denies.1.subjects.0.subject", "y"),
    "Grant.id": ("grants.0.id", "renamed"),
    "Grant.roles": ("grants.0.roles", ["boss", "one", "user"]),
    "Grant.models": ("grants.0.models", ["m0", "m1"]),
    "Grant.actions": ("grants.1.actions", ["infer", "manage"]),
    "Grant.expires": ("grants.0.expires", "2027-01-31"),
    "Grant.mode": ("grants.7.mode", "enforce"),
    "Deny.id": ("denies.0.id", "renamed"),
    "Deny.subjects": ("denies.1.subjects", [{"issuer": "corp", "subject": "z"}]),
    "Deny.roles": ("denies.0.roles", ["empty"]),
    "Deny.models": ("denies.0.models", ["m2"]),
    "Deny.actions": ("denies.0.actions", ["infer"]),
    "Deny.expires": ("denies.0.expires", "2026-11-30"),
    "Deny.mode": ("denies.0.mode", "shadow"),
    "Unless.via": ("never.0.unless.via", ["m2"]),
    "Never.id": ("never.0.id", "other"),
    "Never.roles": ("never.0.roles", ["empty"]),
    "Never.models": ("never.0.models", ["m1"]),
    "Never.actions": ("never.0.actions", ["infer"]),
    "AgentCredential.workload": ("agents.aide.credential.workload", "v"),
    "AgentCredential.issuer": ("agents.aide.credential", {"issuer": "corp", "subject": "h2"}),
    "AgentCredential.subject": ("agents.aide.credential", {"issuer": "corp", "subject": "h3"}),
    "Agent.acts_for": (
        "agents.helper",
        {**BASE["agents"]["helper"], "acts_for": ["boss"], "actions": ["manage"]},
    ),
    "Agent.models": ("agents.aide.models", ["m0", "m2"]),
    "Agent.actions": ("agents.helper", {**BASE["agents"]["aide"], "actions": ["infer", "manage"]}),
    "Agent.max_depth": ("agents.aide.max_depth", 2),
    "Audit.capture": ("audit.capture", "capture"),
    "Audit.seal_to": ("audit.seal_to", ["/k1", "/k2"]),
    "Audit.retention": ("audit.retention", "1d"),
    "Audit.max_disk": ("audit", {"seal_to": ["/k1"], "max_disk": "20g", "on_blind": "alert"}),
    "Audit.max_blind": ("audit.max_blind", "60s"),
    "Audit.on_blind": ("audit.on_blind", "alert"),
}
"""A change of each key that gives somebody something where it can, and is told where it cannot."""


def reached(model: type[BaseModel], seen: set[str]) -> set[str]:
    """Every key of the format, but those below keys that are for `check` alone."""
    for name, field in model.model_fields.items():
        key = f"{model.__name__}.{key_in_file(name, field)}"
        if key not in seen:
            seen.add(key)
            for child in classes_in(field.annotation) if KEYS.get(key) is not Judged.CHECKED else ():
                reached(child, seen)
    return seen


def edited(path: str, value: Any) -> dict[str, Any]:
    policy = copy.deepcopy(BASE)
    *way, last = path.split(".")
    node: Any = policy
    for step in way:
        node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
    node[int(last) if isinstance(node, list) else last] = value
    return policy


def change(path: str, value: Any) -> Change:
    before, after = (Policy.model_validate(each) for each in (BASE, edited(path, value)))
    return compare(resolve(before), resolve(after))


def test_every_key_of_the_format_says_how_its_change_is_judged() -> None:
    assert reached(Policy, set()) == set(KEYS)


def test_every_key_that_can_be_judged_is_changed_here() -> None:
    assert set(EDITS) == {key for key, how in KEYS.items() if how not in (Judged.PART, Judged.CHECKED)}


@pytest.mark.parametrize("key", EDITS)
def test_a_change_of_this_key_is_judged_as_it_says(key: str) -> None:
    found, lines = change(*EDITS[key]), "\n".join(change(*EDITS[key]).lines())
    assert found.edits, "it is not told"
    if KEYS[key] in NEEDS_LEAVE:
        assert found.widening, lines
    elif KEYS[key] is Judged.TOLD:
        assert not found.widening and not found.gained, lines
    assert "s3cret" not in lines


@pytest.mark.parametrize("key", [key for key, how in KEYS.items() if how is Judged.PERMITS])
def test_who_gains_is_named(key: str) -> None:
    found = change(*EDITS[key])
    assert any(each.who and each.widens for each in found.gained), found.lines()


NARROWER = [
    ("issuers.corp.audience", ["a"]),
    ("issuers.pool.clients", ["c"]),
    ("issuers.corp.jwks.max_stale", "1h"),
    ("issuers.corp.attributes", {"tenant": "/org", "unused": "/x"}),
    ("grants.0.expires", "2026-11-30"),
    ("grants.4.when.from", ["10.1.0.0/16"]),
    ("grants.4.when.hours", "Mon-Thu 09:00-17:00 UTC"),
    ("grants.4.when.fresh", "30m"),
    ("grants.5.when.via", ["m1"]),
    ("roles.temp.0.until", "2026-05-31"),
    ("denies.0.expires", "2027-12-31"),
    ("denies.1.subjects", [{"issuer": "corp", "subject": each} for each in "xy"]),
    ("denies.2.when.from", ["192.0.0.0/16"]),
    ("denies.0.roles", ["barred", "user"]),
    ("agents.peer.max_depth", 1),
    ("agents.aide.actions", ["observe"]),
    ("audit.retention", "365d"),
    ("audit.seal_to", []),
    ("audit.max_disk", "20g"),
    ("operators.apply", []),
    ("models.m0.cache.share", "identity"),
]


@pytest.mark.parametrize(("path", "value"), NARROWER, ids=[path for path, _ in NARROWER])
def test_what_narrows_gives_nobody_anything(path: str, value: Any) -> None:
    found = change(path, value)
    assert found.gained == () and found.widening == (), found.lines()


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("grants.1.limits.requests", "7/s",
         "~ grant use: changed: limits: 5/s requests per identity -> 7/s requests per identity"),
        ("grants.0.expires", "2027-01-31",
         "~ grant rule: changed: expires: 2027-01-01 00:00 UTC -> 2027-02-01 00:00 UTC"),
        ("grants.0.expires", "9999-12-31",
     "~ grant rule: changed: expires: 2027-01-01 00:00 UTC -> 9999-12-31 23:59 UTC"),
    ("servers.mine.manage", ["POST /halt"],
         "~ version m0/v1: changed: routes: +POST /halt (manage), -POST /stop (manage)"),
        ("models.m0.timeout", "90s", "~ model m0: changed: timeout: 1m -> 90s"),
        ("models.m0.max_duration", "2h", "~ model m0: changed: max_duration: 1h -> 2h"),
        ("models.m0.max_body", "512k", "~ model m0: changed: max_body: 2m -> 512k"),
        ("audit.max_disk", "1536m", "~ setting audit: changed: max_disk: none -> 1536m"),
    ("grants.6.on_request.tell", ["y"],
     "~ grant asked: changed: on_request: for 1h, approved by boss, told to x -> for 1h, approved by boss, told to y"),
    ("credentials.run.command", ["/bin/get", "n3w"],
     "~ credential run: changed: command /bin/get ..., which is not what it was"),
    ("grants.4.when.from", [f"10.{n}.0.0/16" for n in range(9)],
     "~ grant tied: changed: when.from: "
     + ", ".join(f"+10.{n}.0.0/16" for n in range(9)) + ", -10.0.0.0/8"),
    ("grants.4.when.hours", "Mon-Fri 08:00-18:01 UTC",
     "~ grant tied: changed: when.hours: Mon-Fri 08:00-18:00 UTC -> Mon-Fri 08:00-18:01 UTC"),
    ("workloads.w.id", "/x", "~ workload w: changed: spiffe://one.test/w -> spiffe://one.test/x"),
    ],
)  # fmt: skip
def test_values_are_told(path: str, value: Any, line: str) -> None:
    assert line in change(path, value).lines()


def test_no_change_is_told_without_what_changed() -> None:
    for path, value in EDITS.values():
        assert not any(line.endswith("changed: ") for line in change(path, value).lines()), path


def test_another_order_of_proxies_is_no_other_list() -> None:
    base = {**BASE, "edge": {"trusted_proxies": ["10.9.0.0/24", "10.8.0.0/24"]}}
    turned = {**BASE, "edge": {"trusted_proxies": ["10.8.0.0/24", "10.9.0.0/24"]}}
    assert compare(*(resolve(Policy.model_validate(each)) for each in (base, turned))).widening == ()


def test_less_room_is_less_that_is_recorded_only_where_requests_pass_then() -> None:
    def change_of(on_blind: str, before: str | None, after: str) -> Change:
        audits = ({"on_blind": on_blind, **({"max_disk": room} if room else {})} for room in (before, after))
        return compare(*(resolve(Policy.model_validate({**BASE, "audit": audit})) for audit in audits))

    said = "requests pass sooner that are not recorded: max_disk: "
    assert change_of("alert", "20g", "64m").widening == (said + "20g -> 64m",)
    assert change_of("alert", None, "64m").widening == (said + "none -> 64m",)
    assert change_of("alert", "64m", "20g").widening == change_of("block", "20g", "64m").widening == ()


def test_answers_that_everybody_got_may_be_shared_with_fewer() -> None:
    base, fewer = copy.deepcopy(BASE), copy.deepcopy(BASE)
    base["models"]["m0"]["cache"] = {"ttl": "1m", "share": "everyone"}
    fewer["models"]["m0"]["cache"] = {"ttl": "1m", "share": "tenant"}
    assert compare(*(resolve(Policy.model_validate(each)) for each in (base, fewer))).widening == ()


def test_nothing_is_said_of_what_a_kind_of_server_does_not_have() -> None:
    base, more = copy.deepcopy(BASE), copy.deepcopy(BASE)
    for policy in (base, more):
        policy["servers"]["mine"] = {"infer": ["POST /run"]}
    more["grants"].append(
        {"id": "all", "roles": ["user"], "models": "all", "actions": ["infer", "observe", "manage"]}
    )
    found = compare(*(resolve(Policy.model_validate(each)) for each in (base, more)))
    assert {each.permission for each in found.gained} == {"m0.infer", "m2.infer"} and not found.widening
