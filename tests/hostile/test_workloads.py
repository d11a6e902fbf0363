"""Workloads with their SVID as client certificate, through the whole instance; and everybody else's certificates."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshward.spiffe.ca import LeafCredential, load_or_create
from meshward.spiffe.ids import SpiffeId
from tests.stack.inside import Inside
from tests.stack.running import Reply, Stack, eventually

PUBLIC = "/m/m1/v1/public"


def issued(stack: Stack, name: str, out: Path, *options: str) -> Path:
    """By the command, as an operator does."""
    done = subprocess.run(
        [sys.executable, "-m", "meshward", "svid", name, "--out", str(out), "--state", str(stack.state), *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out / "svid.pem"


@pytest.fixture
def scorer(stack: Stack, tmp_path: Path) -> Path:
    stack.taken()
    return issued(stack, "scorer", tmp_path / "scorer")


def kept(credential: LeafCredential, tmp_path: Path) -> Path:
    file = tmp_path / f"{credential.serial}.pem"
    file.write_text(credential.key_and_chain().reveal())
    return file


def ask(stack: Stack, certificate: Path | None, path: str = PUBLIC, token: str | None = None) -> Reply | None:
    """None: refused by the handshake."""
    try:
        return stack.call("GET", path, token, certificate=certificate)
    except (ssl.SSLError, ConnectionError):
        return None


def test_a_workload_is_let_in_and_its_name_is_in_the_record(stack: Stack, scorer: Path) -> None:
    reply = ask(stack, scorer)
    assert reply is not None and reply.status == 200, reply
    (arrived,) = stack.taken()
    assert arrived.target == "/v1/public"
    assert not [name for name, _ in arrived.headers if "cert" in name.lower()]
    for _ in range(2):  # from the cache too
        assert ask(stack, scorer).status == 200  # type: ignore[union-attr]

    def traced() -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-m", "meshward", "trace", reply.request_id, "--json", "--state", str(stack.state)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return json.loads(done.stdout) if "workload:scorer" in done.stdout else {}

    told = eventually(traced, what="the record")
    assert told["agrees"] is True and "x5t" in json.dumps(told)
    assert len(stack.taken()) == 2


def test_a_workload_has_only_its_own_grants(stack: Stack, scorer: Path, tmp_path: Path) -> None:
    idle = issued(stack, "idle", tmp_path / "idle")
    refused = [(scorer, "/m/m1/v1/secret"), (scorer, "/m/m2/v1/public"), (idle, PUBLIC), (None, PUBLIC)]
    for certificate, path in refused:
        reply = ask(stack, certificate, path)
        assert reply is not None and reply.status in (401, 403), (path, reply)
    assert "workload:idle" in (ask(stack, idle) or refused).headers["x-error-message"]  # type: ignore[union-attr]
    assert stack.taken() == []
    assert ask(stack, scorer).status == 200  # type: ignore[union-attr]
    assert len(stack.taken()) == 1


def test_a_certificate_and_a_token_together_are_refused(stack: Stack, scorer: Path, alice: str) -> None:
    """Whoever is meant, either alone is let in."""
    for token in (alice, "junk"):
        reply = ask(stack, scorer, token=token)
        assert reply is not None and reply.status == 401 and b"two_credentials" in reply.body, reply
    assert stack.taken() == []
    assert ask(stack, None, token=alice).status == ask(stack, scorer).status == 200  # type: ignore[union-attr]
    stack.taken()


def test_certificates_that_are_no_workloads(
    stack: Stack, inside: Inside, tmp_path: Path, scorer: Path
) -> None:
    domain, now = stack.instance.trust_domain, datetime.now(UTC)
    own = SpiffeId(domain, "/ns/jobs/sa/scorer")
    other = load_or_create(tmp_path / "ca", domain)
    foreign = load_or_create(tmp_path / "foreign", "other.test")
    wrong = {
        "the edge's own": inside.svid("/edge"),
        "a guard's": inside.svid("/model/m1"),
        "a guard's, with its name": inside.authority.issue(
            SpiffeId(domain, "/model/m1"), "v1.m1.models.test", now
        ),
        "the edge's server certificate": inside.authority.issue_web("models.test", now),
        "no workload of the policy": inside.svid("/ns/jobs/sa/other"),
        "a longer name": inside.svid("/ns/jobs/sa/scorer/x"),
        "another case": inside.svid("/ns/jobs/sa/Scorer"),
        "another root": other.issue(own, None, now),
        "another trust domain": foreign.issue(SpiffeId("other.test", "/ns/jobs/sa/scorer"), None, now),
        "expired": inside.authority.issue(own, None, now - timedelta(hours=2)),
        "not yet valid": inside.authority.issue(own, None, now + timedelta(minutes=10)),
    }
    for what, credential in wrong.items():
        for token in (None, stack.issuer.token("alice", ["users"])):
            reply = ask(stack, kept(credential, tmp_path), token=token)
            assert reply is None or reply.status == 401, (what, reply)
    assert stack.taken() == []


def test_a_permit_ends_with_the_certificate_though_the_connection_goes_on(
    stack: Stack, inside: Inside, tmp_path: Path
) -> None:
    """nginx verified it once, at the handshake: the rest is each decision's work, and the cache's."""
    for life in (3, 12, 48):  # a busy machine may need longer for the first request
        first, late = _asked_until_it_ends(stack, inside, tmp_path, life)
        if first == 200:
            break
    assert first == 200 and late and late <= {401, 429}, (first, late)
    stack.taken()


def _asked_until_it_ends(stack: Stack, inside: Inside, tmp_path: Path, life: int) -> tuple[int, set[int]]:
    """With a certificate of so many seconds, on one connection: the first status, and those after its end."""
    own = SpiffeId(stack.instance.trust_domain, "/ns/jobs/sa/scorer")
    credential = inside.authority.issue(own, None, datetime.now(UTC), timedelta(seconds=life))
    end = credential.not_after.timestamp()
    context = stack.tls()
    context.load_cert_chain(kept(credential, tmp_path))
    seen: list[tuple[float, int]] = []  # when it was asked, and what came
    with stack.connection(context) as connection:
        while not seen or seen[-1][0] < end + 1.5:
            asked = time.time()
            connection.request("GET", PUBLIC, headers={"Host": f"{stack.hostname}:{stack.port}"})
            response = connection.getresponse()
            response.read()
            seen.append((asked, response.status))
    return seen[0][1], {status for at, status in seen if at > end + 0.1}
