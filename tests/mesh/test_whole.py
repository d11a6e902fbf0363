"""A running system, end to end: nginx, its sidecar, a model's sidecar, the model."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mesh.lab import Call, Lab
from tests.mesh.load import loaded
from tests.mesh.test_decisions import POLICY
from tests.mesh.whole import Whole, running

SITE = {
    "trust_domain": "cluster.local",
    "edge": {"workload": {"namespace": "edge", "service_account": "nginx"}},
    "models": {
        "chat": {"v1": {"namespace": "models", "service": "chat", "port": 8080, "select": {"app": "chat"}}},
        "embed": {"v1": {"namespace": "other", "service": "embed", "port": 9000, "select": {"app": "embed"}}},
    },
}
ASK = "/m/chat/v1/chat/completions"


@pytest.fixture(scope="module")
def whole(whole_lab: Lab, short_dir: Path) -> Iterator[Whole]:
    with running(whole_lab, short_dir, POLICY, SITE) as whole:
        yield whole


def test_who_may_is_answered_and_both_hops_tell_of_it(whole: Whole) -> None:
    reply = whole.ask(("g",), ASK, body={"model": "chat", "messages": []})
    assert reply.status == 200, reply
    (seen,) = whole.lab.backend(whole.workloads["chat", "v1"]).taken()
    assert seen.target == "/v1/chat/completions"
    line = whole.sidecar("chat").line_of(reply.request_id)
    assert (line["peer"], line["sub"]) == ("spiffe://cluster.local/ns/edge/sa/nginx", "x:ann"), line
    assert (line["model"], line["action"], line["grant"]) == ("chat", "infer", "g"), line


def test_who_may_not_is_refused_by_the_edge_and_reaches_nobody(whole: Whole) -> None:
    assert whole.ask(("h",), ASK, body={"model": "chat", "messages": []}).status == 403
    assert whole.ask((), ASK, body={"model": "chat", "messages": []}).status == 403
    assert whole.lab.backend(whole.workloads["chat", "v1"]).taken() == []


def test_the_same_call_straight_to_the_sidecar_is_refused(whole: Whole) -> None:
    """With the very token that the edge sent, by whoever is not the edge."""
    token = whole.minted("chat.infer")
    call = Call("POST", "/v1/chat/completions", token)
    chat = whole.sidecar("chat")
    assert whole.lab.request(whole.lab.svid("edge", "nginx"), chat, call).status == 200
    for namespace, account in (("jobs", "scorer"), ("models", "chat"), ("edge", "default")):
        answer = whole.lab.request(whole.lab.svid(namespace, account), chat, call)
        assert (answer.status, answer.details) == (403, "rbac_access_denied_matched_policy[none]")


def test_a_changed_grant_is_enforced_at_both_hops_and_fails_nobody(whole: Whole) -> None:
    without: dict[str, Any] = copy.deepcopy(POLICY)
    without["grants"] = [grant for grant in without["grants"] if grant["id"] != "d"]
    token = whole.minted("chat.describe")
    describe = Call("GET", "/v1/models", token)
    nginx, chat = whole.lab.svid("edge", "nginx"), whole.sidecar("chat")

    def ask() -> int:
        return whole.ask(("g",), ASK, body={"model": "chat", "messages": []}).status

    with loaded(ask) as load:
        for policy, status in ((without, 403), (POLICY, 200)):
            whole.change(policy)
            reply = whole.ask(("h",), "/m/chat/v1/models", method="GET", body=None)
            assert reply.status == status, reply
            assert whole.lab.request(nginx, chat, describe).status == status
            load.go_on()
    assert set(load.seen) == {200}, load.seen


def test_a_rotated_signing_key_fails_nobody(whole: Whole) -> None:
    """The mesh is told of the key that comes next before it signs."""

    def ask() -> int:
        return whole.ask(("g",), ASK, body={"model": "chat", "messages": []}).status

    with loaded(ask) as load:
        known = whole.keys().next.kid  # the mesh has it, for it was rendered beside the one that signs
        assert whole.edge.command("rotate", "signing-key").returncode == 4, "nobody says that the mesh has it"
        done = whole.edge.command("rotate", "signing-key", "--given", known)
        assert done.returncode == 0, done.stderr
        assert whole.keys().current.kid == known
        whole.put_into_mesh()
        load.go_on()
    assert set(load.seen) == {200}, load.seen
