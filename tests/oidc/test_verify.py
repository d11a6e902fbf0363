"""Each step of verification is attacked by a token that every other step would accept."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import json
import socket
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from meshward.kit.reasons import Reason
from meshward.kit.secret import Secret
from meshward.kit.strict import encode
from meshward.oidc import verify
from meshward.oidc.jwk import parse_key, parse_key_set
from meshward.oidc.keys import FixedKeys
from meshward.oidc.profiles import load_profile
from meshward.oidc.refusal import TokenRefused
from meshward.oidc.verify import VerifiedToken, Verifier
from tests.oidc.signing import ISSUER, NOW, Signer, issuer, verifier

SIGNER = Signer()


def outcome(token: str, verify_with: Verifier) -> VerifiedToken | TokenRefused:
    try:
        return asyncio.run(verify_with.verify(Secret(token)))
    except TokenRefused as refusal:
        return refusal


def reason(token: str, verify_with: Verifier | None = None) -> Reason:
    found = outcome(token, verify_with or verifier(SIGNER))
    assert isinstance(found, TokenRefused), "the token was accepted"
    assert found.sentence.isascii() and found.sentence.isprintable()
    assert not set('"\\') & set(found.sentence)
    return found.reason


def accepted(token: str, verify_with: Verifier | None = None) -> VerifiedToken:
    found = outcome(token, verify_with or verifier(SIGNER))
    assert isinstance(found, VerifiedToken), found
    return found


# --- the good one


def test_a_good_token_is_verified() -> None:
    text = SIGNER.token(azp="cli", groups=["a"])
    token = accepted(text)
    assert (token.issuer, token.subject, token.client) == ("corp", "alice", "cli")
    assert (token.issued_at, token.expires_at) == (NOW, NOW + 60)
    assert token.claims["groups"] == ["a"]
    assert token.ath == verify.token_hash(text)


@pytest.mark.parametrize("alg", ["ES256", "RS256", "PS256", "EdDSA", "Ed25519"])
def test_every_algorithm_that_we_allow_works_and_binds(alg: str) -> None:
    signer = Signer(alg)
    accepted(signer.token(), verifier(signer))
    for other in {"ES256", "RS256", "PS256", "EdDSA", "HS256", "none"} - {alg}:
        assert reason(signer.token({"alg": other}), verifier(signer)) == Reason.TOKEN_HEADER_REFUSED


def test_only_the_verifier_makes_a_verified_token() -> None:
    token = accepted(SIGNER.token())
    fields = {f.name: getattr(token, f.name) for f in dataclasses.fields(token)}
    with pytest.raises(TypeError):
        VerifiedToken(**fields, seal=object())
    with pytest.raises(TypeError):
        VerifiedToken(**fields)  # type: ignore[call-arg]
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(token, subject="root")
    with pytest.raises(dataclasses.FrozenInstanceError):
        token.subject = "root"  # type: ignore[misc]


# --- step 0: a Hugging Face token


@pytest.mark.parametrize("token", ["hf_canary123", "hf_jwt_canary.a.b", "hf_oauth_canary"])
def test_step_0_a_hugging_face_token_is_refused_with_a_hint_and_not_echoed(token: str) -> None:
    refusal = outcome(token, verifier(SIGNER))
    assert isinstance(refusal, TokenRefused) and refusal.reason == Reason.HUGGINGFACE_TOKEN
    assert ISSUER in refusal.sentence and "canary" not in str(refusal)


# --- step 1: size


def test_step_1_size() -> None:
    assert reason(SIGNER.token(pad="x" * 8192)) == Reason.TOKEN_TOO_LARGE
    accepted(SIGNER.token(pad="x" * 5000))


# --- step 2: compact form


def stray_bits(part: str) -> str:
    """Another spelling of the same bytes, if unused bits are ignored."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(part) % 4
    return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]


def test_step_2_compact_form() -> None:
    header, payload, signature = SIGNER.token().split(".")
    bad = [
        "",
        ".",
        "..",
        "x",
        f"{header}.{payload}",
        f"{header}.{payload}.{signature}.x",
        f" {header}.{payload}.{signature}",
        f"{header}.{payload}.{signature} ",
        f"{header}.{payload}.{signature}=",
        f"{header}.{payload}.{signature}==",
        f"{header}.{payload}\n.{signature}",
        f"{header}.{payload}.{stray_bits(signature)}",
        f"{header}.{payload}.{signature.replace('-', '+').replace('_', '/')}+",
        f"{header}.{payload}.{signature}é",
        json.dumps({"payload": payload, "signatures": []}),
    ]
    assert {reason(token) for token in bad} == {Reason.TOKEN_MALFORMED}


