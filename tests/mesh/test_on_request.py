"""What is rendered beside the plain rules, in force: filters, HTTPRoutes, weights, retries, lines."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator

import pytest

from meshward.targets.istio.inputs import ENVOYFILTER
from meshward.targets.istio.spellings import SPELLINGS, Spelling
from meshward.testing.recorder import json_answer
from tests.mesh.lab import Call, Lab
from tests.mesh.rendered import Mesh, placed
from tests.mesh.test_decisions import POLICY

EMBED, INFER = "/v1/embeddings", "embed.infer"
VERSIONS = {name: {"server": "tei", "url": f"unix:/run/{name}.sock"} for name in ("v1", "v2")}
SPLIT = POLICY | {
    "models": {"embed": {"versions": VERSIONS, "traffic": {"v1": 50, "v2": 50}}},
    "grants": [
        {"id": "g", "roles": ["r"], "models": "all", "actions": ["infer"], "limits": {"requests": "1/hour"}}
    ],
}


@pytest.fixture(scope="module", params=["istio", "gateway-api"])
def mesh(whole_lab: Lab, request: pytest.FixtureRequest) -> Iterator[Mesh]:
    """The HTTPRoutes are tried with EnvoyFilters, so that everything is tried in two starts."""
    asked = request.param == "gateway-api"
    mesh = Mesh.of(
        whole_lab, placed(SPLIT), routes=request.param, allow=frozenset({ENVOYFILTER} if asked else ())
    )
    mesh.start()
    yield mesh
    whole_lab.reset()


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling.name)
def test_a_sidecar_answers_a_spelling_as_the_table_says(mesh: Mesh, spelling: Spelling) -> None:
    expected = spelling.filtered if mesh.given.envoy_filters else spelling.sidecar
    call = Call("POST", spelling.written, token_of(mesh, f"x:{spelling.name}"))
    assert mesh.ask("embed", "v1", call).status == expected
    seen = {request.target for request in mesh.lab.backend(mesh.workloads["embed", "v1"]).taken()}
    assert seen == ({EMBED} if expected == 200 else set()), "what is served was made into the route"


def test_a_post_that_a_server_answered_is_not_sent_again(mesh: Mesh) -> None:
    """By the edge's own sidecar, whose default did so after a 503 until it was found unsafe."""
    backend = mesh.lab.backend(mesh.workloads["embed", "v1"])
    backend.taken()
    backend.answer = json_answer({"error": "busy"}, status=503)
    try:
        assert mesh.through_edge("embed", "v1", Call("POST", EMBED, token_of(mesh, "x:busy"))).status == 503
    finally:
        backend.answer = json_answer({})
    assert len(backend.taken()) == 1


def test_whoever_calls_the_model_by_its_own_name_is_split_by_weight(mesh: Mesh) -> None:
    """The edge's sidecar is given that name as well, for it is the only one that may call."""
    (rendered,) = [each for each in mesh.objects() if each["kind"] == "Sidecar"]
    shown = copy.deepcopy(rendered)
    shown["spec"]["egress"][0]["hosts"].append("models/mw-embed.models.svc.cluster.local")
    mesh.lab.apply([shown])
    mesh.lab.settled()
    try:
        for number in range(60):
            call = Call("POST", EMBED, token_of(mesh, f"x:{number}"))
            answer = mesh.lab.through(mesh.plan.edge.sidecar, 8080, "mw-embed.models", call)
            assert answer.status == 200
    finally:
        mesh.lab.apply([rendered])
        mesh.lab.settled()
    share = Counter({name: len(mesh.lab.backend(mesh.workloads["embed", name]).taken()) for name in VERSIONS})
    assert share.total() == 60 and min(share.values()) > 0


def test_the_net_counts_one_identity_apart_from_another(mesh: Mesh) -> None:
    if not mesh.given.envoy_filters:
        pytest.skip("this mesh has no EnvoyFilters")
    for subject in ("x:ann", "x:bob"):
        call = Call("POST", EMBED, token_of(mesh, subject))
        assert [mesh.ask("embed", "v2", call).status for _ in range(4)] == [200, 200, 429, 429]


def test_a_line_says_who_asked_by_which_decision(mesh: Mesh) -> None:
    call = Call(
        "POST", f"{EMBED}?secret=1", token_of(mesh, "x:carol"), (("content-digest", "sha-256=:AAAA=:"),)
    )
    answer = mesh.ask("embed", "v1", call)
    line = mesh.sidecar("embed", "v1").line_of(answer.request_id)
    edge = mesh.plan.edge_id
    said = {
        "hop": "sidecar",
        "status": "200",
        "sub": "x:carol",
        "grant": "g",
        "rev": "1",
        "peer": edge,
        "path": EMBED,
    }
    assert said.items() <= line.items()
    assert (line["model"], line["action"], line["told_reqd"]) == ("embed", "infer", "sha-256=:AAAA=:")
    assert all(isinstance(value, str) for value in line.values()) and "secret" not in str(line)
    assert call.token is not None and call.token not in str(line)


def token_of(mesh: Mesh, subject: str) -> str:
    return mesh.mint.altered(
        INFER, sub=subject, tctx={"model": "embed", "action": "infer", "grant": "g", "rev": "1"}
    )
