"""Transaction Tokens as our edge mints them, and as somebody else would write them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

from meshward.kit.canonical import canonical_json
from meshward.kit.strict import encode
from meshward.plan.placement import PlacedPlan
from meshward.tokens.keys import SigningKey, make_key
from meshward.tokens.txn import Transaction, TransactionTokenMinter


@dataclass(frozen=True, slots=True)
class Mint:
    """The edge of `placed`: `key` signs, `following` will."""

    placed: PlacedPlan
    key: SigningKey = field(default_factory=make_key)
    following: SigningKey = field(default_factory=make_key)

    @property
    def jwks(self) -> tuple[dict[str, str], ...]:
        return self.key.public_jwk(), self.following.public_jwk()

    def claims(self, permission: str, key: SigningKey | None = None) -> dict[str, Any]:
        """What a good token for `permission` says."""
        return self._minter(key).mint(_transaction(permission), time.time()).claims

    def token(self, permission: str, key: SigningKey | None = None) -> str:
        """A good one."""
        return self._minter(key).mint(_transaction(permission), time.time()).token.reveal()

    def altered(self, permission: str, **claims: Any) -> str:
        """Signed as a good one, saying something else; None: not said at all."""
        said = self.claims(permission) | claims
        return signed({name: value for name, value in said.items() if value is not None}, self.key)

    def _minter(self, key: SigningKey | None) -> TransactionTokenMinter:
        plan = self.placed.plan
        issuer = f"https://{plan.edge.hostname}"
        workload = self.placed.edge_id
        return TransactionTokenMinter(
            key or self.key, issuer=issuer, audience=plan.trust_domain, workload=workload
        )


def signed(claims: dict[str, Any], key: SigningKey, **header: Any) -> str:
    """ES256 by `key`; `header` replaces what a good one has there."""
    head = {"alg": "ES256", "kid": key.kid, "typ": "txntoken+jwt", **header}
    text = f"{_part(head)}.{_part(claims)}"
    return f"{text}.{encode(key.sign(text.encode()))}"


def unsigned(claims: dict[str, Any]) -> str:
    return f"{_part({'alg': 'none', 'typ': 'txntoken+jwt'})}.{_part(claims)}."


def signed_otherwise(claims: dict[str, Any], algorithm: str, kid: str) -> str:
    """By a key of another kind, under the name of one of ours."""
    key = RSAKey.generate_key(2048) if algorithm.startswith("RS") else ECKey.generate_key("P-384")
    text = f"{_part({'alg': algorithm, 'kid': kid, 'typ': 'txntoken+jwt'})}.{_part(claims)}"
    return f"{text}.{encode(JWSRegistry.algorithms[algorithm].sign(text.encode(), key))}"


def _transaction(permission: str) -> Transaction:
    model, _, action = permission.rpartition(".")
    return Transaction(
        subject="okta:00u1ann", permission=permission, model=model, action=action, grant="g", revision=1,
        roles=("r",), proof={"ath": "a"}, client=None, expires_at=int(time.time()) + 600,
    )  # fmt: skip


def _part(value: dict[str, Any]) -> str:
    return encode(canonical_json(value).encode("ascii"))
