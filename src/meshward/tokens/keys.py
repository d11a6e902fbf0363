"""The keys that sign Transaction Tokens, and nothing else: no guard can check a token's `typ`.

    txn.<kid>.pem     a private key (PKCS 8), 0600
    txn.json          {"current": kid, "next": kid, "previous": kid | null}, written last

Guards are given all of them in advance, so that a rotation meets no guard that does not know the key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from meshward.kit.canonical import canonical_json
from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.errors import MeshwardError
from meshward.oidc.strict import json_object

POINTER = "txn.json"
ALGORITHM = "ES256"


@dataclass(frozen=True)
class SigningKey:
    """An ES256 key; `kid` is its RFC 7638 thumbprint."""

    _key: ECKey = field(repr=False)

    @cached_property
    def kid(self) -> str:
        return str(self._key.thumbprint())

    def sign(self, message: bytes) -> bytes:
        return JWSRegistry.algorithms[ALGORITHM].sign(message, self._key)

    def public_jwk(self) -> dict[str, str]:
        """The public half. It says its `alg`: a verifier must not choose (RFC 8725, 3.1)."""
        numbers = self._key.as_dict(private=False)
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": str(numbers["x"]),
            "y": str(numbers["y"]),
            "kid": self.kid,
            "alg": ALGORITHM,
            "use": "sig",
        }

    def pem(self) -> bytes:
        return self._key.as_pem(private=True)


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """`current` signs, `next` will, `previous` did until tokens that it signed have expired."""

    current: SigningKey
    next: SigningKey
    previous: SigningKey | None = None

    def public_jwks(self) -> dict[str, list[dict[str, str]]]:
        """What guards accept."""
        keys = (self.current, self.next, self.previous)
        return {"keys": [key.public_jwk() for key in keys if key is not None]}

    def advanced(self) -> SigningKeys:
        """The keys after a rotation: the next one signs, and a new one waits."""
        return SigningKeys(self.next, make_key(), self.current)


def make_key() -> SigningKey:
    return SigningKey(ECKey.generate_key("P-256"))


def load_or_create(directory: Path) -> SigningKeys:
    """The keys in `directory`, made on first use. Raises MeshwardError (MW2010) if they are damaged."""
    if not (directory / POINTER).exists():
        keys = SigningKeys(make_key(), make_key())
        save(directory, keys)
        return keys
    return load(directory)


def load(directory: Path) -> SigningKeys:
    """The keys in `directory`. Raises MeshwardError (MW2010) if one is missing or damaged."""
    try:
        named = json_object((directory / POINTER).read_bytes())
        previous = None if named["previous"] is None else _read(directory, named["previous"])
        return SigningKeys(_read(directory, named["current"]), _read(directory, named["next"]), previous)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, JoseError) as error:
        raise MeshwardError(
            "MW2010",
            f"the signing keys in `{directory}` cannot be read ({type(error).__name__})",
            "Restore the directory, or remove it: new keys are made and handed to every guard.",
        ) from None


def save(directory: Path, keys: SigningKeys, gid: int | None = None) -> None:
    """Write `keys` to `directory`, pointer last, and remove keys that are no longer named.

    With `gid` directory and files are that group's to read (the decision service has a uid of its own).
    """
    private_directory(directory)
    if gid is not None:
        os.chown(directory, -1, gid)  # the parent's setgid bit gave it another group
        directory.chmod(0o750)
    mode = 0o600 if gid is None else 0o640
    named = {"current": keys.current, "next": keys.next, "previous": keys.previous}
    for key in filter(None, named.values()):
        write_atomic(_path(directory, key.kid), key.pem(), mode, gid)
    pointer = {role: key and key.kid for role, key in named.items()}
    write_atomic(directory / POINTER, canonical_json(pointer), mode, gid)
    keep = {_path(directory, key.kid) for key in named.values() if key is not None}
    for stray in set(directory.glob("txn.*.pem")) - keep:
        stray.unlink()


def _path(directory: Path, kid: str) -> Path:
    return directory / f"txn.{kid}.pem"


def _read(directory: Path, kid: str) -> SigningKey:
    """The key called `kid`; a file that holds another key is damage."""
    if not kid.replace("-", "").replace("_", "").isalnum():
        raise ValueError("not a kid")
    key = ECKey.import_key(_path(directory, kid).read_bytes())
    if key.curve_name != "P-256" or not key.is_private or key.thumbprint() != kid:
        raise ValueError("another key")
    return SigningKey(key)
