"""Each drift that `align` is for, as data: an edit of a mesh that is silent, and its quiet twin.

`cases/*.yaml`: `put` writes objects, `delete` removes them, `edit` changes one of the base's (`set`, `drop`, `rename`),
`mesh_config` replaces the mesh's configuration, `keys` tells which keys are the edge's. `expect` are all findings, as
`CODE object`; `-` where no object makes it so.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshward.align.compare import align
from meshward.align.documents import read_bodies, read_text
from meshward.align.finding import Finding
from meshward.kit import codes
from meshward.kit.codes.alignment import ALIGN_OPEN
from meshward.kit.errors import MeshwardError
from tests.align.mesh import jwk
from tests.align.placed import placed

CASES = Path(__file__).parent / "cases"
_OF_BASE = ("policy.yaml", "site.yaml", "mesh.yaml")
FILES = sorted(path for path in CASES.glob("*.yaml") if path.name not in _OF_BASE)
ALL: list[dict[str, Any]] = [case for path in FILES for case in yaml.safe_load(path.read_text())]
PLACED = placed((CASES / "policy.yaml").read_text(), (CASES / "site.yaml").read_text())
BASE = [each.body for each in read_text("mesh.yaml", (CASES / "mesh.yaml").read_text())]


@pytest.mark.parametrize("case", ALL, ids=lambda case: case["name"])
def test_a_drift_is_found_by_its_object(case: dict[str, Any]) -> None:
    found = _found(case)
    assert sorted({_named(each) for each in found}) == sorted(case["expect"]), [each.line() for each in found]


@pytest.mark.parametrize("case", ALL, ids=lambda case: case["name"])
def test_its_twin_is_quiet(case: dict[str, Any]) -> None:
    assert _found(case["twin"]) == ()


def test_the_base_is_quiet() -> None:
    assert _found({}) == () == _found({"keys": ["k1"]})


def test_every_code_of_alignment_has_a_case() -> None:
    known = {code.number for code in vars(codes.alignment).values() if isinstance(code, type(ALIGN_OPEN))}
    assert {expected.partition(" ")[0] for case in ALL for expected in case["expect"]} == known


def test_the_order_of_objects_changes_nothing() -> None:
    for case in ALL:
        bodies = _bodies(case)
        assert _aligned(case, bodies) == _aligned(case, bodies[::-1]), case["name"]


def _found(case: dict[str, Any]) -> tuple[Finding, ...]:
    return _aligned(case, _bodies(case))


def _aligned(case: dict[str, Any], bodies: list[dict[str, Any]]) -> tuple[Finding, ...]:
    keys = [jwk(name) for name in case["keys"]] if "keys" in case else None
    return align(PLACED, read_bodies((body, "") for body in bodies), keys).findings


def _bodies(case: dict[str, Any]) -> list[dict[str, Any]]:
    kept = {_name(body): copy.deepcopy(body) for body in BASE}
    for name in case.get("delete", []):
        del kept[name]
    if "edit" in case:
        _edit(kept[case["edit"]["of"]], case["edit"])
    for body in case.get("put", []):
        kept[_name(body)] = body
    if "mesh_config" in case:
        kept["ConfigMap istio-system/istio-canary"]["data"]["mesh"] = yaml.safe_dump(case["mesh_config"])
    return list(kept.values())


def _edit(body: dict[str, Any], edit: dict[str, Any]) -> None:
    if "rename" in edit:
        parent, key = _at(body, edit["rename"][0])
        parent[edit["rename"][1]] = parent.pop(key)
    if "set" in edit:
        parent, key = _at(body, edit["set"][0])
        parent[key] = edit["set"][1]
    if "drop" in edit:
        parent, key = _at(body, edit["drop"])
        del parent[key]


def _at(body: Any, path: str) -> tuple[Any, Any]:
    *before, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in before:
        body = body[step]
    return body, last


def _name(body: dict[str, Any]) -> str:
    metadata = body["metadata"]
    place = f"{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"{body['kind']} {place}{metadata['name']}"


def _named(finding: Finding) -> str:
    return f"{finding.code} {finding.ref or '-'}"


def test_objects_whose_names_the_api_server_makes_hide_none_of_one_another() -> None:
    def pod(app: str) -> dict[str, Any]:
        metadata = {"generateName": "made-", "namespace": "models", "labels": {"app": app}}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"containers": [{"name": "model"}]},
        }

    found = _aligned({}, [*_bodies({}), pod("minilm"), pod("other")])
    assert [each.code.number for each in found] == ["MW5049"]
    assert found[0].ref and found[0].ref.name.startswith("made-")
    assert _aligned({}, [*_bodies({}), pod("other"), pod("other")]) == ()


def test_a_document_whose_aliases_never_end_is_refused_and_one_that_repeats_is_read() -> None:
    levels = "".join(f"x{at}: &x{at} [{', '.join([f'*x{at - 1}'] * 9)}]\n" for at in range(1, 12))
    for endless in (f"x0: &x0 [a]\n{levels}", "kind: Pod\nspec: &a {it: *a}\n"):
        with pytest.raises(MeshwardError, match=r"x\.yaml:1: is not YAML: its aliases"):
            read_text("x.yaml", endless)
    assert len(read_text("x.yaml", "kind: A\na: &a [1]\nb: *a\n")) == 1
