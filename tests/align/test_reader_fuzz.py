"""Whatever an object holds, the reader answers; and nothing that it does not understand permits more than it says."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from meshward.align.compare import align
from meshward.align.documents import read_bodies
from meshward.align.istio.meshconfig import read_config
from meshward.align.istio.objects import flatten, read_object
from meshward.align.istio.request import Token
from tests.align.mesh import BASE, OURS, RULE, answer, jwt, policy, request, security, token
from tests.align.test_cases import ALL, PLACED
from tests.align.test_cases import BASE as MESH

OF_CASES = [*MESH, *(body for case in ALL for body in case.get("put", []))]
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_WORDS = st.sampled_from(
    [
        "*",
        "**",
        "a*",
        "*a",
        "{*}",
        "/{**}/x",
        "",
        "spiffe://",
        "10.0.0.0/8",
        "80",
        "STRICT",
        "source.ip",
        "[a][b]",
    ]
)
_JSON = st.recursive(
    _LEAVES | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
_FULL: dict[str, Any] = {
    "from": [{"source": {"principals": ["a"], "ipBlocks": ["10.0.0.1"], "notNamespaces": ["b"]}}],
    "to": [{"operation": {"paths": ["/a"], "ports": ["80"], "hosts": ["*"]}}],
    "when": [
        {"key": "request.headers[x]", "values": ["1"]},
        {"key": "request.auth.claims[a]", "notValues": ["1"]},
    ],
}
_PEERS = {"selector": {"matchLabels": {"app": "minilm"}}, "portLevelMtls": {"8080": {"mode": "STRICT"}}}
_PATCHES = {
    "configPatches": [
        {"applyTo": "HTTP_FILTER", "match": {"context": "ANY"}, "patch": {"operation": "REMOVE"}}
    ]
}
_BODIES: list[dict[str, Any]] = [
    policy("x", _FULL),
    policy("x", RULE, action="DENY"),
    policy("x", RULE, action="CUSTOM", provider={"name": "p"}),
    jwt("x", OURS),
    security("PeerAuthentication", "x", _PEERS),
    {**security("EnvoyFilter", "x", _PATCHES), "apiVersion": "networking.istio.io/v1alpha3"},
    {
        **security("Sidecar", "x", {"ingress": [{"port": {"number": 1}}]}),
        "apiVersion": "networking.istio.io/v1",
    },
    {**security("WasmPlugin", "x", {"phase": "AUTHN"}), "apiVersion": "extensions.istio.io/v1alpha1"},
]


def _places(found: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    return [path, *(place for name, each in inner for place in _places(each, (*path, name)))]


@st.composite
def _mutated(draw: st.DrawFn, bodies: list[dict[str, Any]]) -> Any:
    """An object with one part of it replaced, renamed or taken away."""
    body: Any = copy.deepcopy(draw(st.sampled_from(bodies)))
    place = draw(st.sampled_from(_places(body)))
    if not place:
        return draw(_JSON)
    parent = body
    for step in place[:-1]:
        parent = parent[step]
    if isinstance(parent, dict) and draw(st.booleans()):
        parent[draw(st.text(max_size=6))] = parent.pop(place[-1])
    else:
        parent[place[-1]] = draw(_JSON)
    return body


def _bodies() -> st.SearchStrategy[Any]:
    return _mutated(_BODIES)


@given(st.lists(_bodies(), max_size=3), _JSON, st.dictionaries(st.sampled_from(["iss", "aud", "exp"]), _JSON))
@example([{"kind": ["x"], "metadata": 7, "spec": []}], 7, {})
def test_the_reader_never_throws(bodies: list[Any], config: Any, claims: dict[str, Any]) -> None:
    objects = tuple(dict(body) for body, _ in flatten((body, "") for body in bodies))
    signed = Token({**token().claims, **claims}, token().key, "k1", "ES256")
    for asked in (request(signed), request(path="/%2f\\..//a")):
        answer((*BASE, *objects), asked, config=config)


@given(_JSON)
def test_any_configuration_is_read(config: Any) -> None:
    assert read_config(config).normalization


@given(_bodies())
def test_what_is_kept_is_taken_again_whole(body: Any) -> None:
    if not isinstance(body, dict):
        return
    once = read_object(body)
    again = read_object({**body, "spec": once.spec})
    assert once.refused or (again.spec == once.spec and not again.dropped)


@given(st.text(max_size=12).map(json.dumps) | st.text(max_size=12))
def test_any_keys_are_read(text: str) -> None:
    assert (
        answer((*BASE, jwt("x", {**OURS, "issuer": "https://a", "jwks": text})), request(token())) is not None
    )


@given(st.lists(_bodies() | _mutated(OF_CASES), max_size=4))
def test_align_never_throws(bodies: list[Any]) -> None:
    objects = read_bodies((body, "") for body in [*MESH, *bodies])
    assert align(PLACED, objects).findings is not None
