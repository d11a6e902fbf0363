"""What is said of an object that the API server has taken: no more than somebody has said of it."""

from __future__ import annotations

from typing import Any

import pytest

from meshward.cluster.arrival import Arrival, arrival, describe_arrivals


def route(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "r", "namespace": "models", "generation": 2},
        "status": {"parents": [{"conditions": list(conditions)}]},
    }


def condition(status: str, generation: int = 2, kind: str = "Accepted") -> dict[str, Any]:
    return {"type": kind, "status": status, "observedGeneration": generation, "message": "no such\nservice"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (route(), Arrival.UNSAID),
        (route(condition("True")), Arrival.ACCEPTED),
        (route(condition("True", 1)), Arrival.UNSAID),
        (route(condition("True"), condition("False", kind="ResolvedRefs")), Arrival.REFUSED),
        (route(condition("False", 1)), Arrival.UNSAID),
        ({**route(condition("True")), "apiVersion": "networking.istio.io/v1"}, Arrival.UNASKED),
    ],
)
def test_a_controller_speaks_of_what_the_object_says_now(given: dict[str, Any], said: Arrival) -> None:
    assert arrival(given) is said


def test_it_is_told_by_kind_and_what_is_refused_by_name() -> None:
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "models"},
    }
    assert describe_arrivals([policy, policy, route(condition("True")), route(condition("False"))]) == [
        "2 AuthorizationPolicy: taken by the API server; proxies are not asked",
        "1 HTTPRoute: accepted by its controller",
        "1 HTTPRoute: refused by its controller",
        "! HTTPRoute models/r: no such?service",
    ]
