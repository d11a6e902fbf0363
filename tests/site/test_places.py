"""A running instance whose versions are elsewhere: what reaches whom, what moves without a reload, what is told."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.spiffe.ca import load_or_create
from tests.site.conftest import NAME, SERVICE, GuardElsewhere, SidecarStandIn, go, service, site_of
from tests.stack.load import at_work
from tests.stack.policies import TRUST_DOMAIN
from tests.stack.running import Stack

EDGE = f"spiffe://{TRUST_DOMAIN}/ns/edge/sa/nginx"


def workers(stack: Stack) -> str:
    """The processes of nginx' workers: a reload would make others."""
    master = stack.processes()["edge"]
    return Path(f"/proc/{master}/task/{master}/children").read_text()


def claims(token: str) -> dict[str, object]:
    part = token.split(".")[1]
    told: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return told


def test_up_starts_no_guard_for_what_is_elsewhere(stack: Stack, sidecar: SidecarStandIn, alice: str) -> None:
    go(stack, site_of(m1={"v1": service(sidecar.port)}))
    assert [guard.model for guard in stack.instance.guards] == ["m2"]
    answer = stack.call("POST", "/m/m1/v1/public", alice, {"a": 1}, {"X-User": "spoofed"})
    assert (answer.status, answer.json) == (200, {"from": "the mesh"})
    ((path, told),) = sidecar.asked
    assert (path, told["host"], told["x-request-id"]) == ("/v1/public", SERVICE, answer.request_id)
    assert not {"authorization", "cookie", "x-user"} & told.keys()
    assert (claims(told["txn-token"])["req_wl"], claims(told["txn-token"])["aud"]) == (
        EDGE,
        [TRUST_DOMAIN, "m1.infer"],
    )
    assert stack.taken() == []
    assert stack.call("GET", "/m/m2/v1/public", alice).status == 200
    assert len(stack.taken()) == 1, "what the site does not place is on this machine"
    assert stack.call("GET", "/m/m1/v1/secret", alice).status == 403 and len(sidecar.asked) == 1


def test_status_and_plan_tell_who_enforces_there(
    stack: Stack, sidecar: SidecarStandIn, guard: GuardElsewhere, tmp_path: Path
) -> None:
    go(stack, site_of(m1={"v1": service(sidecar.port)}))
    told = stack.command("status").stdout
    assert f"m1/v1: service m1-v1.models, port {sidecar.port}" in told
    assert "the mesh enforces: `meshward apply --target istio`" in told
    file = tmp_path / "site.yaml"
    file.write_text(json.dumps({"version": 1, "models": {"m1": {"v1": {"guard": guard.address}}}}))
    planned = stack.command("plan", str(stack.policy), "--site", str(file))
    assert f"m1/v1: guard {guard.address}, by mutual TLS" in planned.stdout
    assert "no proxy is reloaded" in planned.stdout, planned.stderr


def test_a_move_is_a_revision_that_a_rollback_takes_back(
    stack: Stack, sidecar: SidecarStandIn, guard: GuardElsewhere, alice: str
) -> None:
    before = go(stack, site_of(m1={"v1": service(sidecar.port)}))["revision"]
    assert go(stack, site_of(m1={"v1": service(sidecar.port)}))["changed"] is False
    moved = go(stack, site_of(m1={"v1": {"guard": guard.address}}))
    assert any("m1/v1 moves from service" in line for line in moved["lines"])
    guard.model.taken()
    assert stack.call("GET", "/m/m1/v1/public", alice).status == 200
    assert len(guard.model.taken()) == 1 and sidecar.asked == []
    rolled = stack.command("rollback", str(before))
    assert rolled.returncode == 0, rolled.stderr
    assert "not awaited: m1/v1, service m1-v1.models" in rolled.stdout
    assert stack.call("GET", "/m/m1/v1/public", alice).status == 200
    assert len(sidecar.asked) == 1 and guard.model.taken() == []
    changed = stack.command("apply", str(stack.policy))
    assert "Nothing to change" in changed.stdout, "without a site, an apply leaves everything where it is"


