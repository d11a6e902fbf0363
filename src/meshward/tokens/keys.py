"""The keys that sign Transaction Tokens, and nothing else: no guard can check a token's `typ`.

    txn.<kid>.pem     a private key (PKCS 8), 0600
    txn.json          {"current": kid, "next": kid, "previous": [{"jwk": ..., "at": ...}], "since": ...}, written last

Guards are given all of them in advance, so that a rotation meets no guard that does not know the key. Who signs is
given `current` alone: whoever breaks into the decision service must not learn the key that a rotation begins to use.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from meshward.kit.canonical import canonical_json
from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.errors import MeshwardError
from meshward.oidc.strict import json_object

POINTER = "txn.json"
ALGORITHM = "ES256"
RETIRED_FOR = 180  # seconds: a token's 60, the guards' skew of 5, and as long as a rotation may take


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
class Retired:
    """The public half of a key that signs no more; `at`: since when, in seconds since the epoch."""

    jwk: Mapping[str, str]
    at: float


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """`current` signs since `since`, `next` will, those of `previous` did: tokens that they signed may still live."""

    current: SigningKey
    next: SigningKey
    previous: tuple[Retired, ...] = ()
    since: float = 0.0  # seconds since the epoch; 0: since they are written

    def public_jwks(self) -> dict[str, list[dict[str, str]]]:
        """What guards accept."""
        signing = [self.current.public_jwk(), self.next.public_jwk()]
        return {"keys": [*signing, *(dict(each.jwk) for each in self.previous)]}

    def advanced(self, now: float) -> SigningKeys:
        """The keys after a rotation: the next one signs, and a new one waits."""
        kept = self.pruned(now).previous
        return SigningKeys(self.next, make_key(), (Retired(self.current.public_jwk(), now), *kept), now)

    def pruned(self, now: float) -> SigningKeys:
        """Without keys whose last token has ended. What a clock that was set back shows in the future begins now."""
        back = (replace(each, at=min(each.at, now)) for each in self.previous)
        return replace(self, previous=tuple(each for each in back if now - each.at < RETIRED_FOR))


def make_key() -> SigningKey:
    return SigningKey(ECKey.generate_key("P-256"))


def load_or_create(directory: Path) -> SigningKeys:
    """The keys in `directory`, made on first use. Raises MeshwardError (MW2010) if they are damaged."""
    if not (directory / POINTER).exists():
        save(directory, SigningKeys(make_key(), make_key()))
    return load(directory)


def load(directory: Path) -> SigningKeys:
    """The keys in `directory`. Raises MeshwardError (MW2010) if one is missing or damaged."""
    try:
        named = json_object((directory / POINTER).read_bytes())
        written = (directory / POINTER).stat().st_mtime
        current, following = _read(directory, named["current"]), _read(directory, named["next"])
        previous = _retired(directory, named["previous"], written)
        return SigningKeys(current, following, previous, float(named.get("since") or written))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, JoseError) as error:
        raise _unreadable(directory, error) from None


def load_current(directory: Path) -> SigningKey:
    """The key that signs. Raises MeshwardError (MW2010) if it is missing or damaged."""
    try:
        return _read(directory, json_object((directory / POINTER).read_bytes())["current"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, JoseError) as error:
        raise _unreadable(directory, error) from None


def save(directory: Path, keys: SigningKeys) -> None:
    """Write `keys` to `directory`, pointer last, and remove keys that sign no more."""
    private_directory(directory)
    pointer = {
        "current": keys.current.kid,
        "next": keys.next.kid,
        "previous": [{"jwk": dict(each.jwk), "at": int(each.at)} for each in keys.previous],
        "since": int(keys.since),
    }
    _write(directory, pointer, [keys.current, keys.next], 0o600, None)


def save_current(directory: Path, key: SigningKey, gid: int | None) -> None:
    """Write the key that signs, and no other. With `gid` it is that group's to read: who signs has a uid of its own."""
    private_directory(directory)
    if gid is not None:
        os.chown(directory, -1, gid)  # the parent's setgid bit gave it another group
        directory.chmod(0o750)
    _write(directory, {"current": key.kid}, [key], 0o600 if gid is None else 0o640, gid)


def _write(
    directory: Path, pointer: dict[str, Any], keys: Iterable[SigningKey], mode: int, gid: int | None
) -> None:
    files = {_path(directory, key.kid): key for key in keys}
    for file, key in files.items():
        write_atomic(file, key.pem(), mode, gid)
    write_atomic(directory / POINTER, canonical_json(pointer), mode, gid)
    for stray in set(directory.glob("txn.*.pem")) - set(files):
        stray.unlink()


def _retired(directory: Path, previous: Any, written: float) -> tuple[Retired, ...]:
    """Earlier releases kept one key, as a kid, or null."""
    if isinstance(previous, str):
        return (Retired(_read(directory, previous).public_jwk(), written),)
    return tuple(Retired(dict(each["jwk"]), float(each["at"])) for each in previous or ())


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


def _unreadable(directory: Path, error: Exception) -> MeshwardError:
    return MeshwardError(
        "MW2010",
        f"the signing keys in `{directory}` cannot be read ({type(error).__name__})",
        "Restore the directory, or remove it: new keys are made and handed to every guard.",
    )
