"""Credentials of a case, made: an issuer's tokens and Transaction Tokens, good but for what the case says."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import ECKey, RSAKey

from meshward.kit.strict import encode
from meshward.spiffe.ids import agent_id
from meshward.testing.issuer import KID, Issuer
from meshward.tokens.keys import ALGORITHM, SigningKey, make_key
from meshward.tokens.txn import TYPE, Transaction, claims_of
from tests.conformance.format import Client, Token, TransactionToken

Line = tuple[str, str]
_SUBJECT = "00unknown"


def issuers_token(request: Client, issuer: Issuer, now: float | None = None) -> str | None:
    """The text of the caller's token; None: the caller has none."""
    who, differs = request.who, request.token
    if differs.raw is not None:
        return differs.raw
    if who is None or who.issuer is None:
        return None
    at = int(time.time() if now is None else now)
    times = {"iat": at, "exp": at + 600} | {name: at + offset for name, offset in differs.times.items()}
    claims: dict[str, Any] = {**who.claims, **times, **differs.claims}
    header: Mapping[str, Any] = differs.header
    if differs.key != "current":
        kid = KID if differs.key == "forged" else "another"
        issuer, header = _stranger(issuer), {"kid": kid, **header}
    text = issuer.token(who.subject or _SUBJECT, tuple(who.groups), header=header, **claims)
    return spoiled(text, differs)


def spoiled(text: str, differs: Token) -> str:
    """A signed token with the signature that `differs` says. With none, its algorithm is `none`, too."""
    if differs.signature == "good":
        return text
    signed, _, signature = text.rpartition(".")
    if differs.signature == "broken":
        return f"{signed}.{('B' if signature[0] == 'A' else 'A')}{signature[1:]}"
    return (
        f"{encode(json.dumps({'alg': 'none'} | _without_alg(differs)).encode())}.{signed.partition('.')[2]}."
    )


def _without_alg(differs: Token) -> dict[str, Any]:
    return {name: value for name, value in differs.header.items() if name != "alg" and value is not None}


def lines(differs: Token, text: str | None, usual: Line) -> list[Line]:
    """The header lines that carry a token; `usual` is how its kind is sent."""
    if text is None:
        return []
    return [(name, value.replace("{token}", text)) for name, value in differs.sent_as or [usual]]


def _stranger(issuer: Issuer) -> Issuer:
    """The same words, another key."""
    other = object.__new__(Issuer)
    other.__dict__.update(vars(issuer))
    other.key = ECKey.generate_key("P-256") if issuer.alg == "ES256" else RSAKey.generate_key(2048)
    return other


@dataclass(frozen=True, slots=True)
class Minting:
    """What a Transaction Token is made of beside what was decided: the edge's names, and its current key."""

    issuer: str
    trust_domain: str
    workload: str
    key: SigningKey


@dataclass(frozen=True, slots=True)
class Described:
    """A Transaction Token before it is signed."""

    header: dict[str, Any]
    claims: dict[str, Any]
    key: SigningKey


def described(differs: TransactionToken, by: Minting, now: float | None = None) -> Described:
    """The token that the decision service would mint for the permission, but for what `differs` says."""
    at = int(time.time() if now is None else now)
    key = by.key if differs.key == "current" else make_key()
    kid = key.kid if differs.key == "unknown" else by.key.kid
    times = {name: at + offset for name, offset in differs.times.items()}
    return Described(
        given({"alg": ALGORITHM, "kid": kid, "typ": TYPE, **differs.header}),
        given(minted_claims(differs, by, at) | times | differs.claims),
        key,
    )


def transaction_token(differs: TransactionToken | None, by: Minting, now: float | None = None) -> str | None:
    """Its text; None: none."""
    if differs is None or differs.raw is not None:
        return None if differs is None else differs.raw
    made = described(differs, by, now)
    signed = ".".join(encode(json.dumps(part).encode()) for part in (made.header, made.claims))
    return spoiled(f"{signed}.{encode(made.key.sign(signed.encode()))}", differs)


def minted_claims(differs: TransactionToken, by: Minting, at: int) -> dict[str, Any]:
    """The claims of the good token, minted at `at` (seconds since the epoch)."""
    model, _, action = differs.permission.rpartition(".")
    transaction = Transaction(
        subject="staff:ann",
        permission=differs.permission,
        model=model,
        action=action,
        grant="science",
        revision=1,
        roles=["scientist"],
        proof={"ath": "a" * 43},
        client=None,
        expires_at=at + 600,
    )
    fixed = {"iss": by.issuer, "aud": [by.trust_domain, differs.permission], "req_wl": by.workload}
    act: dict[str, Any] = {}
    for name in reversed(differs.actors):
        act = {"act": {"sub": str(agent_id(by.trust_domain, name))} | act}
    return fixed | claims_of(transaction, at) | act


def given(members: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that are taken away."""
    return {name: value for name, value in members.items() if value is not None}
