"""For which edge somebody signs in, at which issuer, and as which client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.login.edge import choose, find, login_clients
from meshward.login.wire import Wire


@dataclass(frozen=True, slots=True)
class LoginTarget:
    """`name`: of the login in the store; `root`: the file of root certificates that vouch for the edge."""

    name: str
    root: Path | None
    issuer: str
    client: str


def target_of(
    edge: str | None,
    issuer: str | None,
    client: str | None,
    cacert: Path | None,
    state: Path,
    env: Mapping[str, str],
) -> LoginTarget:
    """By what was given, else as the edge publishes it. Raises MeshwardError, MW2114 where neither is enough."""
    place = find(edge, state, cacert, env)
    if client is not None:
        if issuer is None:
            raise _unclear_error("--client needs --issuer, where it is registered")
        return LoginTarget(place.origin if place else issuer, place.root if place else None, issuer, client)
    if place is None:
        raise _unclear_error("which edge?")
    issuer, client = choose(login_clients(place, Wire(place.root)), issuer, place.origin)
    return LoginTarget(place.origin, place.root, issuer, client)


def _unclear_error(message: str) -> MeshwardError:
    return MeshwardError(
        codes.LOGIN_USAGE,
        message,
    )
