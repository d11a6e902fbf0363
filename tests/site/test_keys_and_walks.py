"""What an instance does not do by itself where hops are not its own, and how a walk there is watched."""

from __future__ import annotations

import json
import threading

import pytest

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.policy.site import site_to_json
from meshward.testing.waiting import eventually
from meshward.tokens.key_store import load
from tests.site.conftest import GuardElsewhere, SidecarStandIn, go, service, site_of
from tests.stack.asking import ask
from tests.stack.live import apply, policy_of
from tests.stack.load import at_work
from tests.stack.running import Stack


def rotate(stack: Stack, what: str, **more: object) -> dict[str, object]:
    told: dict[str, object] = ask(stack.state, {"do": "rotate", "what": what, **more}, lambda _: None)
    return told


def test_a_key_signs_only_once_hops_elsewhere_were_given_it(
    stack: Stack, sidecar: SidecarStandIn, alice: str
) -> None:
    go(stack, site_of(m1={"v1": service(sidecar.port)}))
    keys = load(stack.state / "keys")
    for given in ("", keys.current.kid):
        with pytest.raises(MeshwardError) as refused:
            rotate(stack, "signing-key", given=given)
        assert refused.value.code == codes.KEY_NOT_GIVEN and keys.next.kid in refused.value.message
    assert load(stack.state / "keys") == keys
    rotate(stack, "signing-key", given=keys.next.kid)
    assert load(stack.state / "keys").current.kid == keys.next.kid
    assert stack.call("GET", "/m/m1/v1/public", alice).status == 200


def test_a_root_is_not_replaced_behind_the_back_of_a_guard_elsewhere(
    stack: Stack, guard: GuardElsewhere
) -> None:
    go(stack, site_of(m1={"v1": {"guard": guard.address}}))
    with pytest.raises(MeshwardError) as refused:
        rotate(stack, "ca", root=True)
    assert refused.value.code == codes.ROOT_NOT_GIVEN


def test_on_one_machine_keys_go_on_as_ever(stack: Stack, alice: str) -> None:
    go(stack, site_of())
    rotate(stack, "signing-key")
    assert stack.call("GET", "/m/m1/v1/public", alice).status == 200


@pytest.mark.parametrize(("fails", "came"), [(False, "arrived at 100%"), (True, "walked back at 50%")])
def test_a_walk_to_a_version_elsewhere_is_watched_by_what_the_edge_tells(
    stack: Stack, sidecar: SidecarStandIn, alice: str, fails: bool, came: str
) -> None:
    text = json.loads(stack.policy.read_text())
    text["models"]["m1"]["versions"]["v2"] = {"server": "twofaced", "url": "http://127.0.0.1:9"}
    text["models"]["m1"]["traffic"] = {"v1": 100, "v2": 0}
    site = site_of(m1={"v2": service(sidecar.port)})
    apply(stack, policy_of(text), site=site_to_json(site), allow=["widening"])
    sidecar.status = 503 if fails else 200
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            stack.call("GET", "/m/m1/v1/public", alice)

    try:
        with at_work(stop, call):
            walk = {
                "do": "traffic",
                "model": "m1",
                "version": "v2",
                "steps": [50, 100],
                "every": 2,
                "least": 5,
            }
            ask(stack.state, walk, lambda _: None)
            told = eventually(
                lambda: said if came in (said := stack.command("traffic", "m1").stdout) else None,
                what=f"a walk that ends: {came}",
            )
    finally:
        sidecar.status = 200
    assert ("v1" in told) and came in told
