"""Straight to a guard or a model, past the edge: by certificate, by token, by socket."""

from __future__ import annotations

import os
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from meshward.spiffe.ca import load_or_create
from meshward.spiffe.ids import SpiffeId
from meshward.tokens.keys import make_key
from tests.stack.inside import Inside, knock
from tests.stack.running import Reply, Stack


def _public(stack: Stack, inside: Inside, **over: Any) -> Reply | None:
    kwargs: dict[str, Any] = {"svid": inside.svid(), "txn": inside.txn("m1.infer"), **over}
    return knock(stack.guard("m1"), stack.instance.root_certificate, "GET", "/v1/public", **kwargs)


def test_the_edges_certificate_and_a_good_token_pass(stack: Stack, inside: Inside, alice: str) -> None:
    """The control: without it the refusals below would prove nothing."""
    reply = _public(stack, inside)
    assert reply is not None and reply.status == 200, reply
    assert len(stack.taken()) == 1


def test_certificates(stack: Stack, inside: Inside, alice: str, tmp_path: Path) -> None:
    domain, now = stack.instance.trust_domain, datetime.now(UTC)
    other = load_or_create(tmp_path / "ca", domain)  # the same names, another root
    foreign = load_or_create(tmp_path / "foreign", "other.test")
    wrong = {
        "none": None,
        "another root": other.issue(SpiffeId(domain, "/edge"), None, now),
        "another trust domain": foreign.issue(SpiffeId("other.test", "/edge"), None, now),
        "another model of ours": inside.svid("/model/m2"),
        "this model itself": inside.svid("/model/m1"),
        "a longer name": inside.svid("/edge/x"),
        "another case": inside.svid("/Edge"),
        "expired": inside.authority.issue(SpiffeId(domain, "/edge"), None, now - timedelta(hours=2)),
        "the edge's server certificate": inside.authority.issue_web("models.test", now),
    }
    for what, svid in wrong.items():
        assert _public(stack, inside, svid=svid) is None, what
    assert stack.taken() == []


def test_transaction_tokens(stack: Stack, inside: Inside, alice: str) -> None:
    """With the edge's own certificate: only a live token of this edge, this model and this permission.

    The trust domain goes with the edge's host name and key, which nobody else has.
    """
    now = time.time()
    head, payload, signature = inside.txn("m1.infer").split(".")
    wrong = {
        "none": None,
        "garbage": "x.y.z",
        "of another model": inside.txn("m2.infer"),
        "of another model, renamed": inside.txn("m2.infer", model="m1"),
        "of another permission": inside.txn("m1.manage"),
        "expired": inside.txn("m1.infer", now=now - 120),
        "for the trust domain and no permission": inside.txn(stack.instance.trust_domain),
        "for a permission with a longer name": inside.txn("m1.infer.m1.infer"),
        "of another trust domain": inside.txn(
            "m1.infer", audience="other.test", issuer="https://other.test", key=make_key()
        ),
        "of another issuer": inside.txn("m1.infer", issuer="https://evil.test"),
        "by another key": inside.txn("m1.infer", key=make_key()),
        "without a signature": f"{head}.{payload}.",
        "altered": f"{head}.{payload[:-2]}AA.{signature}",
        "a person's token": stack.issuer.token("alice", ["users"]),
    }
    for what, token in wrong.items():
        reply = _public(stack, inside, txn=token)
        assert reply is not None and reply.status in (401, 403), (what, reply)
    assert stack.taken() == []


def test_headers_do_not_stand_in_for_a_token(stack: Stack, inside: Inside, alice: str) -> None:
    bearer = {"Authorization": f"Bearer {inside.txn('m1.infer')}"}
    reply = _public(stack, inside, txn=None, headers=bearer)
    assert reply is not None and reply.status == 401, reply
    path = f"/v1/public?access_token={inside.txn('m1.infer')}"
    root = stack.instance.root_certificate
    reply = knock(stack.guard("m1"), root, "GET", path, svid=inside.svid(), txn=None)
    assert reply is not None and reply.status == 401, reply
    assert stack.taken() == []


def test_a_transaction_token_never_passes_the_edge_from_outside(
    stack: Stack, inside: Inside, alice: str
) -> None:
    stolen = {"Txn-Token": inside.txn("m1.manage")}
    assert stack.call("GET", "/m/m1/v1/secret", alice, headers=stolen).status == 403
    assert stack.call("GET", "/m/m1/v1/secret", None, headers=stolen).status == 401
    assert stack.call("GET", "/m/m1/v1/public", alice, headers=stolen).status == 200
    arrived = stack.taken()
    assert [each.target for each in arrived] == ["/v1/public"]
    for name in ("txn-token", "authorization", "x-forwarded-client-cert", "cookie", "x-forwarded-for"):
        assert arrived[0].header(name) == [], name


def test_another_uid_opens_no_socket(stack: Stack) -> None:
    if os.geteuid() != 0:
        pytest.skip("not run: only root may try as another uid")
    guard = stack.guard("m1")
    doors = [guard.socket, guard.url.removeprefix("unix:"), str(Path(guard.socket).with_name("admin.sock"))]
    doors += [str(stack.run / "decide" / "decide.sock"), str(stack.run / "edge" / "cold.sock")]
    for door in doors:
        assert Path(door).exists(), door
        tried = subprocess.run(
            ["/usr/bin/test", "-w", door], user=65533, group=65533, extra_groups=[65533], check=False
        )
        assert tried.returncode != 0, f"uid 65533 may open {door}"
