"""The pure half of the service: headers, times, limits, buckets, challenges."""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.callers.revocations import Revoked, edge_text
from meshward.decide.types import Denial, Identity, Permit
from meshward.edge import answers
from meshward.edge.answers import Caller
from meshward.edge.decision_state import Served
from meshward.edge.heartbeat import Heartbeat
from meshward.edge.instance_view import InstanceView, load_text, save_text
from meshward.edge.replies import Reply, encode
from meshward.kit.errors import MeshwardError
from meshward.oidc import verify
from meshward.oidc.verify import VerifiedToken
from meshward.plan.ir import Limits
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from meshward.policy.values import Rate
from meshward.tokens.keys import make_key
from meshward.tokens.txn import Transaction, TransactionTokenMinter
from tests.edge.mesh import LIVE, POLICY

NOW = 1_800_000_000.25


def caller(
    expires_in: float = 3600, subject: str = "alice", jti: str | None = None, **attributes: str
) -> Caller:
    token = VerifiedToken(
        issuer="corp",
        subject=subject,
        client=None,
        claims={} if jti is None else {"jti": jti},
        issued_at=int(NOW),
        expires_at=int(NOW + expires_in),
        ath="hash",
        seal=verify._SEAL,
    )
    return Caller(Identity(issuer="corp", subject=subject, attributes=attributes), token, 7)


def permit(per: str = "identity", pays: str = "g", rate: Rate | None = None) -> Permit:
    limits = Limits(requests=rate or Rate(5, 1), tokens=None, concurrent=None, per=per)
    return Permit("m.infer", (pays,), pays, limits, ("r",), None)


def headers(answer: Reply) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in encode(answer).headers}


# --- how long nginx may keep it


@pytest.mark.parametrize(
    ("expires_in", "holds_for", "ttl"),
    [
        (3600, None, 4),
        (3600, 3600, 4),
        (5.75, None, 4),
        (4.75, None, 3),
        (2.75, None, 1),
        (1.75, None, 0),
        (0.75, None, 0),
        (-5, None, 0),
        (3600, 2.75, 1),
        (3600, 0.75, 0),
        (3600, -1, 0),
        (2.75, 3600, 1),
    ],
)
def test_ttl(expires_in: float, holds_for: float | None, ttl: int) -> None:
    holds_until = None if holds_for is None else int(NOW + holds_for)
    assert caller(expires_in).ttl(NOW, holds_until) == ttl


@given(st.floats(0, 100), st.floats(0, 100))
def test_an_answer_is_never_used_past_its_end(expires_in: float, holds_for: float) -> None:
    """nginx keeps an entry up to one second longer than it was told; `0` is not kept."""
    who, holds_until = caller(expires_in), int(NOW + holds_for)
    ttl = who.ttl(NOW, holds_until)
    if ttl:
        assert NOW + ttl + 1 <= min(who.token.expires_at, holds_until, NOW + answers.CACHE_WINDOW)


# --- limits


def test_buckets_tell_apart_who_is_counted_apart() -> None:
    alice, bob = caller().identity, caller(subject="bob").identity
    assert re.fullmatch(r"[0-9a-f]{32}", answers.bucket(permit(), alice))
    assert answers.bucket(permit(), alice) != answers.bucket(permit(), bob)
    assert answers.bucket(permit(), alice) != answers.bucket(permit(pays="other"), alice)
    assert answers.bucket(permit("grant"), alice) == answers.bucket(permit("grant"), bob)


def test_buckets_by_attribute() -> None:
    acme, acme_too, none, none_too = (
        caller(subject=subject, **attributes).identity
        for subject, attributes in (
            ("a", {"tenant": "acme"}),
            ("b", {"tenant": "acme"}),
            ("c", {}),
            ("d", {}),
        )
    )
    by_tenant = [answers.bucket(permit("tenant"), who) for who in (acme, acme_too, none, none_too)]
    assert by_tenant[0] == by_tenant[1] != by_tenant[2] == by_tenant[3]


