"""The public halves of the keys that sign Transaction Tokens, for hops of other machines. None is ever made here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from meshward.kit import codes
from meshward.kit.durable import open_regular
from meshward.kit.errors import MeshwardError
from meshward.kit.text import quoted
from meshward.runtime.place.directories import State
from meshward.tokens.key_store import load

_MOST_BYTES, _MOST_KEYS = 64 * 1024, 8
_KID = re.compile(r"[!-~]{1,256}", re.ASCII)
_COORDINATE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)  # 32 bytes, one spelling
_MEMBERS = ("kty", "crv", "x", "y", "kid", "alg", "use")
_SECRET = frozenset({"d", "p", "q", "dp", "dq", "qi", "k", "oth"})


def keys_of(file: Path) -> tuple[dict[str, str], ...]:
    """Those of a JSON Web Key Set. Raises MeshwardError (MW5025) for anything else, and for a private half."""
    try:
        with os.fdopen(open_regular(file, os.O_RDONLY), "rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
        found = json.loads(content)["keys"]
        if len(content) > _MOST_BYTES or not 1 <= len(found) <= _MOST_KEYS:
            raise ValueError
        keys = tuple(_public(key, file) for key in found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no set of 1 to 8 keys"
        raise _keys_error(file, str(reason)) from None
    if len({key["kid"] for key in keys}) != len(keys):
        raise _keys_error(file, "two of its keys have one `kid`")
    return keys


def keys_of_state(state: Path) -> tuple[dict[str, str], ...]:
    """Those of the instance in `state`: current, next, and those whose tokens may still live. Raises MeshwardError."""
    if not State(state).path.is_dir():
        raise MeshwardError(codes.NOT_PUBLIC_KEYS, f"`{state}` is no instance's directory")
    keys = load(State(state).path / "keys").public_jwks()["keys"]
    return tuple(keys)


def _public(key: Mapping[str, Any], file: Path) -> dict[str, str]:
    if _SECRET & key.keys():
        raise _keys_error(file, "it holds the private half of a key, which nobody but the edge may have")
    chosen = {name: key[name] for name in _MEMBERS if name in key}
    whole = all(isinstance(value, str) for value in chosen.values()) and {"kid", "x", "y"} <= chosen.keys()
    if not whole or not _KID.fullmatch(chosen["kid"]) or key.get("use", "sig") != "sig":
        raise _keys_error(file, "one of its keys is not for signatures, or has no plain `kid`")
    if (key.get("kty"), key.get("crv"), key.get("alg")) != ("EC", "P-256", "ES256"):
        raise _keys_error(file, "one of its keys is no ES256 key with `kid`")
    try:
        if not all(_COORDINATE.fullmatch(chosen[name]) for name in ("x", "y")):
            raise ValueError
        ECKey.import_key(chosen)
    except (
        ValueError,
        JoseError,
    ):  # no point of the curve: a mesh would refuse it, and all that comes after it
        raise _keys_error(file, "one of its keys is no point of P-256") from None
    return chosen


def _keys_error(file: Path, why: str) -> MeshwardError:
    return MeshwardError(codes.NOT_PUBLIC_KEYS, f"{quoted(str(file), 300)}: {why}")
