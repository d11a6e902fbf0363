"""What changes in a mesh that is at work: rules, keys, versions. Nobody who may has to notice."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from meshward.tokens.keys import make_key
from tests.mesh.lab import Call, Lab
from tests.mesh.load import loaded
from tests.mesh.rendered import Mesh, placed
from tests.mesh.test_decisions import INFER, PATH, POLICY


@pytest.fixture
def mesh(whole_lab: Lab) -> Iterator[Mesh]:
    mesh = Mesh.of(whole_lab, placed(POLICY))
    mesh.start()
    yield mesh
    whole_lab.reset()


def test_a_permission_that_is_given_and_taken_costs_no_other_request(mesh: Mesh) -> None:
    describe = Call("GET", "/v1/models", mesh.mint.token("chat.describe"))
    without: dict[str, Any] = copy.deepcopy(POLICY)
    without["grants"] = [grant for grant in without["grants"] if grant["id"] != "d"]
    with loaded(
        lambda: mesh.through_edge("chat", "v1", Call("POST", PATH, mesh.mint.token(INFER))).status
    ) as load:
        for _ in range(3):
            for policy, status in ((without, 403), (POLICY, 200)):
                mesh.change(placed(policy))
                assert mesh.ask("chat", "v1", describe).status == status
                mesh.lab.drained()
                assert mesh.through_edge("chat", "v1", describe).status == status
                load.go_on()
    assert set(load.seen) == {200}, load.seen


def test_token_keys_follow_one_another_without_a_failed_request(mesh: Mesh) -> None:
    first = mesh.mint

    def ask() -> int | None:
        return mesh.through_edge("chat", "v1", Call("POST", PATH, mesh.mint.token(INFER))).status

    with loaded(ask) as load:
        for _ in range(3):
            following = make_key()
            mesh.mint = replace(mesh.mint, key=mesh.mint.following, following=following)
            load.go_on()  # the sidecars know the new key, for it came next; and not yet the one after it
            mesh.given = replace(mesh.given, keys=mesh.mint.jwks)
            mesh.change(mesh.plan)
            mesh.lab.drained()  # on the edge's open connections as well: then that one may be signed with
    assert set(load.seen) == {200}, load.seen
    assert mesh.through_edge("chat", "v1", Call("POST", PATH, first.token(INFER))).status == 401


def test_a_key_that_nobody_has_refuses_every_token(mesh: Mesh) -> None:
    """Without keys we render one: an empty set would end every later change at the sidecars."""
    mesh.given = replace(mesh.given, keys=())
    mesh.change(mesh.plan)
    mesh.lab.drained()
    call = Call("POST", PATH, mesh.mint.token(INFER))
    assert mesh.through_edge("chat", "v1", call).status == 401
    assert mesh.through_edge("chat", "v1", replace(call, token=None)).status == 403


def test_istiod_that_is_gone_opens_and_shuts_nothing(mesh: Mesh) -> None:
    call = Call("POST", PATH, mesh.mint.token(INFER))
    with mesh.lab.istiod.gone():
        assert mesh.through_edge("chat", "v1", call).status == 200
        assert mesh.through_edge("chat", "v1", replace(call, token=None)).status == 403
    without: dict[str, Any] = copy.deepcopy(POLICY)
    without["grants"] = [grant for grant in without["grants"] if grant["id"] == "d"]
    mesh.change(placed(without))
    mesh.lab.drained()
    assert mesh.through_edge("chat", "v1", call).status == 403
