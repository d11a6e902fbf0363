"""Every answer that real sidecars gave, before and after every edit, is what the reader says of the objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshward.align.istio.view import judge, read_sidecar
from tests.align.drift import Drift, workload


@pytest.fixture(scope="module")
def drift(shared_data: Path) -> Drift:
    return Drift(shared_data / "vectors" / "istio-drift" / "given.json")


def test_the_base_is_answered_as_it_was(drift: Drift) -> None:
    for model, requests in drift.requests.items():
        sidecar = read_sidecar(drift.mesh(None), workload(model))
        assert {name: judge(sidecar, each).status for name, each in requests.items()} == drift.base_answers[
            model
        ]


def test_every_edit_is_answered_as_it_was(drift: Drift) -> None:
    wrong = []
    for case in drift.cases:
        for model, requests in drift.requests.items():
            sidecar = read_sidecar(drift.mesh(case), workload(model))
            if sidecar.faults and case.get("proxy_rejected"):
                continue  # the last good listener stays: the test below
            expected = drift.expected(case, model)
            wrong += [
                f"{case['name']}: {model}: {name}: {judge(sidecar, each)}, not {expected[name]}"
                for name, each in requests.items()
                if name.startswith(case.get("compare_only", ""))
                and judge(sidecar, each).status != expected[name]
            ]
    assert not wrong, "\n".join(wrong)


def test_what_envoy_refuses_is_known_and_nothing_else(drift: Drift) -> None:
    found = {
        case["name"]
        for case in drift.cases
        for model in drift.requests
        if read_sidecar(drift.mesh(case), workload(model)).faults
    }
    assert found == {case["name"] for case in drift.cases if case.get("proxy_rejected")}


def test_what_the_api_server_refuses_is_known_and_nothing_else(drift: Drift) -> None:
    from meshward.align.istio.objects import read_object

    for case in drift.cases:
        refused = any(read_object(each).refused for each in case.get("put", []))
        assert refused == bool(case.get("api_server_refused")), case["name"]
