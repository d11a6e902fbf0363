"""What is rendered, as the reader of Istio's semantics understands it: another author's, from Istio's own sources."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from meshward.align.istio.attach import Workload
from meshward.align.istio.meshconfig import read_config
from meshward.align.istio.objects import Mesh, gather, read_object
from meshward.align.istio.request import Client, Request, Token, TokenText
from meshward.align.istio.view import Answer, Sidecar, judge, read_sidecar
from meshward.plan.placement import MeshService, PlacedPlan
from meshward.targets.istio.inputs import IstioInputs
from meshward.targets.istio.logs import mesh_config
from meshward.targets.istio.target import mesh_resources
from meshward.targets.istio.text import KUSTOMIZATION, write_files

NOW = 1_795_428_000
KEYS = [
    {
        "kty": "EC",
        "crv": "P-256",
        "alg": "ES256",
        "use": "sig",
        "kid": name,
        "x": f"{name}-x",
        "y": f"{name}-y",
    }
    for name in ("current", "next")
]
GIVEN = IstioInputs(keys=KEYS)


def read_back(
    placed: PlacedPlan, given: IstioInputs = GIVEN, beside: Sequence[Mapping[str, Any]] = ()
) -> Mesh:
    """The mesh that the rendered text makes, with objects of others `beside` it."""
    texts = write_files(mesh_resources(placed, given))
    bodies = [
        body for path, text in texts.items() if path != KUSTOMIZATION for body in yaml.safe_load_all(text)
    ]
    config = json.loads(json.dumps(mesh_config(placed, gateway_api=False)))
    return gather([read_object(body) for body in (*bodies, *beside)], read_config(config))


def sidecar(mesh: Mesh, place: MeshService) -> Sidecar:
    return read_sidecar(mesh, Workload(place.namespace, dict(place.select)))


def token(placed: PlacedPlan, permission: str, key: str = "current", **claims: Any) -> Token:
    """As the edge mints them."""
    told = {
        "iss": f"https://{placed.plan.edge.hostname}",
        "sub": "x:somebody",
        "aud": [placed.plan.trust_domain, permission],
        "exp": NOW + 60,
        **claims,
    }
    kept = {name: value for name, value in told.items() if value is not None}
    return Token(kept, f"ES256:P-256:{key}-x:{key}-y", key, "ES256")


def ask(
    placed: PlacedPlan,
    at: Sidecar,
    method: str,
    path: str,
    tokens: Sequence[Token],
    *,
    port: int = 8080,
    caller: Client | None = None,
) -> Answer:
    """What a sidecar answers to the edge, or to `caller`."""
    sent = {"txn-token": [TokenText(each) for each in tokens]}
    return judge(
        at, Request(caller or Client(placed.edge_id), method, path, sent, port=port, now=NOW, host="x")
    )
