"""The lab itself: what it would show if what it runs were not what it says."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mesh.lab import Call, Lab, Workload
from tests.mesh.lab.kubernetes_api import Refused

CHAT = Workload("chat-0", "models", "chat", {"app": "chat"}, port=8080, service="chat")


def strict() -> dict[str, Any]:
    meta = {"name": "default", "namespace": "istio-system"}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": meta,
        "spec": {"mtls": {"mode": "STRICT"}},
    }


def allow(*accounts: str) -> dict[str, Any]:
    principals = [f"cluster.local/ns/edge/sa/{account}" for account in accounts]
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "chat", "namespace": "models"},
        "spec": {
            "selector": {"matchLabels": {"app": "chat"}},
            "rules": [{"from": [{"source": {"principals": principals}}]}],
        },
    }


def test_what_is_applied_is_enforced_once_it_is_settled(lab: Lab) -> None:
    chat = lab.start(CHAT)
    nginx, other = lab.svid("edge", "nginx"), lab.svid("edge", "other")
    for mine, refused in ((nginx, other), (other, nginx)) * 5:
        account = "nginx" if mine is nginx else "other"
        lab.apply([strict(), allow(account)])
        lab.settled()
        assert lab.request(mine, chat, Call("POST", "/embed")).status == 200
        answer = lab.request(refused, chat, Call("POST", "/embed"))
        assert (answer.status, answer.details) == (403, "rbac_access_denied_matched_policy[none]")
        assert lab.request(mine, chat, Call("POST", "/embed"), plain=True).status is None
    (seen,) = {request.target for request in lab.backend(CHAT).taken()}
    assert seen == "/embed"


def test_a_field_that_nobody_knows_is_refused(lab: Lab) -> None:
    misspelled = allow("nginx")
    misspelled["spec"]["rules"] = [{"form": []}]
    with pytest.raises(Refused, match="form: field not declared in schema"):
        lab.apply([misspelled])


EDGE = Workload("nginx-0", "edge", "nginx", {"app": "nginx"}, writes_sidecar=False)
OWN = "127.0.2.1"


def listener(*hosts: str) -> dict[str, Any]:
    port = {"number": 8080, "protocol": "HTTP", "name": "http"}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Sidecar",
        "metadata": {"name": "nginx", "namespace": "edge"},
        "spec": {
            "workloadSelector": {"labels": {"app": "nginx"}},
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
            "egress": [{"port": port, "bind": OWN, "captureMode": "NONE", "hosts": list(hosts)}],
        },
    }


def test_an_edge_reaches_a_service_through_its_own_sidecar_as_who_it_is(lab: Lab) -> None:
    chat = lab.start(CHAT)
    lab.apply([strict(), allow("nginx"), listener("models/*")])
    lab.start(EDGE)
    lab.settled()
    answer = lab.through(OWN, 8080, "chat.models", Call("POST", "/embed"))
    assert answer.status == 200, answer
    assert chat.line_of(answer.request_id)["peer"] == "spiffe://cluster.local/ns/edge/sa/nginx"
    assert lab.through(OWN, 8080, "elsewhere.models", Call("POST", "/embed")).status == 502


def test_new_certificates_fail_no_request(lab: Lab) -> None:
    chat = lab.start(CHAT)
    lab.apply([strict(), allow("nginx"), listener("models/*")])
    edge = lab.start(EDGE)
    lab.settled()

    def shown() -> set[str]:
        return {serial for sidecar in (chat, edge) for serial in sidecar.serials()}

    for _ in range(5):
        before = shown()
        lab.secrets.renew()
        while before & shown():
            assert lab.through(OWN, 8080, "chat.models", Call("POST", "/embed")).status == 200
        assert lab.through(OWN, 8080, "chat.models", Call("POST", "/embed")).status == 200
    lab.assert_accepted()
