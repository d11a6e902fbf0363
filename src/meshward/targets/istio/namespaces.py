"""What holds for a whole guarded namespace: strict mTLS, default deny, how tokens are verified, what is logged."""

from __future__ import annotations

from collections.abc import Iterator

from meshward.plan.placement import PlacedPlan
from meshward.targets.istio.inputs import IstioInputs
from meshward.targets.istio.keys import public_jwks
from meshward.targets.istio.logs import PROVIDER
from meshward.targets.istio.naming import SECURITY, TELEMETRY, resource
from meshward.targets.istio.resource import Resource
from meshward.targets.istio.waypoint import at_waypoint

TOKEN_HEADER = "txn-token"  # noqa: S105 - a name

_STRICT = "Nobody reaches a pod here without mutual TLS. The oldest such object of a namespace is the one that holds."
_DENY = (
    "An ALLOW policy without rules: whatever no other ALLOW policy names is denied, here to every workload of the "
    "namespace."
)
_TOKENS = (
    "Tokens of the edge are verified by its current and next key. A request without a token passes this object: the "
    "AuthorizationPolicies ask for one. A new key is one write here."
)
_LOG = "One line per request, written where it arrives, by the log provider of the mesh's own configuration."
_ROOT_STRICT = "Mutual TLS for every workload of the mesh, ours or not. Written on request only."
_ROOT_DENY = "Default deny for every workload of the mesh, ours or not. Written on request only."


def namespace_resources(placed: PlacedPlan, namespace: str, given: IstioInputs) -> Iterator[Resource]:
    """Those of one guarded namespace. Raises MeshwardError for a key that cannot be used."""
    file, ambient = f"namespaces/{namespace}.yaml", placed.mesh.ambient
    yield resource(
        SECURITY, "PeerAuthentication", namespace, "mw-strict", file, _STRICT, {"mtls": {"mode": "STRICT"}}
    )
    yield resource(
        SECURITY,
        "AuthorizationPolicy",
        namespace,
        "mw-default-deny",
        file,
        _DENY,
        at_waypoint() if ambient else {},
    )
    yield resource(
        SECURITY,
        "RequestAuthentication",
        namespace,
        "mw-tokens",
        file,
        _TOKENS,
        {
            **(at_waypoint() if ambient else {}),
            "jwtRules": [
                {
                    "issuer": f"https://{placed.plan.edge.hostname}",
                    "audiences": [placed.plan.trust_domain],
                    "jwks": public_jwks(given.keys),
                    "fromHeaders": [{"name": TOKEN_HEADER}],
                    "forwardOriginalToken": True,
                }
            ],
        },
    )
    yield resource(
        TELEMETRY,
        "Telemetry",
        namespace,
        "mw-access-log",
        file,
        _LOG,
        {"accessLogging": [{"match": {"mode": "SERVER"}, "providers": [{"name": PROVIDER}]}]},
    )


def mesh_wide_resources(placed: PlacedPlan) -> Iterator[Resource]:
    """Those of the root namespace."""
    root, file = placed.mesh.root_namespace, "mesh-wide.yaml"
    strict = {"mtls": {"mode": "STRICT"}}
    yield resource(SECURITY, "PeerAuthentication", root, "mw-strict", file, _ROOT_STRICT, strict)
    yield resource(SECURITY, "AuthorizationPolicy", root, "mw-default-deny", file, _ROOT_DENY, {})
