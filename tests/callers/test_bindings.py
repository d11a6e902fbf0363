"""Whoever was revoked stays revoked under every name that a policy gives them later: renamed, moved, swapped."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from meshward.apply.revocation_store import Revocation, Revocations
from meshward.callers.bindings import misread
from meshward.decide.types import Identity
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from tests.edge.mesh import POLICY
from tests.stack.live import policy_of

A, B, C = (f"https://{name}.test/realm" for name in "abc")
ID = "3f6c"


def plan(issuers: dict[str, str], workloads: dict[str, str] | None = None, **more: Any) -> Plan:
    """Issuers by name, as URLs; workloads by name, as ids."""
    text = copy.deepcopy(POLICY)
    text["roles"] = {
        "scientist": [{"workload": name} for name in workloads or {}] or text["roles"]["scientist"]
    }
    text["grants"] = []
    named = {name: {"profile": "oidc", "issuer": url, "audience": "models"} for name, url in issuers.items()}
    if "corp" not in issuers and not workloads:
        text["roles"] = {}
    return resolve(
        policy_of(
            {
                **text,
                "issuers": named,
                "workloads": {n: {"id": i} for n, i in (workloads or {}).items()},
                **more,
            }
        )
    )


def after(revoked: Revocations, *plans: Plan) -> Revocations:
    """What stands when each of `plans` has run, one after the other."""
    for each in plans:
        revoked = revoked.spread(each)
    return revoked


def refuses(revoked: Revocations, name: str) -> bool:
    issuer, _, subject = name.partition(":")
    return revoked.revoked.hits(Identity(issuer, subject), None, 0)


ALICE = Revocations({f"okta:{ID}": Revocation()})
FIRST = plan({"okta": A, "other": B})
LATER: dict[str, tuple[list[Plan], str]] = {
    "renamed": ([plan({"corp": A, "other": B})], "corp"),
    "renamed twice": ([plan({"corp": A}), plan({"sso": A})], "sso"),
    "at another URL": ([plan({"okta": C})], "okta"),
    "moved, then renamed": ([plan({"okta": C}), plan({"sso": C})], "sso"),
    "renamed, then moved": ([plan({"sso": A}), plan({"sso": C})], "sso"),
    "renamed, moved, renamed, moved": ([plan({"b": A}), plan({"b": B}), plan({"c": B}), plan({"c": C})], "c"),
    "gone, and back by another name": ([plan({"other": B}), plan({"new": A})], "new"),
    "names swapped": ([plan({"okta": B, "other": A})], "other"),
    "swapped and swapped back": ([plan({"okta": B, "other": A}), FIRST], "okta"),
    "added beside it under the old name": ([plan({"okta": C, "sso": A})], "sso"),
}


@pytest.mark.parametrize("how", LATER)
def test_a_revoked_subject_is_refused_by_every_name(how: str) -> None:
    plans, name = LATER[how]
    stands = after(ALICE, FIRST, *plans)
    assert refuses(stands, f"{name}:{ID}") and refuses(stands, f"okta:{ID}")
    assert not refuses(stands, f"{name}:{ID}0") and not refuses(stands, f"{name}:")


def test_nobody_else_is_refused_where_names_do_not_meet() -> None:
    stands = after(ALICE, FIRST, plan({"corp": A, "other": B}))
    assert set(stands.revoked.subjects) == {f"okta:{ID}", f"corp:{ID}"}
    assert after(ALICE, FIRST, FIRST) == after(ALICE, FIRST), "the same policy adds nothing"
    assert set(after(ALICE, plan({"other": B})).revoked.subjects) == {f"okta:{ID}"}, (
        "of no issuer that there is"
    )


def test_all_names_end_together() -> None:
    stands = after(ALICE, FIRST, plan({"corp": A}))
    for name in (f"okta:{ID}", f"corp:{ID}"):
        assert stands.without("subject", name).revoked.subjects == {}
        shorter = stands.put("subject", name, Revocation(until=9))
        assert set(shorter.revoked.subjects.values()) == {9} and len(shorter.subjects) == 1


def test_one_name_of_two_revocations_ends_with_the_later() -> None:
    two = Revocations({"okta:a": Revocation(until=5, names=("sso:a",)), "sso:a": Revocation(until=7)})
    assert two.revoked.subjects == {"okta:a": 5, "sso:a": 7}
    for_ever = Revocations({"okta:a": Revocation(names=("sso:a",)), "sso:a": Revocation(until=7)})
    assert for_ever.revoked.subjects == {"okta:a": None, "sso:a": None}


def test_a_renamed_workload_stays_revoked() -> None:
    first = plan({"corp": A}, {"scorer": "/ns/jobs/sa/scorer", "idle": "/ns/jobs/sa/idle"})
    later = plan({"corp": A}, {"judge": "/ns/jobs/sa/scorer", "idle": "/ns/jobs/sa/idle"})
    stands = after(Revocations({"workload:scorer": Revocation()}), first, later)
    assert set(stands.revoked.subjects) == {"workload:scorer", "workload:judge"}
    moved = after(stands, plan({"corp": A}, {"judge": "/ns/jobs/sa/another"}))
    assert "workload:judge" in moved.revoked.subjects, "the name holds, whatever it comes to mean"


@pytest.mark.parametrize(
    "proof", [{"workload": "bot"}, {"issuer": "corp", "subject": "0oa7"}], ids=["workload", "subject"]
)
def test_a_renamed_agent_stays_revoked(proof: dict[str, str]) -> None:
    def with_agent(name: str, workload: str, issuer: str) -> Plan:
        given = {"workload": workload} if "workload" in proof else {**proof, "issuer": issuer}
        agent = {"credential": given, "acts_for": ["scientist"], "models": "all", "actions": ["infer"]}
        return plan({issuer: A}, {workload: "/ns/a/sa/bot"}, agents={name: agent})

    revoked = Revocations(agents={"helper": Revocation()})
    stands = after(revoked, with_agent("helper", "bot", "corp"), with_agent("assistant", "robot", "sso"))
    assert set(stands.revoked.agents) == {"helper", "assistant"}


def test_who_would_come_back_under_another_claim_is_named() -> None:
    def of(profile: str, name: str = "corp") -> Plan:
        issuer = {"profile": profile, "issuer": "https://a.test/oauth2/default", "audience": "models"}
        text = {**copy.deepcopy(POLICY), "roles": {}, "grants": [], "issuers": {name: issuer}}
        return resolve(policy_of(text))

    revoked = {"corp:00u1": None, "other:x": None}
    assert list(misread(of("okta"), of("oidc"), revoked)) == ["corp:00u1"], "`uid` was read, and `sub` is"
    assert list(misread(of("keycloak"), of("oidc"), revoked)) == [], "both read `sub`"
    assert list(misread(of("okta"), of("okta", "sso"), revoked)) == [], "kept by its URL"
    assert list(misread(of("okta"), of("oidc", "sso"), revoked)) == ["corp:00u1"], "renamed besides"


@pytest.mark.parametrize(
    ("jti", "spelled"),
    [
        (12.0, "12.0"), (12, "12"), (1000, "1e3"), (1e22, "1e22"), (0.1, "0.10"), (-0.0, "-0.0"), ("a1", '"a1"'),
        ("a1", "a1"), ("17", "17"), ([1, 2], "[1, 2]"), ({"a": 1}, '{ "a": 1 }'), ("[", "["), ("NaN", "NaN"),
        ("1e999", "1e999"), ('"\\ud800"', '"\\ud800"'), ("[" * 5000, "[" * 5000), ("9" * 5000, "9" * 5000),
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_a_token_is_revoked_by_its_jti_as_its_json_spells_it(jti: object, spelled: str) -> None:
    put = Revocations().put("token", spelled, Revocation())
    revoked = after(put, plan({"a": A}))
    assert revoked.revoked.hits(Identity("a", "x"), jti, 0)
    assert after(revoked, plan({"b": B})) == revoked
    assert not revoked.revoked.hits(Identity("a", "x"), f"x{jti}", 0)
    for name in (spelled, *revoked.tokens[spelled].names):
        assert revoked.without("token", name).tokens == {}
