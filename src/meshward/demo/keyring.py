"""The demo identity provider's signing keys: one signs, the next is published already, old ones stay.

Because the next key is always in the JWKS, whoever fetched it since the last rotation knows the new key at
its first use. A retired key stays for as long as a token signed by it may live.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from meshward.demo.accounts import demo_directory, made_private
from meshward.kit.clock import Clock
from meshward.kit.durable import write_atomic
from meshward.kit.secret import Secret
from meshward.kit.statefile import StateFile, damage_error, read_plain

TOKEN_LIFE = 15 * 60
ROTATION_SECRET = "rotation-secret"  # noqa: S105  the name of its file
_ALGORITHM = "ES256"


@dataclass(frozen=True, slots=True)
class KeptKeys:
    """Private keys, as JWKs; of retired ones also when they retired."""

    current: dict[str, Any] = field(repr=False)
    next: dict[str, Any] = field(repr=False)
    retired: tuple[tuple[float, dict[str, Any]], ...] = field(repr=False)


KEYS = StateFile(
    "idp-keys.json",
    KeptKeys,
    place="STATE/demo",
    what="the signing keys of the demo's identity provider",
    remedy="Remove it: new keys are made, and tokens from before are refused.",
)


class KeyRing:
    """Keys kept in STATE/demo/idp-keys.json (0600), so that tokens outlive a restart.

    Where they were handed to us, to read alone, a rotation lasts as long as we do.
    """

    def __init__(self, state: Path, clock: Clock) -> None:
        self._directory = made_private(demo_directory(state))
        self._clock = clock
        kept = KEYS.read(self._directory)
        if kept is None:
            self._current, self._next, self._retired = _new_key(), _new_key(), list[tuple[float, ECKey]]()
            self._save()
        else:
            self._take(kept)

    def _take(self, kept: KeptKeys) -> None:
        try:
            self._current, self._next = ECKey.import_key(kept.current), ECKey.import_key(kept.next)
            self._retired = [(when, ECKey.import_key(key)) for when, key in kept.retired]
        except (ValueError, TypeError, LookupError, JoseError):
            raise KEYS.damage_error(self._directory / KEYS.name, "a key of it is none") from None

    @property
    def current(self) -> str:
        """The `kid` that signs now."""
        return str(self._current.kid)

    def rotate(self) -> str:
        """Sign with the key published as next, publish a new next one. Returns the `kid` that signs now."""
        self._retired = [*self._still_needed(), (self._clock(), self._current)]
        self._current, self._next = self._next, _new_key()
        self._save()
        return self.current

    def jwks(self) -> dict[str, Any]:
        """The public keys that may have signed a token that still lives, and the next."""
        keys = [self._current, self._next, *(key for _, key in self._still_needed())]
        return {"keys": [key.as_dict(private=False) for key in keys]}

    def sign(self, typ: str, claims: dict[str, Any]) -> str:
        """`claims` as a JWT of type `typ`, signed with the current key."""
        header = {"alg": _ALGORITHM, "typ": typ, "kid": self.current}
        return jwt.encode(header, claims, self._current, algorithms=[_ALGORITHM])

    def _still_needed(self) -> list[tuple[float, ECKey]]:
        return [(when, key) for when, key in self._retired if when + TOKEN_LIFE > self._clock()]

    def _save(self) -> None:
        retired = tuple((when, key.as_dict(private=True)) for when, key in self._retired)
        current, following = (key.as_dict(private=True) for key in (self._current, self._next))
        with suppress(PermissionError):
            KEYS.write(self._directory, KeptKeys(current, following, retired))


def rotation_secret(state: Path) -> Secret:
    """What POST /admin/rotate asks for: STATE/demo/rotation-secret (0600), made at the first call."""
    path = made_private(demo_directory(state)) / ROTATION_SECRET
    if not path.exists():
        write_atomic(path, secrets.token_urlsafe(24))
    try:
        return Secret(read_plain(path).decode())
    except ValueError as error:
        raise damage_error(path, str(error), "Remove it: a new one is made at the next start.") from None


def _new_key() -> ECKey:
    return ECKey.generate_key("P-256", {"use": "sig", "alg": _ALGORITHM}, auto_kid=True)