# --- step 3: strict JSON


def signed_payload(text: str | bytes) -> str:
    payload = text if isinstance(text, bytes) else text.encode()
    return SIGNER.sign(json.dumps({"alg": "ES256", "kid": "k1", "typ": "JWT"}).encode(), payload)


def good_claims(extra: str = "") -> str:
    return json.dumps(SIGNER.claims)[:-1] + extra + "}"


@pytest.mark.parametrize(
    "payload",
    [
        "[1]",
        '"x"',
        "null",
        "",
        "{",
        good_claims(',"sub":"root"'),
        good_claims(',"x":{"a":1,"a":2}'),
        good_claims(',"x":NaN'),
        good_claims(',"x":Infinity'),
        good_claims(',"x":-Infinity'),
        good_claims(',"x":1e400'),
        good_claims(',"x":"\\ud800"'),
        good_claims(f',"x":{"9" * 5000}'),
        good_claims(',"x":' + "[" * 2500 + "]" * 2500),
        good_claims() + "{}",
        "\ufeff" + good_claims(),
        good_claims(',"x":"\x01"'),
        b"\xff\xfe",
        good_claims().encode("utf-16"),
    ],
)
def test_step_3_strict_json(payload: str | bytes) -> None:
    assert reason(signed_payload(payload)) == Reason.TOKEN_MALFORMED


def test_step_3_escapes_that_mean_characters_are_fine() -> None:
    assert accepted(signed_payload(good_claims(',"x":"\\u00e9\\ud83d\\ude00"'))).claims["x"] == "é😀"


def test_step_3_duplicate_names_in_the_header() -> None:
    token = SIGNER.sign(b'{"alg":"ES256","alg":"ES256","kid":"k1"}', good_claims().encode())
    assert reason(token) == Reason.TOKEN_MALFORMED


# --- step 4: header


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"jwk": {}},
        {"jku": "https://evil.test"},
        {"x5u": "https://evil.test"},
        {"x5c": []},
        {"b64": True},
        {"cty": "JWT"},
        {"enc": "A256GCM"},
        {"zip": "DEF"},
        {"anything": 1},
        {"typ": None},
        {"typ": ["JWT"]},
        {"kid": ""},
        {"kid": None},
        {"kid": 1},
        {"kid": "x" * 201},
        {"kid": "k1\n"},
        {"kid": "ké"},
        {"alg": ["ES256"]},
        {"x5t": 1},
    ],
)
def test_step_4_header(header: dict[str, Any]) -> None:
    assert reason(SIGNER.token(header)) == Reason.TOKEN_HEADER_REFUSED


def test_step_4_thumbprints_are_tolerated() -> None:
    accepted(SIGNER.token({"x5t": "abc", "x5t#S256": "def"}))


def test_step_4_without_alg_or_kid() -> None:
    for header in ({"kid": "k1"}, {"alg": "ES256"}):
        assert (
            reason(SIGNER.sign(json.dumps(header).encode(), good_claims().encode()))
            == Reason.TOKEN_HEADER_REFUSED
        )


# --- step 5: issuer


@pytest.mark.parametrize(
    "iss", ["https://idp.test/", "https://IDP.test", "https://evil.test", "", None, 1, [ISSUER], {"a": 1}]
)
def test_step_5_issuer(iss: Any) -> None:
    assert reason(SIGNER.token(iss=iss)) == Reason.ISSUER_UNKNOWN


def test_step_5_each_issuer_has_its_own_keys() -> None:
    other = Signer(issuer="https://other.test")
    both = Verifier(
        [
            FixedKeys(issuer(), {"k1": parse_key(SIGNER.jwk())}),
            FixedKeys(issuer(name="other", url=other.issuer), {"k1": parse_key(other.jwk())}),
        ],
        clock=lambda: NOW,
    )
    assert accepted(SIGNER.token(), both).issuer == "corp"
    assert accepted(other.token(), both).issuer == "other"
    assert reason(other.token(iss=ISSUER), both) == Reason.SIGNATURE_INVALID


# --- step 6: type


@pytest.mark.parametrize(
    "typ", ["logout+jwt", "dpop+jwt", "txntoken+jwt", "id_token", "", "application/JOSE"]
)
def test_step_6_type(typ: str) -> None:
    assert reason(SIGNER.token({"typ": typ})) == Reason.TOKEN_TYPE_REFUSED


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+JWT"])
def test_step_6_types_of_access_tokens(typ: str) -> None:
    accepted(SIGNER.token({"typ": typ}))


