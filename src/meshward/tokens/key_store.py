"""The signing keys' files.

    txn.<kid>.pem     a private key (PKCS 8), 0600
    txn.json          {"current": kid, "next": kid, "previous": [{"jwk": ..., "at": ...}], "since": ...}, written last

Who signs is given `current` alone: whoever breaks into the decision service must not learn the key that a rotation
begins to use.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from pydantic import StringConstraints

from meshward.kit import codes
from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.foreign import Holder, hand_to
from meshward.kit.statefile import StateFile, read_plain
from meshward.tokens.keys import Retired, SigningKey, SigningKeys, make_key

POINTER = "txn.json"
Kid = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")]


@dataclass(frozen=True, slots=True)
class RetiredKey:
    jwk: dict[str, Any]
    at: float


@dataclass(frozen=True, slots=True)
class Named:
    """Keys by their `kid`. Who signs is told `current` alone. Before release 0.1.0 `previous` was one `kid`."""

    current: Kid
    next: Kid | None = None
    previous: tuple[RetiredKey, ...] | Kid | None = None
    since: float = 0


NAMED = StateFile(
    POINTER,
    Named,
    place="STATE/keys",
    what="which keys sign Transaction Tokens, now and next, and which did",
    remedy=codes.SIGNING_KEYS_DAMAGED.remedy,
    code=codes.SIGNING_KEYS_DAMAGED,
    may_lack=frozenset({"since"}),
)
SIGNING = replace(
    NAMED,
    place="RUN/given/decide/keys",
    what="which key signs Transaction Tokens",
    remedy="Start the instance again, `meshward up`: it is written anew.",
    may_lack=frozenset({"next", "previous", "since"}),
)


def load_or_create(directory: Path) -> SigningKeys:
    """The keys in `directory`, made where it holds none. Raises MeshwardError (MW2010) if they are damaged."""
    if NAMED.read(directory) is None and not any(directory.glob("txn.*.pem")):
        save(directory, SigningKeys(make_key(), make_key()))
    return load(directory)


def load(directory: Path) -> SigningKeys:
    """The keys in `directory`. Raises MeshwardError (MW2010) if one is missing or damaged."""
    named = NAMED.read(directory)
    try:
        written = (directory / POINTER).stat().st_mtime
        if named is None or named.next is None:
            raise FileNotFoundError
        current, following = _read(directory, named.current), _read(directory, named.next)
        previous = _load_retired(directory, named.previous, written)
        return SigningKeys(current, following, previous, named.since or written)
    except (OSError, ValueError, TypeError, JoseError) as error:
        raise _unreadable_error(directory, error) from None


def load_current(directory: Path) -> SigningKey:
    """The key that signs. Raises MeshwardError (MW2010) if it is missing or damaged."""
    signing = SIGNING.read(directory)
    try:
        if signing is None:
            raise FileNotFoundError
        return _read(directory, signing.current)
    except (OSError, ValueError, TypeError, JoseError) as error:
        raise _unreadable_error(directory, error) from None


def save(directory: Path, keys: SigningKeys) -> None:
    """Write `keys` to `directory`, pointer last, and remove keys that sign no more."""
    private_directory(directory)
    previous = tuple(RetiredKey(dict(each.jwk), int(each.at)) for each in keys.previous)
    _write(directory, [keys.current, keys.next], 0o600, None)
    NAMED.write(directory, Named(keys.current.kid, keys.next.kid, previous, int(keys.since)))
    _sweep(directory, [keys.current, keys.next])


def save_current(directory: Path, key: SigningKey, gid: int | None) -> None:
    """Write the key that signs, and no other. With `gid` it is that group's to read: who signs has a uid of its own."""
    hand_to(
        directory, Holder(os.geteuid(), os.getegid() if gid is None else gid, 0o700 if gid is None else 0o750)
    )
    mode = 0o600 if gid is None else 0o640
    _write(directory, [key], mode, gid)
    SIGNING.write(directory, Named(key.kid), mode, gid)
    _sweep(directory, [key])


def _write(directory: Path, keys: Iterable[SigningKey], mode: int, gid: int | None) -> None:
    for key in keys:
        write_atomic(_path(directory, key.kid), key.pem(), mode, gid)


def _sweep(directory: Path, keys: Iterable[SigningKey]) -> None:
    for stray in set(directory.glob("txn.*.pem")) - {_path(directory, key.kid) for key in keys}:
        stray.unlink()


def _load_retired(
    directory: Path, previous: tuple[RetiredKey, ...] | str | None, written: float
) -> tuple[Retired, ...]:
    if isinstance(previous, str):
        return (Retired(_read(directory, previous).public_jwk(), written),)
    return tuple(Retired(each.jwk, each.at) for each in previous or ())


def _path(directory: Path, kid: str) -> Path:
    return directory / f"txn.{kid}.pem"


def _read(directory: Path, kid: str) -> SigningKey:
    """The key called `kid`; a file that holds another key is damage."""
    key = ECKey.import_key(read_plain(_path(directory, kid)))
    if key.curve_name != "P-256" or not key.is_private or key.thumbprint() != kid:
        raise ValueError("another key")
    return SigningKey(key)


def _unreadable_error(directory: Path, error: Exception) -> MeshwardError:
    return MeshwardError(
        codes.SIGNING_KEYS_DAMAGED,
        f"the signing keys in `{directory}` cannot be read ({type(error).__name__})",
    )