def test_a_move_under_load_loses_no_request_and_reloads_nothing(
    stack: Stack, sidecar: SidecarStandIn, guard: GuardElsewhere, alice: str
) -> None:
    """Slot, service, guard elsewhere, and round again; the next request is at the new place."""
    go(stack, site_of())
    before, seen, stop = workers(stack), list[int](), threading.Event()

    def call() -> None:
        while not stop.is_set():
            seen.append(stack.call("POST", "/m/m1/v1/public", alice, {"a": 1}).status)

    places: list[tuple[dict[str, object], Callable[[], int]]] = [
        ({"v1": service(sidecar.port)}, lambda: len(sidecar.asked)),
        ({"v1": {"guard": guard.address}}, lambda: len(guard.model.taken())),
        ({}, lambda: len(stack.models["m1/v1"].taken())),
    ]
    with at_work(stop, call, call):
        for where, arrived in places * 2:
            go(stack, site_of(m1=where) if where else site_of())
            arrived(), sidecar.asked.clear()
            assert stack.call("POST", "/m/m1/v1/public", alice, {"a": 1}).status == 200
            assert arrived() >= 1
    assert seen and set(seen) == {200}
    assert workers(stack) == before


@pytest.mark.parametrize("what", ["another's name", "another authority", "expired", "gone"])
def test_a_guard_elsewhere_that_is_not_itself_is_sent_nothing(
    stack: Stack, guard: GuardElsewhere, alice: str, short_dir: Path, what: str
) -> None:
    go(stack, site_of(m1={"v1": {"guard": guard.address}}))
    stranger = load_or_create(short_dir / "stranger", TRUST_DOMAIN)
    if what == "another's name":
        guard.run(name=f"v1.m2.{TRUST_DOMAIN}")
    elif what == "another authority":
        guard.run(stranger)
    elif what == "expired":
        guard.run(ago=20)
    else:
        guard.stop()
    guard.model.taken()
    answer = stack.call("POST", "/m/m1/v1/public", alice, {"a": 1})
    assert answer.status == 502, answer
    assert answer.json["error"]["code"] == "guard_unavailable"
    assert guard.model.taken() == []
    guard.run()
    assert stack.call("POST", "/m/m1/v1/public", alice, {"a": 1}).status == 200


def test_a_guard_elsewhere_gets_its_svid_by_a_command(
    stack: Stack, guard: GuardElsewhere, short_dir: Path
) -> None:
    go(stack, site_of(m1={"v1": {"guard": guard.address}}))
    issued = stack.command("svid", "m1/v1", "--out", str(short_dir / "svid"))
    assert issued.returncode == 0, issued.stderr
    from cryptography import x509

    leaf = x509.load_pem_x509_certificate((short_dir / "svid" / "chain.pem").read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"spiffe://{TRUST_DOMAIN}/model/m1"]
    refused = stack.command("svid", "m2/v1", "--out", str(short_dir / "svid2"))
    assert refused.returncode == 2 and "no guard `m2/v1` on another machine" in refused.stderr


def test_what_leads_nowhere_changes_nothing(stack: Stack, sidecar: SidecarStandIn, alice: str) -> None:
    go(stack, site_of(m1={"v1": service(sidecar.port)}))
    with pytest.raises(MeshwardError) as refused:
        go(stack, site_of(m1={"v1": {"guard": "no-such-host.invalid:8443"}}))
    assert refused.value.code == codes.PLACE_UNKNOWN
    with pytest.raises(MeshwardError, match="the policy has no `m9`"):
        go(stack, site_of(m9={"v1": {"guard": "10.0.0.1:8443"}}))
    assert stack.call("GET", "/m/m1/v1/public", alice).status == 200
    assert len(sidecar.asked) == 1


def test_a_record_of_it_lacks_no_guards_line(stack: Stack, sidecar: SidecarStandIn, alice: str) -> None:
    """The hop there keeps its own lines, on its own machine."""
    go(stack, site_of(m1={"v1": service(sidecar.port)}))
    rid = stack.call("GET", "/m/m1/v1/public", alice).request_id
    told = json.loads(stack.command("trace", rid, "--json").stdout)
    assert (told["missing"], told["agrees"], told["edge"]["place"]) == (None, True, "near")
    assert "what the mesh did, its own log tells" in stack.command("trace", rid).stdout
