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