def test_step_6_a_profile_may_insist_on_a_type() -> None:
    strict = issuer(profile=load_profile("oidc").model_copy(update={"typ": frozenset({"at+jwt"})}))
    accepted(SIGNER.token({"typ": "at+jwt"}), verifier(SIGNER, strict))
    assert reason(SIGNER.token(), verifier(SIGNER, strict)) == Reason.TOKEN_TYPE_REFUSED
    untyped = SIGNER.sign(b'{"alg":"ES256","kid":"k1"}', good_claims().encode())
    assert reason(untyped, verifier(SIGNER, strict)) == Reason.TOKEN_TYPE_REFUSED
    accepted(untyped)


# --- step 7: key


def test_step_7_key() -> None:
    assert reason(SIGNER.token({"kid": "k2"})) == Reason.KEY_UNKNOWN
    assert reason(SIGNER.token({"kid": "../../dev/null"})) == Reason.KEY_UNKNOWN


# --- step 8: signature


def test_step_8_signature() -> None:
    header, payload, signature = SIGNER.token().split(".")
    root = encode(good_claims().replace("alice", "mallory").encode())
    forged = [
        f"{header}.{root}.{signature}",
        f"{header}.{payload}.",
        f"{header}.{payload}.{encode(bytes(64))}",
        f"{header}.{payload}.{encode(b'x' * 63)}",
        f"{header}.{payload}.{encode(b'x' * 65)}",
        Signer(claims=SIGNER.claims).token(),
    ]
    assert {reason(token) for token in forged} == {Reason.SIGNATURE_INVALID}


