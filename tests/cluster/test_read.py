"""What is read of a cluster, and what is said where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshward.cluster.connection import connect, unreachable_error
from meshward.cluster.read import read_from
from meshward.cluster.refusals import Refusal, Refused, read_refusal, refused_error
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from tests.cluster.fake import FakeServer

SECRET = "s3cr3t-value"


def of(api_version: str, kind: str, name: str, namespace: str | None = None, **more: Any) -> dict[str, Any]:
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **place}, **more}


def filled() -> FakeServer:
    server = FakeServer()
    for name in ("istio-system", "models", "edge"):
        server.put(of("v1", "Namespace", name))
    for number in range(5):
        server.put(of("security.istio.io/v1", "AuthorizationPolicy", f"p{number}", "models", spec={}))
    container = {
        "name": "server",
        "image": "tei",
        "env": [{"name": "KEY", "value": SECRET}],
        "envFrom": [{"secretRef": {"name": SECRET}}],
        "args": ["--key", SECRET],
        "command": [SECRET],
        "ports": [{"containerPort": 80}],
    }
    spec = {"containers": [container], "initContainers": [container], "serviceAccountName": "tei"}
    template = {"metadata": {"labels": {"app": "tei"}}, "spec": spec}
    server.put(of("v1", "Pod", "tei-0", "models", spec=spec))
    server.put(of("apps/v1", "Deployment", "tei", "models", spec={"template": template}))
    server.put(of("v1", "Secret", "keys", "models", data={"k": SECRET}))
    server.put(of("v1", "ConfigMap", "istio", "istio-system", data={"mesh": "trustDomain: cluster.local"}))
    server.put(of("v1", "ConfigMap", "other", "istio-system", data={"k": SECRET}))
    server.put(of("v1", "ConfigMap", "istio", "models", data={"k": SECRET}))
    return server


def test_every_page_is_read_with_kinds_and_in_order() -> None:
    found = read_from(filled())
    policies = [each for each in found if each["kind"] == "AuthorizationPolicy"]
    assert [each["metadata"]["name"] for each in policies] == ["p0", "p1", "p2", "p3", "p4"]
    assert {each["apiVersion"] for each in policies} == {"security.istio.io/v1"}
    assert all("managedFields" not in each["metadata"] for each in found)


def test_no_secret_is_read() -> None:
    server = filled()
    found = read_from(server)
    assert SECRET not in json.dumps(found)
    assert [each["metadata"]["name"] for each in found if each["kind"] == "ConfigMap"] == ["istio"]
    (pod,) = (each for each in found if each["kind"] == "Pod")
    assert pod["spec"]["serviceAccountName"] == "tei"
    assert pod["spec"]["containers"][0]["ports"] == [{"containerPort": 80}]
    (deployment,) = (each for each in found if each["kind"] == "Deployment")
    assert deployment["spec"]["template"]["metadata"]["labels"] == {"app": "tei"}
    assert not any("secrets" in path for _, path in server.asked)


def test_a_list_that_changed_too_much_is_read_anew() -> None:
    server = filled()
    gone = iter([Refused(Refusal(410, "Expired", "continue token is too old"))])

    def expire(method: str, path: str) -> None:
        if path.endswith("/authorizationpolicies") and (refused := next(gone, None)):
            raise refused

    server.after = expire
    assert len([each for each in read_from(server) if each["kind"] == "AuthorizationPolicy"]) == 5


def test_what_may_not_be_read_is_said_and_nothing_is_returned() -> None:
    server = filled()

    def forbid(method: str, path: str) -> None:
        if path.endswith("/pods"):
            message = (
                'pods is forbidden: User "u" cannot list resource "pods" in API group "" at the cluster scope'
            )
            raise Refused(Refusal(403, "Forbidden", message))

    server.before = forbid
    with pytest.raises(MeshwardError) as caught:
        read_from(server)
    assert caught.value.code is codes.CLUSTER_RIGHT_MISSING
    assert caught.value.exit_code is Exit.DENIED
    assert 'cannot list resource "pods"' in caught.value.message


def test_a_kubeconfig_that_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "config"
    for text in ("", "a: [", f"token: {SECRET}", "apiVersion: v1\nkind: Config\ncurrent-context: x\n"):
        path.write_text(text)
        with pytest.raises(MeshwardError) as caught:
            connect(path)
        assert caught.value.code is codes.KUBECONFIG_UNUSABLE
        assert caught.value.exit_code is Exit.USAGE
        assert str(path) in caught.value.message
        assert SECRET not in caught.value.message
    with pytest.raises(MeshwardError, match="names no API server"):
        connect(tmp_path / "absent")


def test_a_server_that_is_not_there_is_named_and_no_token_is(tmp_path: Path) -> None:
    path = tmp_path / "config"
    cluster = {"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}
    user = {"name": "u", "user": {"token": SECRET}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    given = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "x"}
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **given}))
    with pytest.raises(MeshwardError) as caught:
        read_from(connect(path))
    assert caught.value.code is codes.CLUSTER_UNREACHABLE
    assert "https://127.0.0.1:1" in caught.value.message
    assert SECRET not in caught.value.message
    assert SECRET not in unreachable_error("s", ValueError(SECRET)).message
    assert SECRET not in repr(connect(path))


@pytest.mark.parametrize(
    ("status", "message", "causes", "code", "said"),
    [
        (401, "Unauthorized", [], codes.CLUSTER_CREDENTIALS, "does not know the kubeconfig's user"),
        (
            403,
            'User "u" cannot patch resource "r" in API group "g"',
            [],
            codes.CLUSTER_RIGHT_MISSING,
            "cannot patch",
        ),
        (404, 'namespaces "models" not found', [], codes.CLUSTER_LACKS, 'namespaces "models" not found'),
        (
            409,
            "Apply failed with 1 conflict",
            [{"field": ".spec.rules", "message": 'conflict with "kubectl-edit" using v1'}],
            codes.FIELD_OWNED_BY_ANOTHER,
            "`kubectl-edit` owns `.spec.rules`",
        ),
        (
            422,
            "is invalid",
            [{"field": "spec.action", "message": 'Unsupported value: "PERMIT"'}],
            codes.CLUSTER_REFUSED,
            '`spec.action`: Unsupported value: "PERMIT"',
        ),
        (
            500,
            "failed to create typed patch object (m/p; v1, Kind=P): .spec.rules[0].form: field not declared in schema",
            [],
            codes.CLUSTER_REFUSED,
            "`spec.rules[0].form`: no such field",
        ),
        (
            403,
            "forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not you",
            [],
            codes.CLUSTER_REFUSED,
            "denied request: not you",
        ),
    ],
)
def test_what_a_server_refuses_is_said_with_who_and_where(
    status: int, message: str, causes: list[dict[str, str]], code: codes.Code, said: str
) -> None:
    answer = {"kind": "Status", "reason": "R", "message": message, "details": {"causes": causes}}
    error = refused_error(read_refusal(status, answer), "AuthorizationPolicy `p`", "https://c")
    assert error.code is code
    assert said in error.message
