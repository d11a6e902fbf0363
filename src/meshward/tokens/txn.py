"""Transaction Tokens (draft-ietf-oauth-transaction-tokens): the decision, signed, for the guards to check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from meshward.kit.canonical import canonical_json
from meshward.kit.secret import Secret
from meshward.kit.strict import encode, token_hash
from meshward.spiffe.ids import agent_id
from meshward.tokens.keys import ALGORITHM, SigningKey

TYPE = "txntoken+jwt"
LIFETIME = 60  # seconds; the guards accept no longer one


@dataclass(frozen=True, slots=True)
class Transaction:
    """What was decided. `expires_at` is the end of the credential that it was decided on."""

    subject: str  # <issuer's name>:<stable id>
    permission: str  # <model>.<action>
    model: str
    action: str
    grant: str
    revision: int
    roles: Sequence[str]
    proof: Mapping[
        str, str
    ]  # the hash of the credential, by its kind: `ath` of a token, `x5t` of a certificate
    client: str | None
    expires_at: int
    actors: Sequence[
        str
    ] = ()  # agents that act for the subject, by the policy's names, the current one first


@dataclass(frozen=True, slots=True)
class Minted:
    """A Transaction Token, its claims, and `tth`, its hash: all of it that may be logged (WIMSE WPT)."""

    token: Secret
    claims: dict[str, Any]
    tth: str


class TransactionTokenMinter:
    """Mints with one key, for guards of the trust domain `audience`; `workload` is the edge's SPIFFE ID."""

    def __init__(self, key: SigningKey, *, issuer: str, audience: str, workload: str) -> None:
        self._key = key
        self.kid = key.kid
        self._audience = audience
        self._fixed = {"iss": issuer, "req_wl": workload}
        self._header = _part({"alg": ALGORITHM, "kid": key.kid, "typ": TYPE})

    def mint(self, transaction: Transaction, now: float) -> Minted:
        """A token that ends no later than the credential. Raises ValueError if that has ended."""
        audiences = {"aud": [self._audience, transaction.permission]}
        claims = self._fixed | audiences | claims_of(transaction, int(now)) | self._act(transaction.actors)
        signed = f"{self._header}.{_part(claims)}"
        text = f"{signed}.{encode(self._key.sign(signed.encode('ascii')))}"
        return Minted(Secret(text), claims, token_hash(text))

    def _act(self, actors: Sequence[str]) -> dict[str, Any]:
        """`act` (RFC 8693, 4.1), outermost the current actor; nothing where the subject acts alone."""
        act: dict[str, Any] = {}
        for name in reversed(actors):
            act = {"act": {"sub": str(agent_id(self._audience, name))} | act}
        return act


def claims_of(transaction: Transaction, issued_at: int) -> dict[str, Any]:
    """The claims that differ from token to token, but for `aud`. What a guard reads is a string at a fixed path."""
    expires_at = min(issued_at + LIFETIME, transaction.expires_at)
    if expires_at <= issued_at:
        raise ValueError("the credential has expired")
    return {
        "iat": issued_at,
        "exp": expires_at,
        "txn": str(uuid4()),
        "sub": transaction.subject,
        "scope": transaction.permission,
        "roles": list(transaction.roles),
        "tctx": {
            "model": transaction.model,
            "action": transaction.action,
            "grant": transaction.grant,
            "rev": str(transaction.revision),
        },
        "rctx": dict(transaction.proof) | ({} if transaction.client is None else {"cid": transaction.client}),
    }


def _part(value: dict[str, Any]) -> str:
    return encode(canonical_json(value).encode("ascii"))
