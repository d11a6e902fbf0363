"""`apply --target istio` at a real API server: whole or not at all, never open in between, nothing but ours."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshward.cluster.applying import ApplyRequest, Outcome, apply
from meshward.cluster.connection import Connection, connect, unreachable_error
from meshward.cluster.ownership import OWNER as MARK
from meshward.cluster.preparing import prepare
from meshward.cluster.read import read_objects
from meshward.cluster.record import read_record
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.policy.schema import Policy
from tests.cluster.applying import OWNER, PLACE, Killed, policy, wanted
from tests.cluster.oracle import Request, permitted
from tests.cluster.test_order import DENY_ALL, STRICT, allow, body, keys, rule
from tests.mesh.lab import Lab

Body = dict[str, Any]


def tokens(issuer: str, *names: str) -> Body:
    """Keys that the API server takes for keys."""
    held = [{"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ", **each} for each in _named(*names)]
    jwks = json.dumps({"keys": held})
    return body("RequestAuthentication", "t", {"jwtRules": [{"issuer": issuer, "jwks": jwks}]})


def _named(*names: str) -> list[Body]:
    found: list[Body] = json.loads(keys(*names)["jwtRules"][0]["jwks"])["keys"]
    return found


def slashes(value: str) -> Body:
    patch = {
        "applyTo": "NETWORK_FILTER",
        "match": {"context": "SIDECAR_INBOUND"},
        "patch": {"operation": "MERGE", "value": {"name": value}},
    }
    return body("EnvoyFilter", "slashes", {"configPatches": [patch]})


def route(weight: int) -> Body:
    there = [{"destination": {"host": "a.models.svc.cluster.local"}, "weight": weight}]
    return body("VirtualService", "v", {"hosts": ["a.models.svc.cluster.local"], "http": [{"route": there}]})


OLD = [
    DENY_ALL,
    STRICT,
    tokens("https://edge", "k1", "k2"),
    allow("p", rule("m.infer", "/x"), rule("m.manage", "/y")),
    allow("gone", rule("m.infer", "/z%2f")),
    route(1),
    body("DestinationRule", "d", {"host": "a.models.svc.cluster.local"}),
]
NEW = [
    DENY_ALL,
    STRICT,
    tokens("https://other", "k3"),
    allow("p", rule("m.infer", "/x", "/y")),
    allow("q", rule("m.manage", "/y", caller="other")),
    slashes("a"),
    route(2),
]
BOUND = permitted(dict(enumerate(OLD))) | permitted(dict(enumerate(NEW)))
KINDS = {
    "security.istio.io/v1": ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"),
    "networking.istio.io/v1": ("DestinationRule", "VirtualService"),
    "networking.istio.io/v1alpha3": ("EnvoyFilter",),
    "admissionregistration.k8s.io/v1": (
        "ValidatingAdmissionPolicyBinding",
        "ValidatingAdmissionPolicy",
    ),
}


@pytest.fixture
def cluster(lab: Lab) -> Iterator[Lab]:
    """With the namespaces, and nothing left behind."""
    for name in ("edge", "models"):
        lab.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield lab
    for each in reversed(list(_every(lab))):
        lab.api.delete(each)
    for version, kind in (("v1", "ConfigMap"), ("coordination.k8s.io/v1", "Lease")):
        place = {"name": PLACE.name, "namespace": PLACE.namespace}
        lab.api.delete({"apiVersion": version, "kind": kind, "metadata": place})


def _every(lab: Lab) -> Iterator[Body]:
    order = [(version, kind) for version, kinds in KINDS.items() for kind in kinds]
    for version, kind in order:
        for each in lab.api.list(version, kind, "*"):
            yield {**each, "apiVersion": version, "kind": kind}


def said(lab: Lab) -> dict[tuple[str, str], Any]:
    return {
        (each["kind"], each["metadata"]["name"]): each.get("spec") or {}
        for each in _every(lab)
        if "admission" not in each["apiVersion"]
    }


def of(bodies: list[Body]) -> dict[tuple[str, str], Any]:
    return {(each["kind"], each["metadata"]["name"]): each["spec"] for each in bodies}


class Faulty:
    """A connection that breaks at one write, before or after it was done; and judges each state of the mesh."""

    def __init__(self, lab: Lab, at: int | None = None, *, before: bool = True, times: int = 1) -> None:
        self.inner: Connection = connect(lab.kubeconfig)
        self.name = self.inner.name
        self.lab, self.at, self.before, self.times = lab, at, before, times
        self.fault: Callable[[], BaseException] = lambda: unreachable_error(self.name, ConnectionResetError())
        self.written: list[str] = []
        self.opened: set[Request] = set()

    def get(self, path: str, query: Any = None) -> Body:
        return self.inner.get(path, query or {})

    def create(self, path: str, body: Body) -> Body:
        return self.inner.create(path, body)

    def replace(self, path: str, body: Body) -> Body:
        return self._write("replace", path, body)

    def apply(self, path: str, body: Body, query: Any) -> Body:
        return self._write("apply", path, body, query)

    def merge(self, path: str, body: Body, query: Any) -> Body:
        return self._write("merge", path, body, query)

    def delete(self, path: str, body: Body, query: Any = None) -> Body:
        return self._write("delete", path, body, query or {})

    def _write(self, method: str, path: str, *given: Any) -> Body:
        trial = bool(given[1:] and given[1].get("dryRun"))
        if trial or "leases" in path:
            return getattr(self.inner, method)(path, *given)  # type: ignore[no-any-return]
        here = len(self.written)
        self.written.append(path)
        strikes = self.at is not None and here >= self.at and self.times > 0
        if strikes and self.before:
            self.times -= 1
            raise self.fault()
        answer: Body = getattr(self.inner, method)(path, *given)
        mesh = {str(number): each for number, each in enumerate(_every(self.lab))}
        self.opened |= permitted(mesh) - BOUND
        if strikes:
            self.times -= 1
            raise self.fault()
        return answer


def run(server: Any, bodies: list[Body], given: Policy | None = None, *leave: str, **more: Any) -> Outcome:
    asked = wanted(copy.deepcopy(bodies), given, **more)
    return apply(server, asked, ApplyRequest(allow=frozenset(leave)), lambda _: None, lambda _: None)


def test_a_change_is_taken_whole_and_the_same_again_writes_nothing(cluster: Lab) -> None:
    first = Faulty(cluster)
    assert run(first, OLD).written == len(OLD)
    assert said(cluster) == of(OLD)
    again = Faulty(cluster)
    assert run(again, OLD).change is None
    assert again.written == []
    changed = Faulty(cluster)
    outcome = run(changed, NEW)
    assert (outcome.revision, outcome.written, outcome.removed) == (2, 5, 2)
    assert said(cluster) == of(NEW)
    assert not changed.opened
    assert run(Faulty(cluster), [], None, "widening").removed == len(NEW)
    assert said(cluster) == {}


def _writes() -> int:
    """Of OLD to NEW: eight of the mesh (one is contracted first), and the record before and after."""
    return 10


@pytest.mark.parametrize("before", [True, False], ids=["not-done", "done-unanswered"])
@pytest.mark.parametrize("at", range(_writes()))
@pytest.mark.parametrize("fault", ["once", "for-ever", "killed"])
def test_at_any_step_a_fault_opens_nothing_and_the_next_run_completes_it(
    cluster: Lab, at: int, before: bool, fault: str
) -> None:
    run(connect(cluster.kubeconfig), OLD)
    server = Faulty(cluster, at, before=before, times=1 if fault == "once" else 10**6)
    if fault == "killed":
        server.fault = Killed
    try:
        run(server, NEW)
        assert fault == "once"
    except Killed:
        assert fault == "killed"
    except MeshwardError as error:
        assert error.code is codes.CLUSTER_UNREACHABLE
    assert len(server.written) > at
    after = Faulty(cluster)
    run(after, NEW)
    assert said(cluster) == of(NEW)
    assert not server.opened | after.opened
    assert read_record(after.inner, PLACE).applying is None


_PROGRAM = """
import sys
from pathlib import Path
from meshward.cluster.applying import ApplyRequest, apply
from meshward.cluster.connection import connect
from tests.cluster.applying import wanted
from tests.mesh.test_apply import NEW

