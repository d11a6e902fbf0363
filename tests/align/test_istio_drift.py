"""Every answer that real sidecars gave, before and after every edit, is what the reader says of the objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshward.align.istio.objects import read_object
from meshward.align.istio.view import judge, read_sidecar
from tests.align.drift import Drift, workload


@pytest.fixture(scope="module")
def drift(shared_data: Path) -> Drift:
    return Drift(shared_data / "vectors" / "istio-drift" / "given.json")


def test_the_base_is_answered_as_it_was(drift: Drift) -> None:
    for model, requests in drift.requests.items():
        mesh = drift.mesh(None)
        sidecar = read_sidecar(mesh, workload(model, mesh))
        assert {name: judge(sidecar, each).status for name, each in requests.items()} == drift.base_answers[
            model
        ]


def test_every_edit_is_answered_as_it_was(drift: Drift) -> None:
    wrong = []
    for case in drift.cases:
        for model, requests in drift.requests.items():
            mesh = drift.mesh(case)
            sidecar = read_sidecar(mesh, workload(model, mesh))
            if sidecar.faults and case.get("proxy_rejected"):
                continue  # the last good listener stays: the test below
            expected = drift.expected(case, model)
            for name, each in requests.items():
                answer = judge(sidecar, each, fetched=False)  # nothing could be fetched there
                if name.startswith(case.get("compare_only", "")) and answer.status != expected[name]:
                    wrong.append(f"{case['name']}: {model}: {name}: {answer}, not {expected[name]}")
    assert not wrong, "\n".join(wrong)


def test_what_envoy_refuses_is_known_and_nothing_else(drift: Drift) -> None:
    found = set()
    for case in drift.cases:
        mesh = drift.mesh(case)
        if any(read_sidecar(mesh, workload(model, mesh)).faults for model in drift.requests):
            found.add(case["name"])
    assert found == {case["name"] for case in drift.cases if case.get("proxy_rejected")}


def test_what_the_api_server_refuses_is_known_and_nothing_else(drift: Drift) -> None:
    for case in drift.cases:
        refused = any(read_object(each).refused for each in case.get("put", []))
        assert refused == bool(case.get("api_server_refused")), case["name"]