@given(st.integers(min_value=0, max_value=511))
def test_step_8_no_bit_of_the_signature_may_change(bit: int) -> None:
    header, payload, signature = GOOD.split(".")
    raw = bytearray(verify.base64url(signature))
    raw[bit // 8] ^= 1 << bit % 8
    assert reason(f"{header}.{payload}.{encode(bytes(raw))}") == Reason.SIGNATURE_INVALID


GOOD = SIGNER.token()


# --- step 9: audience and client


@pytest.mark.parametrize(
    "aud",
    [
        None,
        "other",
        "meshwardx",
        "MESHWARD",
        "",
        [],
        1,
        ["other"],
        ["meshward", 1],
        {"meshward": 1},
        [["meshward"]],
    ],
)
def test_step_9_audience(aud: Any) -> None:
    assert reason(SIGNER.token(aud=aud)) == Reason.AUDIENCE_REFUSED


def test_step_9_one_of_several_audiences() -> None:
    accepted(SIGNER.token(aud=["other", "meshward"]))


def test_step_9_no_configured_audience_accepts_nothing() -> None:
    nobody = verifier(SIGNER, issuer(audiences=frozenset()))
    for aud in ("meshward", "", None, []):
        assert reason(SIGNER.token(aud=aud), nobody) == Reason.AUDIENCE_REFUSED


def test_step_9_clients_are_checked_where_they_are_given() -> None:
    picky = verifier(SIGNER, issuer(clients=frozenset({"cli"})))
    accepted(SIGNER.token(azp="cli"), picky)
    for over in ({}, {"azp": "web"}, {"azp": ["cli"]}, {"client_id": "web", "azp": "cli"}):
        assert reason(SIGNER.token(**over), picky) == Reason.AUDIENCE_REFUSED


def test_step_9_a_profile_without_audience_lives_by_its_clients() -> None:
    profile = load_profile("oidc").model_copy(update={"audience": "client_id"})
    none, some, both = (
        issuer(profile=profile, clients=frozenset(clients), audiences=frozenset(audiences))
        for clients, audiences in (((), ()), (("cli",), ()), (("cli",), ("meshward",)))
    )
    accepted(SIGNER.token(client_id="cli", aud=None), verifier(SIGNER, some))
    accepted(SIGNER.token(client_id="cli"), verifier(SIGNER, both))
    assert reason(SIGNER.token(client_id="cli", aud=None), verifier(SIGNER, both)) == Reason.AUDIENCE_REFUSED
    assert reason(SIGNER.token(client_id="cli"), verifier(SIGNER, none)) == Reason.AUDIENCE_REFUSED
    assert reason(SIGNER.token(), verifier(SIGNER, none)) == Reason.AUDIENCE_REFUSED


# --- step 10: claims


def test_step_10_claims() -> None:
    assert reason(SIGNER.token(cnf={"jkt": "x"})) == Reason.CLAIMS_REFUSED
    assert reason(signed_payload(good_claims(',"cnf":null'))) == Reason.CLAIMS_REFUSED
    assert (
        reason(SIGNER.token(events={"http://schemas.openid.net/event/backchannel-logout": {}}))
        == Reason.CLAIMS_REFUSED
    )


def test_step_10_what_a_profile_requires() -> None:
    profile = load_profile("oidc").model_copy(update={"require": {"token_use": ("access",), "v": (1,)}})
    needy = verifier(SIGNER, issuer(profile=profile))
    accepted(SIGNER.token(token_use="access", v=1), needy)
    for over in (
        {},
        {"token_use": "id", "v": 1},
        {"token_use": "access", "v": True},
        {"token_use": ["access"], "v": 1},
    ):
        assert reason(SIGNER.token(**over), needy) == Reason.CLAIMS_REFUSED


# --- step 11: times


@pytest.mark.parametrize(
    "over",
    [
        {"iat": None},
        {"exp": None},
        {"exp": NOW + 60.0},
        {"exp": str(NOW + 60)},
        {"exp": True},
        {"exp": [NOW + 60]},
        {"iat": NOW + 0.5},
        {"nbf": "now"},
        {"iat": NOW + 6, "exp": NOW + 60},
        {"nbf": NOW + 6},
        {"iat": NOW - 1, "exp": NOW + 86400},
        {"exp": NOW + 315360000},
        {"iat": -1},
    ],
)
def test_step_11_times(over: dict[str, Any]) -> None:
    assert reason(SIGNER.token(**over)) == Reason.TOKEN_TIMES_REFUSED


@pytest.mark.parametrize("over", [{"exp": NOW}, {"exp": NOW - 1}, {"exp": -1}, {"exp": 0}])
def test_step_11_expired(over: dict[str, Any]) -> None:
    assert reason(SIGNER.token(**over)) == Reason.TOKEN_EXPIRED


@pytest.mark.parametrize(
    "over", [{"iat": NOW + 5}, {"nbf": NOW + 5}, {"iat": NOW, "exp": NOW + 86400}, {"exp": NOW + 1}]
)
def test_step_11_the_edges_that_are_still_good(over: dict[str, Any]) -> None:
    accepted(SIGNER.token(**over))


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"iat": NOW + 42, "exp": NOW + 60}, "Clock skew: by our clock the token was issued 42 s from now"),
        ({"iat": 10**400, "exp": 10**401}, "issued more than a day from now"),
        ({"nbf": NOW + 42}, "not valid before 42 s from now"),
        ({"nbf": 10**400}, "not valid before more than a day from now"),
        ({"exp": NOW}, "expired 0 s ago by our clock"),
        ({"exp": NOW - 300}, "expired 300 s ago by our clock"),
    ],
)
def test_step_11_clock_skew_is_named_with_the_difference(over: dict[str, Any], words: str) -> None:
    refused = outcome(SIGNER.token(**over), verifier(SIGNER, now=NOW + 0.25))
    assert isinstance(refused, TokenRefused) and words in refused.sentence, refused
    assert "lock skew" in refused.sentence and "NTP" in refused.sentence and len(refused.sentence) < 200


@pytest.mark.parametrize("exp", [NOW - 301, 0, -(10**400)])
def test_step_11_a_token_that_is_simply_old_is_not_blamed_on_a_clock(exp: int) -> None:
    refused = outcome(SIGNER.token(exp=exp), verifier(SIGNER))
    assert isinstance(refused, TokenRefused) and "skew" not in refused.sentence, refused


def test_step_11_null_is_not_absence() -> None:
    assert reason(signed_payload(good_claims(',"nbf":null'))) == Reason.TOKEN_TIMES_REFUSED


# --- step 12: subject


@pytest.mark.parametrize(
    "sub",
    [
        None,
        "",
        " ",
        " alice",
        "alice ",
        "a\nb",
        "a\0",
        "a\x7f",
        "al\u0456ce",
        "\u202eecila",
        1,
        ["alice"],
        "x" * 256,
    ],
)
def test_step_12_subject(sub: Any) -> None:
    assert reason(SIGNER.token(sub=sub)) == Reason.SUBJECT_REFUSED


@pytest.mark.parametrize("sub", ["a", "o'brien@x.test", "repo:octo/x:environment:My Env", "x" * 255])
def test_step_12_subjects_that_exist(sub: str) -> None:
    assert accepted(SIGNER.token(sub=sub)).subject == sub


# --- collections by others


