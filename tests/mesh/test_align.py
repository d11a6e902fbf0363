"""`meshward align` on a cluster that runs: silent where it says what the policy says, and else naming the object."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.mesh.lab import Lab, Workload
from tests.mesh.rendered import Mesh, placed
from tests.mesh.test_decisions import POLICY
from tests.mesh.test_whole import SITE

Json = dict[str, Any]
OURS = {"app": "chat"}


@pytest.fixture(scope="module")
def mesh(whole_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = Mesh.of(whole_lab, placed(POLICY, SITE))
    mesh.start()
    yield mesh
    whole_lab.reset()


@pytest.fixture
def align(mesh: Mesh, tmp_path: Path) -> Any:
    """Runs the command; returns its exit code and its findings."""
    files = {
        "policy.yaml": POLICY,
        "site.yaml": {"version": 1, **SITE},
        "keys.json": {"keys": mesh.mint.jwks},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    policy, site, keys = (str(tmp_path / name) for name in files)
    command = [
        sys.executable, "-m", "meshward", "align", policy, "--site", site, "--keys", keys,
        "--target", "istio", "--kubeconfig", str(mesh.lab.kubeconfig), "--json",
    ]  # fmt: skip

    def run() -> tuple[int, list[Json]]:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 11), done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout)["findings"]

    return run


@dataclass(frozen=True)
class Drift:
    """`put`: an object of somebody else's; or `of`: the kind and name of one of ours, as `edit` leaves it."""

    name: str
    put: Json | None = None
    of: tuple[str, str] = ("", "")
    edit: Callable[[Json], object] = lambda _: None


def policy_(
    name: str, spec: Json, kind: str = "AuthorizationPolicy", namespace: str = "models", **meta: Any
) -> Json:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **meta},
        "spec": spec,
    }


def network(kind: str, name: str, spec: Json, namespace: str = "models") -> Json:
    version = "v1alpha3" if kind == "EnvoyFilter" else "v1"
    return {
        "apiVersion": f"networking.istio.io/{version}",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


SELECTED = {"selector": {"matchLabels": OURS}}
FORGED = {
    "issuer": "https://models.test",
    "audiences": ["cluster.local"],
    "jwks": json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k",
                                  "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                                  "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}),
    "fromHeaders": [{"name": "txn-token"}],
}  # fmt: skip
DRIFTS = [
    Drift("a foreign ALLOW", policy_("theirs", {
        **SELECTED, "rules": [{"from": [{"source": {"namespaces": ["jobs"]}}]}]})),
    Drift("a rule without a condition", policy_("theirs", {**SELECTED, "rules": [{}]})),
    Drift("notValues", policy_("theirs", {**SELECTED, "rules": [
        {"when": [{"key": "request.auth.claims[sub]", "notValues": ["x"]}]}]})),
    Drift("PERMISSIVE", policy_("theirs", {**SELECTED, "mtls": {"mode": "PERMISSIVE"}}, "PeerAuthentication")),
    Drift("a port without mTLS", policy_("theirs", {
        **SELECTED, "mtls": {"mode": "STRICT"}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}}, "PeerAuthentication")),
    Drift("forged tokens", policy_("theirs", {**SELECTED, "jwtRules": [FORGED]}, "RequestAuthentication")),
    Drift("a dry run", of=("AuthorizationPolicy", "mw-chat.v1"),
          edit=lambda ours: ours["metadata"]["annotations"].update({"istio.io/dry-run": "true"})),
    Drift("a selector that matches nothing", of=("AuthorizationPolicy", "mw-chat.v1"),
          edit=lambda ours: ours["spec"]["selector"]["matchLabels"].update(app="chta")),
    Drift("another permission", of=("AuthorizationPolicy", "mw-chat.v1"),
          edit=lambda ours: ours["spec"]["rules"][0]["when"][0]["values"].append("embed.infer")),
    Drift("a template in place of a path", of=("AuthorizationPolicy", "mw-chat.v1"),
          edit=lambda ours: ours["spec"]["rules"][0]["to"][0]["operation"]["paths"].append("/v1/{*}")),
    Drift("a stale key", of=("RequestAuthentication", "mw-tokens"),
          edit=lambda ours: ours["spec"]["jwtRules"][0].update(jwks=FORGED["jwks"])),
    Drift("an EnvoyFilter in the chain", network("EnvoyFilter", "theirs", {
        "workloadSelector": {"labels": OURS},
        "configPatches": [{
            "applyTo": "HTTP_FILTER",
            "match": {"context": "SIDECAR_INBOUND", "listener": {"filterChain": {"filter": {
                "name": "envoy.filters.network.http_connection_manager",
                "subFilter": {"name": "envoy.filters.http.rbac"}}}}},
            "patch": {"operation": "REMOVE"}}]})),
    Drift("a service that leads elsewhere", of=("VirtualService", "mw-chat.service"),
          edit=lambda ours: ours["spec"]["http"][0]["route"][0]["destination"].update(
              host="embed.other.svc.cluster.local")),
    Drift("no mTLS to it", network("DestinationRule", "theirs", {
        "host": "chat.models.svc.cluster.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}})),
]  # fmt: skip


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.name)
def test_it_names_what_somebody_did(mesh: Mesh, align: Any, drift: Drift) -> None:
    """In words that name the object by which it is so."""
    ours = [given for given in mesh.objects() if (given["kind"], given["metadata"]["name"]) == drift.of]
    edited = drift.put or copy.deepcopy(ours[0])
    drift.edit(edited)
    mesh.lab.apply([edited])
    try:
        code, findings = align()
    finally:
        mesh.lab.delete([edited])
        mesh.lab.apply(ours)
    assert code == 11
    assert any(edited["metadata"]["name"] in json.dumps(each) for each in findings), findings


def test_it_names_a_pod_without_a_sidecar(mesh: Mesh, align: Any) -> None:
    bare: Json = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bare", "namespace": "models", "labels": OURS},
        "spec": {"containers": [{"name": "server", "image": "server.invalid/server"}]},
    }
    mesh.lab.apply([bare])
    mesh.lab.api.set_status(
        bare, {"phase": "Running", "podIP": "10.244.9.9", "podIPs": [{"ip": "10.244.9.9"}]}
    )
    code, findings = align()
    assert code == 11 and any("bare" in json.dumps(finding) for finding in findings), findings
    mesh.lab.delete([bare])


def test_it_is_silent_about_what_we_render(mesh: Mesh, align: Any) -> None:
    """Also after all that the tests before have put right again."""
    assert align() == (0, [])


def test_it_names_whoever_may_use_the_edges_name(mesh: Mesh, align: Any) -> None:
    stranger = Workload("other-0", "edge", "nginx", {"app": "other"}, sees=("models/*",))
    mesh.lab.start(stranger)
    code, findings = align()
    assert code == 11 and any("nginx" in json.dumps(finding) for finding in findings), findings
