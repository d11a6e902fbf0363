"""Keys that must not be used, though a document publishes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey

from meshward.kit.strict import encode
from meshward.oidc.jwk import parse_key, parse_key_set
from tests.oidc.signing import Signer

EC, RSA, ED = (Signer(alg).jwk() for alg in ("ES256", "RS256", "EdDSA"))


def without(jwk: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name not in names}


@pytest.mark.parametrize(("jwk", "alg"), [(EC, "ES256"), (RSA, "RS256"), (ED, "EdDSA")])
def test_a_key_without_alg_is_bound_to_its_kinds_first(jwk: dict[str, Any], alg: str) -> None:
    assert parse_key(without(jwk, "alg", "use")).alg == alg


def test_a_key_with_alg_is_bound_to_that() -> None:
    assert parse_key(RSA | {"alg": "PS256", "key_ops": ["verify"]}).alg == "PS256"


def small_rsa() -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "n": encode(numbers.n.to_bytes(128)), "e": "AQAB", "kid": "k", "alg": "RS256"}


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        [],
        "key",
        without(EC, "kid"),
        without(EC, "kty"),
        without(EC, "x"),
        EC | {"kid": ""},
        EC | {"kid": 1},
        EC | {"kid": "a\nb"},
        EC | {"use": "enc"},
        EC | {"use": None},
        EC | {"key_ops": ["sign"]},
        EC | {"key_ops": "verify"},
        EC | {"alg": "ES384"},
        EC | {"alg": "HS256"},
        EC | {"alg": "none"},
        EC | {"alg": None},
        EC | {"alg": ["ES256"]},
        EC | {"alg": "RS256"},
        EC | {"kty": ["EC"]},
        EC | {"crv": "P-384"},
        EC | {"crv": {}},
        EC | {"x": EC["y"]},
        EC | {"x": EC["x"] + "="},
        EC | {"x": encode(bytes(31))},
        EC | {"x": encode(b"\0" + bytes(32))},
        EC | {"x": 1},
        EC | {"d": encode(bytes(32))},
        {**ECKey.generate_key("P-256").as_dict(private=True), "kid": "k"},
        {**ECKey.generate_key("P-384").as_dict(private=False), "kid": "k"},
        {"kty": "oct", "k": "AAAA", "kid": "k", "alg": "HS256"},
        EC | {"k": "AAAA"},
        small_rsa(),
        RSA | {"e": encode(b"\1")},
        RSA | {"e": encode(b"\2")},
        RSA | {"e": encode(b"\1" * 16)},
        RSA | {"n": encode(b"\xff" * 1025)},
        RSA | {"n": ""},
        ED | {"crv": "X25519"},
        ED | {"crv": "Ed448"},
        ED | {"x": encode(bytes(31))},
    ],
)
def test_keys_that_are_not_used(jwk: object) -> None:
    with pytest.raises(ValueError):
        parse_key(jwk)
    assert set(parse_key_set(json.dumps({"keys": [jwk, ED | {"kid": "good"}]}).encode())) == {"good"}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":[{}]}',
        b'{"keys":[],"keys":[]}',
        b"<html>",
        b"\xff",
    ],
)
def test_documents_without_a_usable_key(document: bytes) -> None:
    with pytest.raises(ValueError):
        parse_key_set(document)


def test_a_kid_that_two_keys_share_is_nobodys() -> None:
    keys = [EC, RSA | {"kid": EC["kid"]}, ED | {"kid": "other"}]
    assert set(parse_key_set(json.dumps({"keys": keys}).encode())) == {"other"}
