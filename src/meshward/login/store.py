"""Where logins are kept between commands: a directory of one's own, one file per edge, and a lock beside it.

    $XDG_STATE_HOME/meshward/ (0700)     by default ~/.local/state/meshward
        <edge>.json (0600)               what the login is; its tokens too, unless a keyring has them
        <edge>.lock                      held while somebody refreshes it

The system's keyring has the tokens where the package `keyring` is installed and says that it has a real one.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from meshward.kit import codes
from meshward.kit.durable import private_directory
from meshward.kit.errors import MeshwardError
from meshward.kit.lock import hold_lock
from meshward.kit.secret import Secret
from meshward.kit.statefile import StateFile

_SERVICE = "meshward"
_USABLE = 1  # a backend's priority; what is below keeps texts readable or keeps nothing


@dataclass(frozen=True, slots=True)
class SavedLogin:
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


@dataclass(frozen=True, slots=True)
class KeptTokens:
    token: str = field(repr=False)
    refresh: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeptLogin:
    """As `SavedLogin`; without `tokens` where the keyring has them."""

    name: str
    root: str | None
    issuer: str
    client: str
    token_endpoint: str
    revocation_endpoint: str | None
    kind: str
    expires_at: int
    keyring: bool
    tokens: KeptTokens | None = None


LOGIN = StateFile(
    "EDGE.json",
    KeptLogin,
    place="$XDG_STATE_HOME/meshward",
    what="one person's login at one edge",
    remedy=codes.LOGIN_STORE_UNUSABLE.remedy,
    code=codes.LOGIN_STORE_UNUSABLE,
    private=True,
    may_lack=frozenset({"tokens"}),
)


class LoginStore:
    """The logins of one user of this machine."""

    def __init__(self, directory: Path, keyring: Any = None) -> None:
        self._directory = directory
        self._keyring = keyring

    def names(self) -> list[str]:
        """Whom there are logins for. Raises MeshwardError (MW2110) for one that is damaged or not one's own."""
        found = (self._read(path) for path in sorted(self._directory.glob("*.json")))
        return [kept.name for kept in found if kept is not None]

    def has(self, name: str) -> bool:
        """Whether there is a login of that name, a damaged one included: `load` says what is wrong with it."""
        return self._path(name).exists()

    def load(self, name: str) -> SavedLogin | None:
        """None if there is no login. Raises MeshwardError (MW2110) for one that is damaged or not one's own."""
        path = self._path(name)
        kept = self._read(path)
        if kept is None:
            return None
        if kept.name != name:
            raise LOGIN.damage_error(path, "it is another edge's")
        tokens = self._from_keyring(name) if kept.keyring else kept.tokens
        if tokens is None:
            raise LOGIN.damage_error(path, "it has no tokens")
        return _login(kept, tokens)

    def save(self, login: SavedLogin) -> None:
        """Replaces what was kept under the same name."""
        tokens = KeptTokens(login.token.reveal(), login.refresh.reveal() if login.refresh else None)
        facts = {key: getattr(login, key) for key in SavedLogin.__slots__ if key not in KeptTokens.__slots__}
        kept = self._to_keyring(login.name, json.dumps(asdict(tokens)))
        self._require_own()
        path = self._path(login.name)
        file = replace(LOGIN, name=path.name)
        file.write(self._directory, KeptLogin(**facts, keyring=kept, tokens=None if kept else tokens))

    def forget(self, name: str) -> None:
        kept = self._read(self._path(name))
        if kept is not None and kept.keyring and self._keyring is not None:
            with suppress(self._keyring.errors.KeyringError):  # it is not there any more
                self._keyring.delete_password(_SERVICE, name)
        self._path(name).unlink(missing_ok=True)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Held by one process and thread at a time; others wait. Ends with its holder."""
        self._require_own()
        with hold_lock(self._path(name).with_suffix(".lock")):
            yield

    def _path(self, name: str) -> Path:
        """Readable, and unlike any other name's."""
        plain = re.sub(r"[^A-Za-z0-9.-]", "_", name.partition("://")[2])[:60]
        return self._directory / f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.json"

    def _require_own(self) -> None:
        private_directory(self._directory)
        if self._directory.stat().st_uid != os.geteuid():
            raise _unusable_error(self._directory, "it belongs to somebody else")

    def _read(self, path: Path) -> KeptLogin | None:
        return replace(LOGIN, name=path.name).read(path.parent)

    def _to_keyring(self, name: str, tokens: str) -> bool:
        """Whether the keyring took them; one that is locked or too small does not stop a login."""
        if self._keyring is None:
            return False
        try:
            self._keyring.set_password(_SERVICE, name, tokens)
        except self._keyring.errors.KeyringError:
            return False
        return True

    def _from_keyring(self, name: str) -> KeptTokens:
        if self._keyring is None:
            raise _unusable_error(self._path(name), "its tokens are in a keyring that is not there now")
        try:
            found = self._keyring.get_password(_SERVICE, name)
        except self._keyring.errors.KeyringError as error:
            raise _unusable_error(
                self._path(name), f"the keyring does not open ({type(error).__name__})"
            ) from None
        try:
            value = json.loads(str(found))
            return KeptTokens(
                str(value["token"]), None if value["refresh"] is None else str(value["refresh"])
            )
        except (ValueError, KeyError, TypeError):
            raise _unusable_error(self._path(name), "what the keyring has for it is no login") from None


def own_store(env: Mapping[str, str] = os.environ) -> LoginStore:
    """That of whoever runs this."""
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


def renew_login(
    login: SavedLogin, kind: str, token: Secret, refresh: Secret | None, expires_at: int
) -> SavedLogin:
    """`login` with new tokens. An issuer that sends no new refresh token means the old one (RFC 6749, 6)."""
    return replace(login, kind=kind, token=token, refresh=refresh or login.refresh, expires_at=expires_at)


def _login(kept: KeptLogin, tokens: KeptTokens) -> SavedLogin:
    facts = {key: getattr(kept, key) for key in SavedLogin.__slots__ if key not in KeptTokens.__slots__}
    refresh = None if tokens.refresh is None else Secret(tokens.refresh)
    return SavedLogin(**facts, token=Secret(tokens.token), refresh=refresh)


def _unusable_error(path: Path, why: str) -> MeshwardError:
    return MeshwardError(
        codes.LOGIN_STORE_UNUSABLE,
        f"`{path}` cannot be used: {why}",
    )
