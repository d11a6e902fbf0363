"""The signature step with the examples of RFC 7515, 7520 and 8037; what we do not allow is refused by name.

Wycheproof's own collections are in `test_verify`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshward.kit.reasons import Reason
from meshward.kit.strict import encode
from meshward.oidc import verify
from meshward.oidc.jwk import parse_key
from meshward.oidc.known import ACCEPTED, refuse_header
from meshward.oidc.refusal import TokenRefused
from tests.oidc.signing import Signer

PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
A2_MODULUS = (
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4Ql"
    "L-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUs"
    "LA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoud"
    "F8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
)
A2_SIGNATURE = (
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujG"
    "bds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K"
    "0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6"
    "LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
A3_SIGNATURE = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
A3_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC7515: dict[str, tuple[dict[str, Any], str]] = {
    "A.2": ({"kty": "RSA", "e": "AQAB", "n": A2_MODULUS}, f"eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.{A2_SIGNATURE}"),
    "A.3": (A3_KEY, f"eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.{A3_SIGNATURE}"),
}


def passes(jwk: dict[str, Any], jws: str) -> bool:
    """Steps 2, 3, the algorithm of 7, and 8, for a JWS whose header may lack `kid`."""
    public = {name: value for name, value in jwk.items() if name in ("kty", "crv", "n", "e", "x", "y")}
    parts = verify.split_token(jws)
    header = verify.parse(parts.header)
    refuse_header(header)
    key = parse_key(public | {"kid": "k", "alg": header["alg"]})
    try:
        key.verify(parts.signed, parts.signature)
    except TokenRefused as refusal:
        assert refusal.reason == Reason.SIGNATURE_INVALID
        return False
    return True


def altered(jws: str) -> list[str]:
    """The payload, the header and the signature, each changed in one character."""
    header, payload, signature = jws.split(".")

    def flip(text: str) -> str:
        return ("A" if text[5] != "A" else "B").join((text[:5], text[6:]))

    return [f"{header}.{flip(payload)}.{signature}", f"{header}.{payload}.{flip(signature)}"]


def cookbook(shared_data: Path, name: str) -> dict[str, Any]:
    return json.loads((shared_data / "vectors" / "jose-cookbook" / f"{name}.json").read_text())


@pytest.mark.parametrize("name", RFC7515)
def test_rfc_7515(name: str) -> None:
    jwk, jws = RFC7515[name]
    assert passes(jwk, jws)
    assert not any(passes(jwk, other) for other in altered(jws))


@pytest.mark.parametrize("name", ["jws/4_1.rsa_v15_signature", "curve25519/jws"])
def test_rfc_7520_figure_13_and_rfc_8037_a_4(shared_data: Path, name: str) -> None:
    example = cookbook(shared_data, name)
    jws = example["output"]["compact"]
    assert passes(example["input"]["key"], jws)
    assert not any(passes(example["input"]["key"], other) for other in altered(jws))


def test_rfc_8037_a_4_as_it_was_typed_in(shared_data: Path) -> None:
    example = json.loads((shared_data / "vectors" / "rfc_examples.json").read_text())["rfc8037_A4"]
    jws = f"{example['signing_input']}.{example['signature']}"
    assert passes({"kty": "OKP", "crv": "Ed25519", "x": example["x"]}, jws)


@pytest.mark.parametrize(
    ("name", "alg"),
    [
        ("jws/4_2.rsa-pss_signature", "PS384"),
        ("jws/4_3.ecdsa_signature", "ES512"),
        ("jws/4_4.hmac-sha2_integrity_protection", "HS256"),
    ],
)
def test_examples_in_other_algorithms_are_refused_by_name(shared_data: Path, name: str, alg: str) -> None:
    example = cookbook(shared_data, name)
    header = verify.parse(verify.split_token(example["output"]["compact"]).header)
    assert header["alg"] == alg
    with pytest.raises(TokenRefused) as refused:
        verify.check_header(header)
    assert (
        refused.value.reason == Reason.TOKEN_HEADER_REFUSED
        and f"The algorithm {alg} is not accepted" in refused.value.sentence
    )


def test_rfc_7515_a_1_is_refused_by_name(shared_data: Path) -> None:
    example = json.loads((shared_data / "vectors" / "rfc_examples.json").read_text())["rfc7515_A1"]
    with pytest.raises(TokenRefused, match="HS256"):
        verify.check_header(verify.parse(verify.split_token(example["jws"]).header))


def test_none_is_refused_by_name_and_what_nobody_registered_is_not_repeated() -> None:
    for alg, word in (
        ("none", "none"),
        ("RS512", "RS512"),
        ("<script>", "of the token"),
        ("NONE", "of the token"),
    ):
        with pytest.raises(TokenRefused) as refused:
            verify.check_header({"alg": alg, "kid": "k"})
        assert word in refused.value.sentence and "<" not in refused.value.sentence


@pytest.mark.parametrize("alg", ACCEPTED)
def test_every_accepted_algorithm_is_one_that_a_key_can_be_bound_to(alg: str) -> None:
    signer = Signer(alg)
    jws = signer.sign(json.dumps({"alg": alg, "kid": "k1"}).encode(), b"{}")
    assert parse_key(signer.jwk()).alg == alg and passes(signer.jwk(), jws)
    assert encode(verify.split_token(jws).signature) == jws.split(".")[2]
