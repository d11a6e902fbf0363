"""Which edge, whom it trusts to vouch for people, and which client a login uses there (RFC 9728)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.wellknown import LOGIN, METADATA
from meshward.login.wire import Wire, check_url, printable
from meshward.runtime.place.instance_file import INSTANCE

VARIABLE = "MESHWARD_EDGE"


@dataclass(frozen=True, slots=True)
class Place:
    """An edge and what vouches for it: a file of root certificates, or None for this machine's own."""

    origin: str
    root: Path | None


def origin(url: str) -> str:
    """The edge's one spelling, `https://host[:port]`. Raises MeshwardError (MW2101) if it is none."""
    target = check_url(url)
    if target.scheme != "https" or target.path != "/" or target.query:
        raise MeshwardError(
            codes.URL_NOT_TRUSTED,
            f"`{printable(url)}` is not an edge",
            "Name its base, like https://models.example.com, without a path.",
        )
    return str(target).rstrip("/")


def find(edge: str | None, state: Path, cacert: Path | None, env: Mapping[str, str]) -> Place | None:
    """The edge that is meant: as named, as $MESHWARD_EDGE says, or the instance of `state`. None: none is."""
    root = None if cacert is None else cacert.resolve()
    if named := edge or env.get(VARIABLE):
        return Place(origin(named), root)
    if (instance := INSTANCE.read(state)) is not None:
        return Place(origin(instance.edge_url), root or Path(instance.root_certificate))
    return None


def login_clients(place: Place, wire: Wire) -> dict[str, str]:
    """By issuer: the client to log in with, as the edge publishes it. Raises MeshwardError (MW2104)."""
    reply = wire.get(f"{place.origin}{METADATA}")
    if reply.status != 200 or reply.body.get("resource") != place.origin:
        raise MeshwardError(
            codes.NOT_AN_EDGE,
            f"`{place.origin}` does not say that it is a meshward edge (status {reply.status})",
        )
    offered, trusted = reply.body.get(LOGIN, {}), reply.body.get("authorization_servers")
    if not isinstance(offered, dict) or not isinstance(trusted, list):
        return {}
    return {
        issuer: client
        for issuer, client in offered.items()
        if issuer in trusted and isinstance(client, str) and client
    }


def choose(clients: Mapping[str, str], issuer: str | None, edge: str) -> tuple[str, str]:
    """The issuer to log in at, and the client there. Raises MeshwardError (MW2105) where it is not clear."""
    if issuer is not None and issuer in clients:
        return issuer, clients[issuer]
    if issuer is None and len(clients) == 1:
        return next(iter(clients.items()))
    known = ", ".join(f"--issuer {printable(name)}" for name in sorted(clients))
    if not clients:
        problem = f"`{edge}` names no client for logins"
        remedy = "Add `login: {client: ...}` to the issuer in its policy, or give --issuer and --client here."
    else:
        problem = f"`{edge}` has no client for that issuer" if issuer else f"`{edge}` has several issuers"
        remedy = f"Choose one: {known}."
    raise MeshwardError(codes.ISSUER_UNCLEAR, problem, remedy)
