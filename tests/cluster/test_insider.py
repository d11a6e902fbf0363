"""Whoever has other rights in the cluster, or forgets an option, widens nothing unseen."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from meshward.cluster.applying import ApplyRequest, apply
from meshward.cluster.connection import connect
from meshward.cluster.preparing import prepare
from meshward.cluster.record import read_record
from meshward.cluster.refusals import Refusal, Refused, refused_error
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from tests.cluster.applying import NEW, OLD, PLACE, bodies_of, copied, policy, run, said, wanted, with_old
from tests.cluster.fake import FakeServer
from tests.cluster.oracle import ROOT
from tests.cluster.test_order import STRICT, body

BASE = with_old()
WHOLE_MESH = [
    body("AuthorizationPolicy", "all", {}, ROOT),
    body("PeerAuthentication", "all", {"mtls": {"mode": "STRICT"}}, ROOT),
]


def forge(server: FakeServer, text: str) -> None:
    packed = base64.b64encode(gzip.compress(text.encode())).decode()
    server.objects[PLACE.config_map]["binaryData"] = {"record.json.gz": packed}


def test_a_guard_that_goes_needs_leave() -> None:
    """An option that was forgotten would open the whole mesh; so would a namespace that goes."""
    server = copied(BASE)
    run(server, [*OLD, *WHOLE_MESH])
    before = said(server)
    with pytest.raises(MeshwardError) as caught:
        run(server, OLD)
    assert caught.value.code is codes.CLUSTER_WIDENS
    for kind in ("AuthorizationPolicy", "PeerAuthentication"):
        assert f"{kind} {ROOT}/all goes" in caught.value.message
    assert said(server) == before
    prepared = prepare(server, wanted(OLD))
    assert prepared.needs_leave
    assert any("! widening: PeerAuthentication" in line for line in prepared.change.lines())
    run(server, OLD, None, "widening")
    assert said(server) == bodies_of(OLD)


def test_another_set_of_guards_is_another_change_than_the_reviewed_one() -> None:
    server = copied(BASE)
    run(server, [*OLD, *WHOLE_MESH])
    reviewed = prepare(server, wanted([*OLD, *WHOLE_MESH])).change.digest
    request = ApplyRequest(reviewed=reviewed, allow=frozenset({"widening"}))
    with pytest.raises(MeshwardError) as caught:
        apply(server, wanted(OLD), request, lambda _: None, lambda _: None)
    assert caught.value.code is codes.NOT_THE_REVIEWED


def test_what_only_stood_in_for_a_name_goes_without_leave() -> None:
    """A run that ended before it took the stand-in of a guard away."""
    server = copied(BASE)
    left = {**STRICT, "metadata": {**STRICT["metadata"], "name": "strict.next"}}
    server.put(wanted([left]).objects.popitem()[1], "meshward")
    run(server, OLD)
    assert said(server) == bodies_of(OLD)


def test_a_record_of_a_change_that_was_only_begun_hides_no_widening() -> None:
    server = copied(BASE)
    applied = read_record(server, PLACE).applied
    assert applied is not None
    forge(server, json.dumps({"format": 1, "applied": None, "applying": asdict(applied)}))
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW, policy(manage=True))
    assert caught.value.code is codes.CLUSTER_WIDENS
    run(server, NEW)
    assert said(server) == bodies_of(NEW)


@pytest.mark.parametrize(
    "value",
    [
        "[]",
        '"x"',
        "[" * 100_000,
        '{"format": 1}',
        '{"format": 1, "applied": {"revision": 1}, "applying": null}',
        '{"format": 1, "applied": {"revision": "x", "policy": 1, "site": null, "author": "", "time": 1, "reason": ""},'
        ' "applying": null}',
    ],
    ids=["list", "text", "deep", "empty", "short", "types"],
)
def test_a_record_of_another_shape_is_one_that_cannot_be_read(value: str) -> None:
    server = copied(BASE)
    forge(server, value)
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW)
    assert caught.value.code is codes.RECORD_UNREADABLE


def test_taking_over_what_another_edge_has_is_no_first_change() -> None:
    """The edge's ServiceAccount or the trust domain is another: nobody can tell who gains."""
    server = copied(BASE)
    moved = replace(wanted(NEW, policy(manage=True)), owner="spiffe://other/ns/edge/sa/other")
    moved = replace(moved, place=replace(PLACE, name="meshward.other"))

    def take(*leave: str) -> Any:
        return apply(server, moved, ApplyRequest(allow=frozenset(leave)), lambda _: None, lambda _: None)

    with pytest.raises(MeshwardError) as caught:
        take("takeover")
    assert caught.value.code is codes.RECORD_UNREADABLE
    assert "spiffe://cluster.local/ns/edge/sa/nginx" in caught.value.message
    take("takeover", "widening")
    assert all(
        each["metadata"]["annotations"]["meshward/owner"] == moved.owner
        for each in server.mesh().values()
        if each["metadata"]["name"] in {"p", "q"}
    )


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "mw-m", "namespace": "models"},
    "spec": {"ports": [{"port": 80}]},
}


