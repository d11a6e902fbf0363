"""Of every edit that real sidecars were tried with, `align` names each that widened, and none that changed nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshward.align.compare import align
from meshward.align.documents import read_bodies
from meshward.align.finding import Finding
from meshward.kit import codes
from tests.align.drift import CONFIG, Case, Drift
from tests.align.placed import DRIFT_POLICY, DRIFT_SITE, placed

# What changed none of the answers that were asked for, and is drift all the same: why.
_SAID = {
    "selector removed": "the other model takes this one's routes by this one's permissions",
    "ours copied for the other model": "the same",
    "its keys are empty": "Envoy takes no later change",
}


@pytest.fixture(scope="module")
def drift(shared_data: Path) -> Drift:
    return Drift(shared_data / "vectors" / "istio-drift" / "given.json")


def test_the_base_is_silent(drift: Drift) -> None:
    assert _found(drift, None) == () == _found(drift, None, told=False)


def test_what_widened_is_named_with_the_object_that_was_edited(drift: Drift) -> None:
    for case in drift.cases:
        found = _found(drift, case)
        if _widened(drift, case):
            edited = {(put["kind"], put["metadata"]["name"]) for put in case["put"]}
            edited |= {("ConfigMap", "istio")} if case.get("mesh_config") else set()
            named = {(each.ref.kind, each.ref.name) if each.ref else None for each in found}
            assert named & edited or (found and not edited), (case["name"], found)
        elif case["changed_answers"]:
            assert found, case["name"]
        else:
            assert bool(found) == (case["name"] in _SAID), (case["name"], [each.line() for each in found])


def test_what_opens_or_shuts_a_model_says_so(drift: Drift) -> None:
    """Where a sidecar let somebody in whom it refused, and where it refused the edge."""
    closed = {codes.ALIGN_CLOSED}
    for case in drift.cases:
        numbers = {each.code for each in _found(drift, case)}
        changed = {
            (model, name): answer
            for model, answers in case["changed_answers"].items()
            for name, answer in answers.items()
        }
        if 200 in changed.values():
            assert numbers - closed, case["name"]
        if any(answer != 200 for (_, name), answer in changed.items() if name == "edge, right permission"):
            assert numbers & closed, case["name"]


def _widened(drift: Drift, case: Case) -> bool:
    def rank(answer: int | str) -> int:
        return {200: 2, "refused": 0}.get(answer, 1)

    return any(
        rank(answer) > rank(drift.base_answers[model][name])
        for model, answers in case["changed_answers"].items()
        for name, answer in answers.items()
    )


def _found(drift: Drift, case: Case | None, *, told: bool = True) -> tuple[Finding, ...]:
    bodies: list[dict[str, Any]] = drift.objects(case)
    if case and case.get("mesh_config"):
        text = yaml.safe_dump(CONFIG) + case["mesh_config"]
        metadata = {"name": "istio", "namespace": "istio-system"}
        bodies.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": text}})
    objects = read_bodies((body, "") for body in bodies)
    return align(placed(DRIFT_POLICY, DRIFT_SITE), objects, _keys(drift) if told else None).findings


def _keys(drift: Drift) -> list[dict[str, Any]]:
    rule = next(each for each in drift.base if each["kind"] == "RequestAuthentication")["spec"]["jwtRules"][0]
    keys: list[dict[str, Any]] = json.loads(rule["jwks"])["keys"]
    return keys