def test_an_attribute_cannot_be_made_to_look_like_another_bucket() -> None:
    tricky = caller(tenant='corp:alice"]').identity
    assert answers.bucket(permit("tenant"), tricky) != answers.bucket(permit(), caller().identity)


# --- words


@given(st.text(), st.text())
def test_every_message_is_one_printable_line(what: str, remedy: str) -> None:
    text = answers.sentence(what, remedy)
    assert re.fullmatch(r"[\x20-\x7e]{1,200}", text) and not set('"\\') & set(text)


def test_a_long_message_keeps_its_advice() -> None:
    text = answers.sentence("x" * 500, "ask the owners")
    assert len(text) <= 200 and text.endswith("...; ask the owners.")


@given(st.lists(st.text("abc", min_size=1, max_size=63), max_size=200))
def test_roles_fit_into_a_header_and_none_is_lost_silently(roles: list[str]) -> None:
    shown = answers.shown_roles(roles)
    assert sum(map(len, shown)) <= 1010
    if shown != roles:
        assert shown[-1] == f"+{len(roles) - len(shown) + 1}" and shown[:-1] == roles[: len(shown) - 1]


# --- what ends an answer


def permitted(who: Caller, on_expiry: str = "finish", names: tuple[str, ...] = ()) -> dict[str, str]:
    model = resolve(Policy.model_validate(POLICY)).models["minilm"]
    asked = Transaction("corp:alice", "m.infer", "m", "infer", "g", 7, ["r"], {}, None, who.token.expires_at)
    minter = TransactionTokenMinter(make_key(), issuer="https://e", audience="td.test", workload="w")
    minted, chosen = minter.mint(asked, NOW), replace(model, on_expiry=on_expiry)
    served = Served("infer", "1|1 00 x", names)
    return headers(answers.permit_reply(who, permit(), minted, served, chosen, NOW))


def test_a_permit_says_which_names_a_body_may_have_where_it_is_looked_at() -> None:
    assert permitted(caller(), names=("m", "Org/M 1", "ü|\n"))["x-mw-names"] == "m Org%2FM%201 %C3%BC%7C%0A"
    assert "x-mw-names" not in permitted(caller())


def test_who_asks_for_no_model_is_told_so_and_the_answer_may_be_kept() -> None:
    told = headers(answers.unnamed_reply(caller(), NOW))
    assert told["x-mw-status"] == "400" and told["x-mw-reason"] == "body_model_missing"
    assert told["x-mw-ttl"] == "4" and told["x-mw-facts"] and "`model`" in told["x-mw-message"]
    assert headers(answers.unnamed_reply(caller(2.75), NOW))["x-mw-ttl"] == "1"


def test_an_answer_can_be_ended_by_all_whom_it_is_for() -> None:
    alice = caller()
    agents = replace(alice, identity=replace(alice.identity, actors=("helper", "planner")))
    asked = (alice, agents, caller(jti="one"))
    alone, acting, named = (permitted(each)["x-mw-ties"].split(" ") for each in asked)
    assert len(alone) == 1 and acting[0] == alone[0] and named[0] == alone[0]
    for revoked, hit in (
        (Revoked({"corp:alice": None}), (alone, acting, named)),
        (Revoked(agents={"planner": None}), (acting,)),
        (Revoked(agents={"helper": None}), (acting,)),
        (Revoked(tokens={"one": None}), (named,)),
        (Revoked({"one": None, "helper": None}, {"corp:alice": None}, {"corp:alice": None, "one": None}), ()),
    ):
        listed = edge_text(revoked)
        assert [any(tie in listed for tie in each) for each in (alone, acting, named)] == [
            each in hit for each in (alone, acting, named)
        ], revoked


def test_an_answer_ends_with_its_token_only_where_the_model_says_so() -> None:
    assert "x-mw-ends" not in permitted(caller())
    assert permitted(caller(), "cut")["x-mw-ends"] == str(int(NOW + 3600))


# --- refusals


def denial(reason: str = "no_grant") -> Denial:
    return Denial("m.infer", reason, "corp:alice lacks a role", "ask", (), ("r",), None)


