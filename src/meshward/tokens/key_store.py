"""The signing keys' files.

    txn.<kid>.pem     a private key (PKCS 8), 0600
    txn.json          {"current": kid, "next": kid, "previous": [{"jwk": ..., "at": ...}], "since": ...}, written last

Who signs is given `current` alone: whoever breaks into the decision service must not learn the key that a rotation
begins to use.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from meshward.kit.canonical import canonical_json
from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.strict import json_object
from meshward.tokens.keys import Retired, SigningKey, SigningKeys, make_key

POINTER = "txn.json"


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
