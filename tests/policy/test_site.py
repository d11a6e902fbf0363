"""A site file: its form, and that what is wrong with it is told by line, with a remedy."""

from __future__ import annotations

import pytest

from meshward.kit.errors import PolicyInvalid
from meshward.policy.site import Elsewhere, Service, parse_site
from meshward.policy.tree import Source

WHOLE = """\
version: 1
trust_domain: cluster.local
edge: {workload: {namespace: edge, service_account: nginx}}
models:
  minilm:
    v1: {namespace: models, service: minilm-v1, port: 8080, select: {app: minilm, version: v1}}
    v2: {guard: "gpu1.internal:8443"}
"""


def _problems(text: str) -> list[tuple[int, str]]:
    with pytest.raises(PolicyInvalid) as caught:
        parse_site(Source("site.yaml", text.encode()))
    return [(each.where.line, each.message) for each in caught.value.problems if each.where]


def test_a_version_is_a_service_of_the_mesh_or_a_guard_elsewhere() -> None:
    versions = parse_site(Source("site.yaml", WHOLE.encode())).site.models["minilm"]
    assert (type(versions["v1"]), type(versions["v2"])) == (Service, Elsewhere)


@pytest.mark.parametrize(
    ("before", "after", "line", "said"),
    [
        ("service: minilm-v1", "servce: minilm-v1", 6, "unknown key `servce`"),
        ("port: 8080", 'port: "8080"', 6, "must be a whole number"),
        ("port: 8080", "port: 0", 6, "out of bounds"),
        ("select: {app: minilm, version: v1}", "select: {}", 6, "is empty"),
        ("namespace: models", "namespace: models/x", 6, "has the wrong form"),
        ("service: minilm-v1", 'service: "minilm-v1.evil"', 6, "has the wrong form"),
        ('"gpu1.internal:8443"', '"gpu1.internal:8443/x"', 7, "has the wrong form"),
        ('"gpu1.internal:8443"', '"gpu1.internal"', 7, "has the wrong form"),
        ("trust_domain: cluster.local", "trust_domain: cluster_LOCAL", 2, "has the wrong form"),
        ("version: 1\n", "version: 1\nroles: {}\n", 2, "unknown key `roles`"),
    ],
)
def test_what_is_wrong_is_told_by_its_line(before: str, after: str, line: int, said: str) -> None:
    problems = _problems(WHOLE.replace(before, after, 1))
    assert any(at == line and said in message for at, message in problems), problems


def test_a_mistake_inside_of_a_place_is_told_of_its_own_key() -> None:
    wrong = "version: 1\nmodels: {m: {v: {namespace: n, service: s, port: 0, selec: {a: b}}, w: {guard: g:1, x: y}}}"
    with pytest.raises(PolicyInvalid) as refused:
        parse_site(Source("site.yaml", wrong.encode()))
    told = [problem.message for problem in refused.value.problems]
    for said in ("`models.m.v.port`: `0`", "lacks `select`", "key `selec`", "unknown key `x`"):
        assert any(said in each for each in told), (said, told)