def test_a_denial_says_who_what_and_why() -> None:
    answer = answers.denial_reply(caller(), denial(), "m", "infer", "https://edge/m/m", NOW)
    found = headers(answer)
    assert answer.status == 403 and found["x-mw-status"] == "403" and found["x-mw-reason"] == "no_grant"
    assert found["x-mw-message"] == "corp:alice lacks a role; ask."
    assert found["x-mw-challenge"] == (
        'Bearer resource_metadata="https://edge/.well-known/oauth-protected-resource/m/m", scope="m.infer", '
        'error="insufficient_scope", error_description="corp:alice lacks a role; ask."'
    )
    assert found["x-mw-ttl"] == "4"
    facts = json.loads(base64.urlsafe_b64decode(found["x-mw-facts"] + "=="))
    assert facts == {
        "sub": "corp:alice",
        "ath": "hash",
        "rev": "7",
        "roles": ["r"],
        "model": "m",
        "action": "infer",
        "perm": "m.infer",
    }


def test_credentials_that_are_not_there_get_a_challenge_without_error() -> None:
    none = headers(answers.unauthenticated_reply("no_credentials", "Send some", "https://edge", error=False))
    assert "error" not in none["x-mw-challenge"] and none["x-mw-facts"] == "" and none["x-mw-ttl"] == "0"
    bad = headers(answers.unauthenticated_reply("token_expired", "Gone", "https://edge", error=True))
    assert 'error="invalid_token"' in bad["x-mw-challenge"] and bad["x-mw-ttl"] == "0"


@pytest.mark.parametrize(
    ("front", "model", "resource"),
    [
        ("m", "minilm", "https://e/m/minilm"),
        ("m", 'a", error="x', "https://e"),
        ("m", "../x", "https://e"),
        ("m", "", "https://e"),
        ("v1", "minilm", "https://e"),
    ],
)
def test_what_a_client_spelled_never_gets_into_a_challenge(front: str, model: str, resource: str) -> None:
    assert answers.resource_of("https://e", front, model) == resource


# --- live.json


def test_live_survives_its_text() -> None:
    assert load_text(save_text(LIVE)) == LIVE


@pytest.mark.parametrize(
    "change",
    [
        {"revision": "7"},
        {"revision": True},
        {"revision": -1},
        {"audience": ""},
        {"origin": "http://models.test"},
        {"origin": 'https://models.test"'},
        {"origin": "https://models.test/"},
        {"slots": {"minilm/v1": "0"}},
        {"slots": {"minilm/v1": 0}},
        {"slots": []},
        {"unknown": 1},
    ],
)
def test_a_broken_live_file_is_refused(change: dict[str, object]) -> None:
    text = json.dumps(json.loads(save_text(LIVE)) | change)
    with pytest.raises(MeshwardError) as refusal:
        load_text(text)
    assert refusal.value.code.number == "MW2030"


def test_a_live_file_lacking_something_is_refused() -> None:
    for name in InstanceView.__dataclass_fields__:
        value = json.loads(save_text(LIVE))
        del value[name]
        with pytest.raises(MeshwardError):
            load_text(json.dumps(value))


# --- the audit's heartbeat


@pytest.mark.parametrize(
    ("age", "max_blind", "blind"),
    [
        (0, 10, False),
        (4.9, 10, False),
        (5.1, 10, True),
        (11, 10, True),
        (-60, 10, True),
        (1.9, 4, False),
        (2.1, 4, True),
        (54, 60, False),
        (56, 60, True),
    ],
)
def test_sight_is_lost_early_enough(tmp_path: Path, age: float, max_blind: int, blind: bool) -> None:
    beat = tmp_path / "heartbeat"
    beat.touch()
    os.utime(beat, (NOW - age, NOW - age))
    assert Heartbeat(beat, clock=lambda: NOW).is_blind(max_blind) is blind


def test_no_heartbeat_file_is_blindness_and_no_option_is_no_check(tmp_path: Path) -> None:
    assert Heartbeat(tmp_path / "none").is_blind(10)
    assert not Heartbeat(None).is_blind(10)