def test_a_service_of_ours_goes_too() -> None:
    """Where a model has one version left, no other Service is wanted."""
    server = copied(BASE)
    run(server, [*OLD, SERVICE])
    assert server.path(SERVICE) in server.objects
    run(server, OLD)
    assert server.path(SERVICE) not in server.objects


def test_a_status_that_is_written_meanwhile_is_no_change_by_somebody_else() -> None:
    server = copied(BASE)

    def report(method: str, path: str) -> None:
        there = server.objects.get(path)
        if method in ("apply", "delete") and there is not None and ".istio.io/" in path:
            there["metadata"]["resourceVersion"] += "s"
            there["status"] = {"conditions": []}
            server.before = lambda *_: None

    for number in range(1, 7):
        seen = [0]

        def late(method: str, path: str, number: int = number, seen: list[int] = seen) -> None:
            if method in ("apply", "delete") and path in server.objects and ".istio.io/" in path:
                seen[0] += 1
                if seen[0] == number:
                    report(method, path)

        server.objects = copied(BASE).objects
        server.before = late
        run(server, NEW)
        assert said(server) == bodies_of(NEW)


def test_what_somebody_is_deleting_is_not_there() -> None:
    server = copied(BASE)
    meta = server.objects[server.path(STRICT)]["metadata"]
    meta |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/hold"]}
    with pytest.raises(MeshwardError, match=r"strict is being deleted .* `example\.com/hold`"):
        run(server, OLD)


def test_what_is_added_inside_of_a_list_under_our_name_is_put_right() -> None:
    server = copied(BASE)
    there = next(each for each in server.mesh().values() if each["metadata"]["name"] == "t")
    there["spec"]["jwtRules"][0]["fromParams"] = ["token"]
    run(server, OLD)
    assert said(server) == bodies_of(OLD)


def test_a_server_that_does_not_say_what_it_serves_is_named() -> None:
    server = copied(BASE)

    def fail(method: str, path: str) -> None:
        if path == "/apis":
            raise Refused(Refusal(500, "InternalError", "etcd is gone"))

    server.before = fail
    with pytest.raises(MeshwardError, match="etcd is gone"):
        run(server, NEW)


@pytest.mark.parametrize(
    "message",
    [
        'services "x" is forbidden: exceeded quota: q, requested: services=1, used: services=1, limited: services=1',
        "x is forbidden: unable to create new content in namespace models because it is being terminated",
    ],
)
def test_a_quota_is_no_right_that_is_missing(message: str) -> None:
    error = refused_error(Refusal(403, "Forbidden", message), "Service x", "s")
    assert (error.code, error.exit_code) == (codes.CLUSTER_REFUSED, Exit.HOP_REFUSED)


def test_a_password_in_a_servers_address_is_not_told(tmp_path: Path) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://jane:hunter2@127.0.0.1:1/x"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
        "current-context": "c",
    }
    (tmp_path / "k").write_text(json.dumps(config))
    server = connect(tmp_path / "k")
    assert server.name == "https://127.0.0.1:1/x"
    with pytest.raises(MeshwardError) as caught:
        server.get("/apis")
    assert "hunter2" not in caught.value.message


def test_a_command_that_gives_no_credentials_is_said_and_not_what_it_wrote(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sh",
        "args": ["-c", "echo hunter2 >&2; exit 3"],
        "interactiveMode": "Never",
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"exec": command}}],
        "current-context": "c",
    }
    (tmp_path / "k").write_text(json.dumps(config))
    with pytest.raises(MeshwardError, match="gave no credentials") as caught:
        connect(tmp_path / "k")
    assert caught.value.code is codes.KUBECONFIG_UNUSABLE
    assert "hunter2" not in caught.value.message
    assert "hunter2" not in "".join(capfd.readouterr())
