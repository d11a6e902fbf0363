"""What must be in the hand of who knocks: a live token of ours for this model, action and route."""

from __future__ import annotations

import base64
import json
import time

import pytest
from guard_harness import Guard
from guard_pki import Signer, claims


def tctx(**changes: object) -> dict[str, object]:
    whole = {"model": "m.1", "action": "infer", "grant": "g-free", "rev": "7"}
    return {key: value for key, value in (whole | changes).items() if value is not None}


def unsigned(header: dict[str, object], body: dict[str, object]) -> str:
    parts = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, body)
    )
    return ".".join([*parts, ""])


def test_no_token(guard: Guard) -> None:
    assert guard.ask(token=None).status == 401
    assert guard.model.seen == []


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "Bearer {good}", "x{good}", "{good},{good}"])
def test_not_exactly_one_token(guard: Guard, token: str) -> None:
    assert guard.ask(token=token.replace("{good}", guard.token())).status in (401, 403)
    assert guard.model.seen == []


def test_a_token_anywhere_else_does_not_count(guard: Guard) -> None:
    token = guard.token()
    assert guard.ask(token=None, headers=(("Authorization", f"Bearer {token}"),)).status == 401
    assert guard.ask(f"/embed?access_token={token}", token=None).status == 401
    assert guard.ask(token=None, headers=(("Cookie", f"Txn-Token={token}"),)).status == 401
    assert guard.model.seen == []


def test_none_and_other_algorithms(guard: Guard) -> None:
    for header in ({"alg": "none"}, {"alg": "None"}, {"alg": ""}, {"alg": "HS256", "kid": "k1"}):
        assert guard.ask(token=unsigned(header, claims())).status == 401
    good = guard.token()
    assert guard.ask(token=good.rsplit(".", 1)[0] + ".").status == 401
    assert guard.ask(token=guard.signer.sign(claims(), {"alg": "RS256"})).status == 401
    assert guard.model.seen == []


def test_another_key_with_our_kid(guard: Guard) -> None:
    assert guard.ask(token=Signer("k1").sign(claims())).status == 401
    assert guard.ask(token=Signer("k2").sign(claims())).status == 401
    assert guard.ask(token=Signer("k2").sign(claims(), {"jwk": Signer().jwk})).status == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 4_000_000_000},
        {"aud": "other.test"},
        {"aud": None},
        {"aud": []},
        {"iss": "https://evil.test"},
        {"iss": None},
        {"nbf": 4_000_000_000},
        {"sub": None},
        {"sub": ""},
        {"sub": ["okta:alice"]},
        {"sub": "okta:"},
        {"sub": ":alice"},
        {"sub": "alice"},
        {"aud": "td.test"},
        {"aud": ["td.test"]},
        {"aud": "m.1.manage"},
        {"aud": ["td.test", "m.1.manage"]},
        {"aud": ["td.test", "m.2.infer"]},
        {"aud": ["td.test", "m.1"]},
        {"aud": ["td.test", "m.1.infer.x"]},
        {"aud": ["td.test", "M.1.infer"]},
        {"aud": ["td.test", "m.1.infer "]},
        {"aud": "m.1.infer m.1.manage"},
        {"aud": "td.test,m.1.infer"},
        {"aud": [["m.1.infer"]]},
        {"aud": {"m.1.infer": "1"}},
        {"aud": 1},
        {"aud": ["", " ", "*", "m.1.*", ".*"]},
        {"tctx": None},
        {"tctx": "m.1.infer"},
        {"tctx": ["g-2"]},
        {"tctx": tctx(grant=None)},
        {"tctx": tctx(grant="")},
        {"tctx": tctx(grant=["g-2"])},
        {"tctx": tctx(grant={"g-2": "1"})},
    ],
    ids=str,
)
def test_a_signed_token_that_permits_nothing_here(guard: Guard, changes: dict[str, object]) -> None:
    answer = guard.ask(token=guard.signer.sign(claims(**changes)))
    assert answer.status in (401, 403)
    assert answer.json["error_type"] in ("guard_no_token", "guard_forbidden")
    assert guard.model.seen == []


def test_a_token_of_another_model(guard: Guard) -> None:
    assert guard.ask(token=guard.signer.sign(claims("m.2"))).status == 403
    assert guard.ask(token=guard.signer.sign(claims("m"))).status == 403
    assert guard.model.seen == []


def test_a_token_just_expired_and_within_the_skew(guard: Guard) -> None:
    """5 s of skew and no more."""
    assert guard.ask(token=guard.token(exp=int(time.time()) - 8)).status == 401
    assert guard.ask(token=guard.token(exp=int(time.time()) + 2)).status == 200


def test_every_route_takes_its_own_permission_and_no_other(guard: Guard) -> None:
    for route in guard.view.routes:
        for action in ("infer", "describe", "observe", "manage"):
            guard.model.seen.clear()
            answer = guard.ask(route.path, route.method, token=guard.token(action))
            want = route.permission == f"m.1.{action}"
            assert (answer.status == 200, len(guard.model.seen)) == (want, int(want)), (route, action)


def test_a_route_with_another_method(guard: Guard) -> None:
    for method in ("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "post", "BREW"):
        assert guard.ask("/embed", method, body=b"").status in (400, 403), method
    assert guard.ask("/info", "POST", token=guard.token("describe")).status == 403
    assert guard.ask("/info", "HEAD", token=guard.token("describe"), body=b"").status == 403
    assert guard.model.seen == []


def test_two_tokens_are_refused_whatever_they_are(guard: Guard) -> None:
    """jwt_authn takes two that are both good, and then nobody knows whose claims are counted and logged."""
    bad = Signer("k1").sign(claims(sub="okta:mallory"))
    others = (bad, guard.token(), guard.token(sub="okta:bob"), guard.token("manage"), "")
    for first, second in [(guard.token(), each) for each in others] + [
        (each, guard.token()) for each in others
    ]:
        assert guard.ask(token=first, headers=(("Txn-Token", second),)).status in (401, 403), (first, second)
    assert guard.model.seen == []


def test_a_path_that_no_route_serves_is_refused_whatever_the_token_says(guard: Guard) -> None:
    """Not even with the audience of the rule that refuses it: then there is no route."""
    every = ["td.test", *(f"m.1.{action}" for action in ("infer", "describe", "observe", "manage")), " "]
    for aud in (every[:-1], every):
        for target in ("/none", "/v1/none", "/", "/embed/x"):
            answer = guard.ask(target, token=guard.signer.sign(claims(aud=aud)))
            assert answer.status in (403, 404) and answer.headers["x-mw-layer"] == "guard"
    assert guard.model.seen == []
