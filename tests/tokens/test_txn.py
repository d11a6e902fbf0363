"""Transaction Tokens: the shape that guards match, and a life that never exceeds the credential's."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.kit.strict import json_object, token_hash
from meshward.oidc.jwk import parse_key
from meshward.oidc.verify import split_token
from meshward.tokens.keys import make_key
from meshward.tokens.txn import LIFETIME, Transaction, TransactionTokenMinter

NOW = 1_800_000_000
KEY = make_key()
MINTER = TransactionTokenMinter(
    KEY, issuer="https://models.test", audience="mesh.test", workload="spiffe://mesh.test/edge"
)
ASKED = Transaction(
    subject="corp:alice",
    permission="mini.lm.infer",
    model="mini.lm",
    action="infer",
    grant="science",
    revision=7,
    roles=("a", "b"),
    proof={"ath": "hash"},
    client="cli",
    expires_at=NOW + 3600,
)


def test_the_token_is_what_guards_and_the_draft_expect() -> None:
    minted = MINTER.mint(ASKED, NOW + 0.7)
    parts = split_token(minted.token.reveal())
    assert json_object(parts.header) == {"alg": "ES256", "kid": KEY.kid, "typ": "txntoken+jwt"}
    parse_key(KEY.public_jwk()).verify(parts.signed, parts.signature)
    claims = json_object(parts.payload)
    assert claims == minted.claims
    assert len(claims.pop("txn")) == 36
    assert claims == {
        "iss": "https://models.test",
        "aud": ["mesh.test", "mini.lm.infer"],
        "iat": NOW,
        "exp": NOW + 60,
        "sub": "corp:alice",
        "scope": "mini.lm.infer",
        "req_wl": "spiffe://mesh.test/edge",
        "roles": ["a", "b"],
        "tctx": {
            "model": "mini.lm",
            "action": "infer",
            "grant": "science",
            "rev": "7",
        },
        "rctx": {"ath": "hash", "cid": "cli"},
    }


def test_the_actor_chain_is_nested_with_the_current_agent_outermost() -> None:
    minted = MINTER.mint(dataclasses.replace(ASKED, actors=("planner", "searcher")), NOW)
    agents = "spiffe://mesh.test/agent"
    assert minted.claims["act"] == {"sub": f"{agents}/planner", "act": {"sub": f"{agents}/searcher"}}
    assert minted.claims["sub"] == "corp:alice" and "act" not in MINTER.mint(ASKED, NOW).claims


def test_only_the_hash_of_a_token_is_printed() -> None:
    minted = MINTER.mint(dataclasses.replace(ASKED, client=None), NOW)
    assert minted.token.reveal() not in repr(minted) and minted.token.reveal() not in json.dumps(
        minted.claims
    )
    assert minted.tth == token_hash(minted.token.reveal())
    assert minted.claims["rctx"] == {"ath": "hash"}


def test_each_decision_has_its_own_transaction() -> None:
    assert len({MINTER.mint(ASKED, NOW).claims["txn"] for _ in range(100)}) == 100


@given(st.floats(min_value=-100, max_value=1), st.integers(min_value=-10, max_value=100))
def test_it_never_outlives_the_credential_nor_a_minute(behind: float, left: int) -> None:
    now, expires_at = NOW + behind, NOW + left
    asked = dataclasses.replace(ASKED, expires_at=expires_at)
    if expires_at <= int(now):
        with pytest.raises(ValueError):
            MINTER.mint(asked, now)
        return
    claims = MINTER.mint(asked, now).claims
    assert claims["iat"] <= now and claims["iat"] < claims["exp"] <= min(expires_at, claims["iat"] + LIFETIME)