def say(line):
    print(line, flush=True)
    sys.stdin.readline()

apply(connect(Path(sys.argv[1])), wanted(NEW), ApplyRequest(), say)
"""


@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_process_that_is_killed_leaves_its_turn_and_its_work_to_the_next(cluster: Lab, at: int) -> None:
    """For real: `kill -9` between two writes. On the same machine its turn is free at once."""
    run(connect(cluster.kubeconfig), OLD)
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(cluster.kubeconfig)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(at):
        assert process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.flush()
    assert process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    paused: list[float] = []
    after = Faulty(cluster)
    apply(after, wanted(NEW), ApplyRequest(), lambda _: None, paused.append)
    assert 2.0 not in paused  # what it would have waited for a turn that somebody may still hold
    assert said(cluster) == of(NEW)
    assert not after.opened


def test_two_at_once_one_wins_whole_and_the_other_is_told_by_whom(cluster: Lab) -> None:
    run(connect(cluster.kubeconfig), OLD)
    refused: list[MeshwardError] = []

    def meanwhile(_: str) -> None:
        if refused:
            return
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        place = {"name": PLACE.name, "namespace": PLACE.namespace}

        def renewed(_: float) -> None:
            there = cluster.api.get({**lease, "metadata": place}) or {}
            there["spec"]["renewTime"] = "2030-01-01T00:00:00.000000Z"
            there["metadata"].pop("managedFields")
            there["metadata"].pop("resourceVersion")
            cluster.api.apply({**lease, "metadata": place, "spec": {"renewTime": there["spec"]["renewTime"]}})

        with pytest.raises(MeshwardError) as caught:
            apply(connect(cluster.kubeconfig), wanted(OLD), ApplyRequest(), lambda _: None, renewed)
        refused.append(caught.value)

    apply(connect(cluster.kubeconfig), wanted(NEW), ApplyRequest(), meanwhile, lambda _: None)
    assert (refused[0].code, refused[0].exit_code) == (codes.APPLIED_BY_ANOTHER, Exit.CONFLICT)
    assert "admin on " in refused[0].message
    assert said(cluster) == of(NEW)


def test_a_field_of_somebody_else_is_named_with_its_owner(cluster: Lab) -> None:
    server = connect(cluster.kubeconfig)
    run(server, OLD)
    edited = allow("p", rule("m.infer", "/y"))
    cluster.api.apply(edited, manager="kubectl-edit")
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW)
    assert (caught.value.code, caught.value.exit_code) == (codes.FIELD_OWNED_BY_ANOTHER, Exit.CONFLICT)
    assert "AuthorizationPolicy models/p: `kubectl-edit` owns `.spec.rules`" in caught.value.message
    assert said(cluster)["AuthorizationPolicy", "gone"]
    run(server, NEW, None, "takeover")
    assert said(cluster) == of(NEW)


def test_only_what_is_ours_is_removed(cluster: Lab) -> None:
    server = connect(cluster.kubeconfig)
    run(server, OLD)
    cluster.api.apply(allow("foreign", rule("m.infer", "/x")), manager="helm")
    pretended = allow("pretended", rule("m.infer", "/x"))
    pretended["metadata"] = {**pretended["metadata"], "annotations": {MARK: OWNER}}
    cluster.api.apply(pretended, manager="helm")
    cluster.api.apply(allow("gone", rule("m.infer", "/z%2f")), manager="argocd")
    outcome = run(server, NEW)
    names = {name for _, name in said(cluster)}
    assert {"foreign", "pretended", "gone"} <= names
    assert "d" not in names
    assert {key.name: list(others) for key, others in outcome.left.items()} == {"gone": ["argocd"]}


@pytest.mark.parametrize(
    ("broken", "code", "said_of_it"),
    [
        (allow("p", {"form": []}), codes.CLUSTER_REFUSED, "`spec.rules[0].form`: no such field"),
        (
            body("AuthorizationPolicy", "p", {"action": "PERMIT"}),
            codes.CLUSTER_REFUSED,
            "`spec.action`: Unsupported value",
        ),
        (
            body("AuthorizationPolicy", "p", {}, "nowhere"),
            codes.CLUSTER_LACKS,
            'namespaces "nowhere" not found',
        ),
    ],
    ids=["unknown-field", "value", "namespace"],
)
def test_what_the_server_refuses_is_said_before_anything_changes(
    cluster: Lab, broken: Body, code: codes.Code, said_of_it: str
) -> None:
    server = Faulty(cluster)
    run(server, OLD)
    before = len(server.written)
    rest = [each for each in NEW if each["metadata"]["name"] != "p"]
    with pytest.raises(MeshwardError) as caught:
        run(server, [*rest, broken])
    assert caught.value.code is code
    assert caught.value.exit_code is Exit.HOP_REFUSED
    assert said_of_it in caught.value.message
    assert len(server.written) == before


def policy_against(name: str) -> tuple[Body, Body]:
    """An admission policy that nobody may write an AuthorizationPolicy `name` under, and its binding."""
    api = "admissionregistration.k8s.io/v1"
    rules = [
        {
            "apiGroups": ["security.istio.io"],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE"],
            "resources": ["*"],
        }
    ]
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": f"object.metadata.name != '{name}'", "message": "not that one"}],
    }
    meta = {"name": "late"}
    binding = {"policyName": "late", "validationActions": ["Deny"]}
    return (
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": meta, "spec": spec},
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": meta, "spec": binding},
    )


def test_a_refusal_in_the_middle_leads_back(cluster: Lab) -> None:
    """An admission policy that comes after the trial."""
    run(connect(cluster.kubeconfig), OLD)
    server = Faulty(cluster)
    put: list[bool] = []

    def meddle(line: str) -> None:
        if not put and line.endswith("/q"):
            put.append(True)
            for each in policy_against("q"):
                cluster.api.apply(each)
            _await_refusal(cluster, allow("q", rule("m.infer", "/x")))

    with pytest.raises(MeshwardError) as caught:
        apply(server, wanted(NEW), ApplyRequest(), meddle, lambda _: None)
    assert put
    assert (caught.value.code, caught.value.exit_code) == (codes.CLUSTER_REFUSED, Exit.HOP_REFUSED)
    assert "not that one" in caught.value.message
    assert said(cluster) == of(OLD)
    assert not server.opened
    record = read_record(server.inner, PLACE)
    assert record.applied is not None
    assert (record.applied.revision, record.applying) == (1, None)


def _await_refusal(cluster: Lab, given: Body, *, refused: bool = True) -> None:
    from meshward.testing.waiting import eventually
    from tests.mesh.lab.kubernetes_api import Refused

    def is_refused() -> bool:
        try:
            cluster.api.apply(given, dry_run=True)
        except Refused:
            return True
        return False

    eventually(lambda: is_refused() is refused, what="the admission policy")


def account_of(cluster: Lab, name: str) -> Path:
    """A kubeconfig of ServiceAccount `name` of the edge's namespace, with the rights that the docs name."""
    text = (Path(__file__).parents[2] / "docs" / "istio.md").read_text()
    import yaml  # type: ignore[import-untyped]

    named = text.split("**Rights**")[1].split("```yaml\n")[1].split("```")[0]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "edge"}}
    cluster.api.apply(account)
    subject = [{"kind": "ServiceAccount", "name": name, "namespace": "edge"}]
    group = "rbac.authorization.k8s.io"
    for role in yaml.safe_load_all(named):
        cluster.api.apply(role)
        where = {"namespace": "edge"} if role["kind"] == "Role" else {}
        cluster.api.apply(
            {
                "apiVersion": f"{group}/v1",
                "kind": f"{role['kind']}Binding",
                "metadata": {"name": name, **where},
                "subjects": subject,
                "roleRef": {"apiGroup": group, "kind": role["kind"], "name": role["metadata"]["name"]},
            }
        )
    asked = cluster.api._ask(
        "POST",
        f"/api/v1/namespaces/edge/serviceaccounts/{name}/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    )
    return cluster.server.kubeconfig_of(asked["status"]["token"], cluster.directory / f"{name}.kubeconfig")


def test_the_rights_that_the_docs_name_are_enough_and_others_are_named(cluster: Lab) -> None:
    path = account_of(cluster, "meshward")
    run(connect(path), OLD)
    run(connect(path), NEW)
    assert said(cluster) == of(NEW)
    with pytest.raises(MeshwardError) as caught:
        read_objects(path)
    assert (caught.value.code, caught.value.exit_code) == (codes.CLUSTER_RIGHT_MISSING, Exit.DENIED)
    assert 'User "system:serviceaccount:edge:meshward" cannot list resource' in caught.value.message


def test_owned_is_asked_for_by_the_owner_alone_and_refuses_the_admin_after(cluster: Lab) -> None:
    from tests.mesh.lab.kubernetes_api import Refused

    path = account_of(cluster, "meshward")
    writer = "system:serviceaccount:edge:meshward"
    owned = [*OLD, *_owned(writer)]
    with pytest.raises(MeshwardError) as caught:
        run(connect(cluster.kubeconfig), owned, writer=writer)
    assert caught.value.code is codes.NOT_THE_OWNER
    assert "`admin` asks" in caught.value.message
    run(connect(path), owned, writer=writer)
    _await_refusal(cluster, allow("foreign", rule("m.infer", "/x")))
    with pytest.raises(MeshwardError) as caught:
        run(connect(cluster.kubeconfig), NEW, None, "takeover", "widening")
    assert caught.value.code is codes.CLUSTER_REFUSED
    run(connect(path), [*NEW, *_owned(writer)], writer=writer)
    with pytest.raises(Refused):
        cluster.api.apply(allow("foreign", rule("m.infer", "/x")))
    run(connect(path), OLD, None, "widening")
    assert said(cluster) == of(OLD)
    _await_refusal(cluster, allow("foreign", rule("m.infer", "/x")), refused=False)


def _owned(writer: str) -> tuple[Body, Body]:
    one, other = policy_against("")
    rules = one["spec"]["matchConstraints"]["resourceRules"]
    rules[0]["operations"] = ["CREATE", "UPDATE", "DELETE"]
    one["spec"]["validations"] = [{"expression": f"request.userInfo.username == '{writer}'"}]
    return one, other


def test_an_api_server_that_starts_anew_in_the_middle_is_waited_for(cluster: Lab) -> None:
    """As the client sees it: some requests find nobody."""
    run(connect(cluster.kubeconfig), OLD)
    server = Faulty(cluster, 3, times=4)
    paused: list[float] = []
    apply(server, wanted(NEW), ApplyRequest(), lambda _: None, paused.append)
    assert [each for each in paused if each not in (1.0,)][:2] == [0.25, 0.5]
    assert said(cluster) == of(NEW)
    assert not server.opened


def test_plan_tells_objects_and_changes_nothing(cluster: Lab) -> None:
    server = Faulty(cluster)
    run(server, OLD)
    before = len(server.written)
    prepared = prepare(server, wanted(NEW, policy(manage=True)))
    assert {(edit.do, edit.key.name) for edit in prepared.edits} == {
        *(("create", name) for name in ("q", "slashes")),
        *(("change", name) for name in ("p", "t", "v")),
        *(("remove", name) for name in ("d", "gone")),
    }
    assert any("manage" in each for each in prepared.change.widening)
    assert len(server.written) == before
