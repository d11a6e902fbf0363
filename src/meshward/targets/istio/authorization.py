"""Who may come through a version's sidecar, with which permission, to which exact routes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.text import quoted
from meshward.targets.istio.naming import MODEL, SECURITY, VERSION, resource, version_name
from meshward.targets.istio.placing import selected
from meshward.targets.istio.projection import MeshView, PermittedRoutes
from meshward.targets.istio.resource import Resource

MAX_OPERATIONS = 256
"""Of one object, and so of rules: the API server takes 512 of each."""
MAX_PATHS = 1000
"""Of one operation: a path has up to 256 bytes, so an object stays far below the megabyte that an API server takes."""
MAX_BYTES = 512_000
"""Of the paths of one object."""
_COMMENT = "Only the edge, with a token for the permission that this exact method and path takes. All else is denied."
# To Istio `*` at an end and `{` mean more than one path; others its sidecar rewrites or decodes before it compares.
_EXACT = re.compile(r"/(?:[A-Za-z0-9._~:@-]+(?:/[A-Za-z0-9._~:@-]+)*/?)?", re.ASCII)
_DOTS = re.compile(r"/\.{1,2}(?:/|\Z)")


def authorization_policies(view: MeshView, ambient: bool, file: str) -> Iterator[Resource]:
    """ALLOW for each permission; several objects where one would be too large. None at all where nothing is permitted.

    Raises MeshwardError for a route that Istio would not compare as it is written.
    """
    for number, rules in enumerate(_objects(view, ambient), 1):
        name = version_name(view.model, view.version)
        yield resource(
            SECURITY,
            "AuthorizationPolicy",
            view.place.namespace,
            name if number == 1 else f"{name}.{number}",
            file,
            _COMMENT,
            {**selected(view.place, ambient), "action": "ALLOW", "rules": rules},
            annotations={MODEL: view.model, VERSION: view.version},
        )


def _objects(view: MeshView, ambient: bool) -> Iterator[list[dict[str, Any]]]:
    """The rules of each object."""
    for part in _parts(view.routes):
        rows = groupby(part, key=lambda routes: routes.permission)
        yield [_rule(view, permission, list(routes), ambient) for permission, routes in rows]


def _parts(routes: Iterable[PermittedRoutes]) -> Iterator[list[PermittedRoutes]]:
    """As many as fit into one object each."""
    part: list[PermittedRoutes] = []
    size = 0
    for each in (piece for whole in routes for piece in _pieces(whole)):
        length = sum(map(len, each.paths))
        if part and (len(part) == MAX_OPERATIONS or size + length > MAX_BYTES):
            yield part
            part, size = [], 0
        part.append(each)
        size += length
    if part:
        yield part


def _pieces(routes: PermittedRoutes) -> Iterator[PermittedRoutes]:
    for start in range(0, len(routes.paths), MAX_PATHS):
        yield replace(routes, paths=routes.paths[start : start + MAX_PATHS])


def _rule(
    view: MeshView, permission: str, routes: Sequence[PermittedRoutes], ambient: bool
) -> dict[str, Any]:
    """All three must hold; each has exact values only (`notValues` would admit a caller without a token).

    `requestPrincipals` demands a `sub`, and our issuer's token where another RequestAuthentication admits a second. A
    waypoint stands before one port of a service anyhow, and its own port is another.
    """
    ports = {} if ambient else {"ports": [str(view.place.target_port)]}
    return {
        "from": [
            {
                "source": {
                    "principals": [view.caller.removeprefix("spiffe://")],
                    "requestPrincipals": [f"{view.issuer}/*"],
                }
            }
        ],
        "to": [
            {
                "operation": {
                    **ports,
                    "methods": [each.method],
                    "paths": [_exact(each, path) for path in each.paths],
                }
            }
            for each in routes
        ],
        "when": [{"key": "request.auth.audiences", "values": [permission]}],
    }


def _exact(routes: PermittedRoutes, path: str) -> str:
    if not _EXACT.fullmatch(path) or _DOTS.search(path):
        route = quoted(f"{routes.method} {path}")
        raise MeshwardError(
            codes.ROUTE_NOT_EXACT, f"{route} of {quoted(routes.permission)} is no exact path to Istio"
        )
    return path
