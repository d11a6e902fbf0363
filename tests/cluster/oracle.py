"""What a mesh permits, judged by trying all requests of a small world. Written from Istio's words, not from `order`.

A request is a pod, a caller, a key that its token is signed by (None: no token), the token's audience, a method and a
path. STRICT mTLS is needed for a caller to have a name.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

ROOT = "istio-system"


class Pod(NamedTuple):
    namespace: str
    labels: tuple[tuple[str, str], ...]


class Request(NamedTuple):
    pod: Pod
    caller: str | None  # None: without a certificate
    key: str | None
    audience: str
    path: str


PODS = (
    Pod("models", (("app", "a"), ("version", "v1"))),
    Pod("models", (("app", "a"), ("version", "v2"))),
    Pod("models", (("app", "b"),)),
    Pod("apps", (("app", "a"),)),
)
CALLERS = (None, "edge", "other")
KEYS = (None, "k1", "k2", "k3")
AUDIENCES = ("m.infer", "m.manage")
PATHS = ("/x", "/y", "/z%2f")
ALL = tuple(Request(*each) for each in itertools.product(PODS, CALLERS, KEYS, AUDIENCES, PATHS))
Body = Mapping[str, Any]
Mesh = Mapping[Any, Any]
KINDS = ("AuthorizationPolicy", "EnvoyFilter", "PeerAuthentication", "RequestAuthentication")


def permitted(mesh: Mesh) -> frozenset[Request]:
    return _permitted(json.dumps(list(mesh.values()), sort_keys=True))


@lru_cache(10_000)
def _permitted(mesh: str) -> frozenset[Request]:
    bodies = json.loads(mesh)
    found: set[Request] = set()
    for pod in PODS:
        here = {kind: list(_for(bodies, kind, pod)) for kind in KINDS}
        found |= {request for request in ALL if request.pod == pod and _permits(here, request)}
    return frozenset(found)


def _permits(here: Mesh, request: Request) -> bool:
    if request.caller is None and any(map(_strict, here["PeerAuthentication"])):
        return False
    rules = [rule for body in here["RequestAuthentication"] for rule in body["spec"].get("jwtRules", ())]
    known = {each["kid"] for rule in rules for each in json.loads(rule["jwks"])["keys"]}
    if rules and request.key is not None and request.key not in known:
        return False
    if here["EnvoyFilter"] and "%2f" in request.path:
        return False
    verified = request.key in known
    policies = here["AuthorizationPolicy"]
    if any(_matches(body, request, verified) for body in policies if body["spec"].get("action") == "DENY"):
        return False
    allows = [body for body in policies if body["spec"].get("action", "ALLOW") == "ALLOW"]
    return not allows or any(_matches(body, request, verified) for body in allows)


def _for(bodies: Iterable[Body], kind: str, pod: Pod) -> Iterable[Body]:
    for body in bodies:
        spec = body.get("spec") or {}
        labels = (spec.get("selector") or {}).get("matchLabels") or {}
        labels = labels or (spec.get("workloadSelector") or {}).get("labels") or {}
        here = body["metadata"].get("namespace") in (pod.namespace, ROOT)
        if body["kind"] == kind and here and labels.items() <= dict(pod.labels).items():
            yield body


def _strict(body: Mapping[str, Any]) -> bool:
    return bool(body["spec"]["mtls"]["mode"] == "STRICT")


def _matches(body: Mapping[str, Any], request: Request, verified: bool) -> bool:
    return any(_rule(rule, request, verified) for rule in body["spec"].get("rules") or ())


def _rule(rule: Mapping[str, Any], request: Request, verified: bool) -> bool:
    sources = [each["source"]["principals"] for each in rule.get("from", ())]
    if sources and not any(request.caller in principals for principals in sources):
        return False
    paths = [each["operation"]["paths"] for each in rule.get("to", ())]
    if paths and not any(request.path in each for each in paths):
        return False
    return all(verified and request.audience in each["values"] for each in rule.get("when", ()))
