"""A small mesh in Python: one guarded model, strict mTLS, default deny; and requests of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from meshward.align.istio.attach import Workload
from meshward.align.istio.meshconfig import read_config
from meshward.align.istio.objects import gather, read_object
from meshward.align.istio.request import Client, Request, Token, TokenText
from meshward.align.istio.view import Answer, Sidecar, judge, read_sidecar

Body = dict[str, Any]
NOW = 1_750_000_000
ISSUER, DOMAIN = "https://models.example.com", "mesh.test"
EDGE = f"spiffe://{DOMAIN}/ns/edge/sa/nginx"
OTHER = f"spiffe://{DOMAIN}/ns/batch/sa/other"
CONFIG: Body = {"trustDomain": DOMAIN}


def jwk(name: str) -> Body:
    return {"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": name, "x": f"{name}-x", "y": f"{name}-y"}


def key(name: str) -> str:
    return f"ES256:P-256:{name}-x:{name}-y"


def keys(*names: str) -> str:
    return json.dumps({"keys": [jwk(name) for name in names]})


def security(
    kind: str, name: str, spec: Mapping[str, Any], namespace: str = "models", **metadata: Any
) -> Body:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": dict(spec),
    }


def policy(name: str, *rules: Body, **spec: Any) -> Body:
    return security("AuthorizationPolicy", name, {"rules": list(rules), **spec})


def jwt(name: str, *rules: Body, **spec: Any) -> Body:
    return security("RequestAuthentication", name, {"jwtRules": list(rules), **spec})


OURS: Body = {
    "issuer": ISSUER,
    "audiences": [DOMAIN],
    "jwks": keys("k1"),
    "fromHeaders": [{"name": "txn-token"}],
    "forwardOriginalToken": True,
}
STRICT = security("PeerAuthentication", "default", {"mtls": {"mode": "STRICT"}}, "istio-system")
DENY = security("AuthorizationPolicy", "deny", {}, "istio-system")
RULE: Body = {
    "from": [
        {"source": {"principals": [f"{DOMAIN}/ns/edge/sa/nginx"], "requestPrincipals": [f"{ISSUER}/*"]}}
    ],
    "to": [{"operation": {"methods": ["POST"], "paths": ["/embed"]}}],
    "when": [{"key": "request.auth.audiences", "values": ["minilm.infer"]}],
}
BASE = (STRICT, DENY, jwt("ours", OURS), policy("ours", RULE))


def token(name: str = "k1", **claims: Any) -> Token:
    told = {"iss": ISSUER, "sub": "okta:1", "aud": [DOMAIN, "minilm.infer"], "exp": NOW + 60, **claims}
    return Token(
        {claim: value for claim, value in told.items() if value is not None}, key(name), name, "ES256"
    )


def request(of: Token | None = None, *, spiffe: str = EDGE, **changes: Any) -> Request:
    """The edge's own permitted request, but for `changes`."""
    headers = {"txn-token": (TokenText(of),)} if of else {}
    told: dict[str, Any] = {"client": Client(spiffe), "method": "POST", "path": "/embed", "headers": headers}
    return Request(**{**told, "port": 8080, "now": NOW, "host": "minilm.models", **changes})


def sidecar(*objects: Body, config: Mapping[str, Any] = CONFIG, **workload: Any) -> Sidecar:
    told = {"namespace": "models", "labels": {"app": "minilm"}, **workload}
    return read_sidecar(
        gather([read_object(each) for each in objects], read_config(config)), Workload(**told)
    )


def answer(objects: tuple[Body, ...], asked: Request, **more: Any) -> Answer:
    return judge(sidecar(*objects, **more), asked)
