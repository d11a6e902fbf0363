"""Where logins are kept between commands: a directory of one's own, one file per edge, and a lock beside it.

    $XDG_STATE_HOME/meshward/ (0700)     by default ~/.local/state/meshward
        <edge>.json (0600)               what the login is; its tokens too, unless a keyring has them
        <edge>.lock                      held while somebody refreshes it

The system's keyring has the tokens where the package `keyring` is installed and says that it has a real one.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.errors import Exit, MeshwardError
from meshward.kit.secret import Secret

_SERVICE = "meshward"
_USABLE = 1  # a backend's priority; what is below keeps texts readable or keeps nothing


@dataclass(frozen=True, slots=True)
class Login:
    """One person at one issuer. `name` is the edge it is for, or the issuer where it is for none in particular."""

    name: str
    root: str | None  # file of the root certificates that vouch for the edge
    issuer: str
    client: str
    token_endpoint: str
    revocation_endpoint: str | None
    kind: str  # of the token that edges are sent: access | id
    expires_at: int  # seconds since the epoch
    token: Secret
    refresh: Secret | None


class LoginStore:
    """The logins of one user of this machine."""

    def __init__(self, directory: Path, keyring: Any = None) -> None:
        self._directory = directory
        self._keyring = keyring

    def names(self) -> list[str]:
        """Whom there are logins for. One that cannot be read is left out: `load` says what is wrong with it."""
        found = []
        for path in sorted(self._directory.glob("*.json")):
            with suppress(MeshwardError):
                found.append((self._read(path) or {}).get("name"))
        return [name for name in found if isinstance(name, str)]

    def load(self, name: str) -> Login | None:
        """None if there is no login. Raises MeshwardError (MW2110) for one that is damaged or not one's own."""
        value = self._read(self._path(name))
        if value is None:
            return None
        try:
            tokens = json.loads(self._from_keyring(name)) if value.pop("keyring") else value.pop("tokens")
            return _login(value, tokens)
        except (ValueError, KeyError, TypeError):
            raise _unusable(self._path(name), "it is damaged") from None

    def save(self, login: Login) -> None:
        """Replaces what was kept under the same name."""
        tokens = {"token": login.token.reveal(), "refresh": login.refresh.reveal() if login.refresh else None}
        value = {key: getattr(login, key) for key in Login.__slots__ if key not in tokens}
        value["keyring"] = self._to_keyring(login.name, json.dumps(tokens))
        if not value["keyring"]:
            value["tokens"] = tokens
        self._own()
        write_atomic(self._path(login.name), json.dumps(value, indent=1))

    def forget(self, name: str) -> None:
        value = self._read(self._path(name))
        if value is not None and value.get("keyring") and self._keyring is not None:
            with suppress(self._keyring.errors.KeyringError):  # it is not there any more
                self._keyring.delete_password(_SERVICE, name)
        self._path(name).unlink(missing_ok=True)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Held by one process and thread at a time; others wait. Ends with its holder."""
        self._own()
        descriptor = os.open(
            self._path(name).with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        """Readable, and unlike any other name's."""
        plain = re.sub(r"[^A-Za-z0-9.-]", "_", name.partition("://")[2])[:60]
        return self._directory / f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.json"

    def _own(self) -> None:
        private_directory(self._directory)
        if self._directory.stat().st_uid != os.geteuid():
            raise _unusable(self._directory, "it belongs to somebody else")

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            with path.open() as file:
                stat = os.fstat(file.fileno())
                if stat.st_uid != os.geteuid() or stat.st_mode & 0o077:
                    raise _unusable(path, "others can read or write it, or it is somebody else's")
                value = json.load(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _unusable(path, type(error).__name__) from None
        return value if isinstance(value, dict) else None

    def _to_keyring(self, name: str, tokens: str) -> bool:
        """Whether the keyring took them; one that is locked or too small does not stop a login."""
        if self._keyring is None:
            return False
        try:
            self._keyring.set_password(_SERVICE, name, tokens)
        except self._keyring.errors.KeyringError:
            return False
        return True

    def _from_keyring(self, name: str) -> str:
        if self._keyring is None:
            raise _unusable(self._path(name), "its tokens are in a keyring that is not there now")
        try:
            found = self._keyring.get_password(_SERVICE, name)
        except self._keyring.errors.KeyringError as error:
            raise _unusable(self._path(name), f"the keyring does not open ({type(error).__name__})") from None
        return str(found)


def own_store(env: Mapping[str, str] = os.environ) -> LoginStore:
    """The keep of whoever runs this."""
    base = Path(env.get("XDG_STATE_HOME") or "")
    if not base.is_absolute():  # relative ones are to be ignored (XDG Base Directory Specification)
        base = Path(env.get("HOME") or Path.home()) / ".local" / "state"
    return LoginStore(base / "meshward", usable_keyring())


def usable_keyring() -> Any:
    """The package `keyring` if it is installed and has a backend that protects what it keeps; else None."""
    try:
        keyring = importlib.import_module("keyring")
        importlib.import_module("keyring.errors")
        return keyring if keyring.get_keyring().priority >= _USABLE else None
    except Exception:  # a backend that cannot even say what it is
        return None


def renewed(login: Login, kind: str, token: Secret, refresh: Secret | None, expires_at: int) -> Login:
    """`login` with new tokens. An issuer that sends no new refresh token means the old one (RFC 6749, 6)."""
    return replace(login, kind=kind, token=token, refresh=refresh or login.refresh, expires_at=expires_at)


def _login(value: dict[str, Any], tokens: dict[str, Any]) -> Login:
    for key in ("name", "issuer", "client", "token_endpoint", "kind"):
        if not isinstance(value[key], str):
            raise TypeError(key)
    refresh = tokens["refresh"]
    return Login(
        **{**value, "expires_at": int(value["expires_at"])},
        token=Secret(str(tokens["token"])),
        refresh=None if refresh is None else Secret(str(refresh)),
    )


def _unusable(path: Path, why: str) -> MeshwardError:
    return MeshwardError(
        "MW2110",
        f"`{path}` cannot be used: {why}",
        "Remove it, then sign in again with `meshward login`.",
        exit_code=Exit.USAGE,
    )