def corpus(shared_data: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("jwt_corpus", shared_data / "vectors/jwt_corpus_visible.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_corpus_of_hostile_tokens(shared_data: Path) -> None:
    """70 tokens, each wrong in one way; two of them name port 9, where nothing of ours may ever call."""
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = {**ECKey.import_key(key.public_key()).as_dict(private=False), "kid": "k1", "alg": "ES256"}
    verify_with = Verifier([FixedKeys(issuer(), {"k1": parse_key(jwk)})], clock=lambda: NOW)
    cases = corpus(shared_data).corpus(key, "k1", ISSUER, "meshward", now=NOW)
    assert len(cases) >= 70
    wrong = [
        name
        for name, want, token in cases
        if isinstance(outcome(token, verify_with), VerifiedToken) != (want == "accept")
    ]
    assert wrong == []


def test_wycheproof(shared_data: Path) -> None:
    """No invalid JWS is accepted, and every valid one of our algorithms is."""
    groups = json.loads((shared_data / "vectors/wycheproof/json_web_signature_test.json").read_text())[
        "testGroups"
    ]
    ours = [group for group in groups if _keys_of(group)]
    assert {key.alg for group in ours for key in _keys_of(group).values()} >= {"ES256", "RS256", "PS256"}
    accepted_ids = {t["tcId"] for g in groups for t in g["tests"] if _jws_is_good(t["jws"], _keys_of(g))}
    results = {t["tcId"]: t["result"] for g in groups for t in g["tests"]}
    assert {i for i in accepted_ids if results[i] != "valid"} == set()
    missed = {t["tcId"]: t["comment"] for g in ours for t in g["tests"] if t["result"] == "valid"}
    missed = {i: comment for i, comment in missed.items() if i not in accepted_ids}
    assert set(missed) == WYCHEPROOF_STRICTER, missed


WYCHEPROOF_STRICTER = {346, 350}  # RFC 7520's figure 20: a PS384 signature, which is none of our algorithms


def _keys_of(group: dict[str, Any]) -> dict[str, Any]:
    jwk = group.get("public") or group["private"]
    try:
        return parse_key_set(json.dumps({"keys": [jwk]}).encode())
    except ValueError:
        return {}


def _jws_is_good(jws: Any, keys: dict[str, Any]) -> bool:
    """Steps 1, 2, 4, 7 and 8: Wycheproof's payloads are not claims."""
    try:
        verify.check_size(jws)
        parts = verify.split_token(jws)
        header = verify.parse(parts.header)
        verify.check_header(header)
        if header["kid"] not in keys:
            return False
        verify.check_algorithm(header, keys[header["kid"]], load_profile("oidc"))
        keys[header["kid"]].verify(parts.signed, parts.signature)
    except (TokenRefused, AttributeError):
        return False
    return True


def test_ed25519_wycheproof(shared_data: Path) -> None:
    groups = json.loads((shared_data / "vectors/wycheproof/ed25519_test.json").read_text())["testGroups"]
    good = 0
    for group in groups:
        public = bytes.fromhex(group["publicKey"]["pk"])
        key = parse_key({"kty": "OKP", "crv": "Ed25519", "x": encode(public), "kid": "k"})
        for case in group["tests"]:
            try:
                key.verify(bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
                passed = True
            except TokenRefused:
                passed = False
            assert not (passed and case["result"] == "invalid"), case["tcId"]
            good += passed
    assert good > 50


def test_ecdsa_wycheproof(shared_data: Path) -> None:
    groups = json.loads(
        (shared_data / "vectors/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json").read_text()
    )["testGroups"]
    good = 0
    for group in groups:
        public = group["publicKey"]
        x, y = (encode(int(public[name], 16).to_bytes(32)) for name in ("wx", "wy"))
        key = parse_key({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "k"})
        for case in group["tests"]:
            try:
                key.verify(bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
                passed = True
            except TokenRefused:
                passed = False
            assert not (passed and case["result"] == "invalid"), case["tcId"]
            good += passed
    assert good > 50


def test_no_header_makes_us_call_anybody() -> None:
    """jku, x5u and an unknown kid: nothing connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/jwks"
        for name in ("jku", "x5u"):
            reason(SIGNER.token({name: url, "kid": "evil"}))
        reason(SIGNER.token({"kid": url}))
        with pytest.raises(BlockingIOError):
            listener.accept()


@given(st.text())
def test_no_text_is_a_token_and_none_is_a_fault(text: str) -> None:
    reason(text)


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_header_and_payload_cause_a_fault(header: bytes, payload: bytes) -> None:
    reason(SIGNER.sign(header, payload))
