"""Whoever has other rights in the cluster, or forgets an option, widens nothing unseen."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from meshward.cluster.applying import ApplyRequest, apply
from meshward.cluster.preparing import prepare
from meshward.cluster.record import read_record
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
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
