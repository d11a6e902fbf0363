"""A guard for a stock Envoy on another machine: its whole directory, without a secret in it.

What is secret it reads from files that somebody else puts there and renews by a rename: `expects` names them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshward.kit.canonical import digest
from meshward.kit.names import dns_label
from meshward.targets.envoy import resources
from meshward.targets.envoy.files import bootstrap, changing_content, command, encode_file
from meshward.targets.envoy.listener import GuardSettings
from meshward.targets.envoy.projection import GuardView
from meshward.targets.envoy.resources import BUNDLE, SVID
from meshward.targets.envoy.wire import CREDENTIAL, Json

GIVEN = "/etc/meshward/guards"
OWN = "/run/meshward"
"""Where the directory is put on the other machine, and where its guard keeps log and admin socket."""
_READABLE = 32  # of a name; the rest must leave room for a socket's path
_NOTE = """\
A guard: a stock Envoy (1.40 or newer) in front of one version of one model, which the edge calls by mutual TLS.

expected.json   where this directory belongs, which files the guard expects beside it, who it is, how it is started
guard.json      what Envoy is started with; to change it takes another start
xds/            what it watches: rules, model servers, the keys of Transaction Tokens, where its SVID is

Nothing in here is secret. Put the directory there as a whole, later each file of xds/ by a rename (`mv` on one file
system): what is renamed into xds/ is taken while it runs. The SVID comes by another way, and is renewed so too:
`meshward svid MODEL/VERSION --out DIR` makes chain.pem, key.pem and bundle.pem. So does the key that a model server
demands: `Bearer ` and the key, without a line feed. Its own directory must exist, and be its own. Nobody but this guard
may reach the model server: let it listen on a unix socket, or on the loopback address of a network namespace that they
share.
"""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """`listen`: IP address and port. `given`: where its directory is put; `own`: what it writes itself."""

    listen: tuple[str, int]
    given: str
    own: str

    @property
    def settings(self) -> GuardSettings:
        return GuardSettings(self.own, self.given, listen=self.listen)

    @property
    def svid(self) -> str:
        return f"{self.given}/svid"


def usual_place(model: str, version: str, host: str, port: int) -> Elsewhere:
    """By convention, for a guard that the edge finds at `host`: it listens at every address of that family."""
    anywhere = "::" if ":" in host else "0.0.0.0"  # noqa: S104  a guard speaks to the edge's SVID alone
    readable = dns_label(f"{model}-{version}")[:_READABLE]  # the digest keeps (`a-b`, `c`) from (`a`, `b-c`)
    own = f"{OWN}/{readable}-{digest([model, version])[:8]}"
    return Elsewhere((anywhere, port), f"{GIVEN}/{model}/{version}", own)


def render_elsewhere(
    view: GuardView, place: Elsewhere, token_keys: Sequence[Mapping[str, Any]]
) -> Mapping[str, bytes]:
    """Every file, by path below its directory. Raises MeshwardError for an upstream or key that no guard can use."""
    watched = {
        **changing_content(view, place.settings, token_keys),
        SVID: resources.svid_from(place.svid),
        BUNDLE: resources.bundle_from(place.svid),
        **({CREDENTIAL: resources.credential_from(f"{place.given}/keys")} if view.credential else {}),
    }
    return {
        "README.txt": _NOTE.encode(),
        "expected.json": (json.dumps(_expected(view, place), indent=2, sort_keys=True) + "\n").encode(),
        "guard.json": bootstrap(view, place.settings),
        **{
            f"xds/{name}.json": encode_file(resources.discovery_response(each))
            for name, each in watched.items()
        },
    }


def _expected(view: GuardView, place: Elsewhere) -> Json:
    files = {
        "chain": f"{place.svid}/chain.pem",
        "key": f"{place.svid}/key.pem",
        "bundle": f"{place.svid}/bundle.pem",
    }
    keys = {"credential": f"{place.given}/keys/{CREDENTIAL}"} if view.credential else {}
    return {
        "directory": place.given,
        "own_directory": place.own,
        "files": files | keys,
        "svid": {"spiffe_id": view.spiffe_id, "dns_name": view.dns_name},
        "callers": list(view.callers),
        "listens": {"address": place.listen[0], "port": place.listen[1]},
        "command": command("envoy", place.given),
    }
