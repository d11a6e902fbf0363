"""What the edge depends on goes away, hangs or is stormed: nothing opens, nothing old is used for long (K10-K14)."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from meshward.testing.issuer import Issuer
from tests.hardening.conftest import KeyServer
from tests.stack.faultproxy import FaultProxy, before
from tests.stack.live import raise_epoch
from tests.stack.running import Reply, Stack, eventually

PUBLIC = "/m/m.1/v1/public"


def test_k10_without_the_decision_service_a_permit_ends_with_its_time(stack: Stack, ann: str) -> None:
    """Dead, and nobody there to start it again: what was decided holds for seconds, all else is refused."""
    eve = stack.issuer.token("eve", ["others"])
    assert stack.call("GET", PUBLIC, ann).status == 200
    dead = stack.processes()["decide"]
    os.kill(stack.process.pid, signal.SIGSTOP)  # the supervisor
    try:
        os.kill(dead, signal.SIGKILL)
        others = (
            ("GET", PUBLIC, eve),
            ("POST", PUBLIC, ann),
            ("GET", "/m/mx1/v1/public", ann),
            ("GET", PUBLIC, None),
        )
        assert [stack.call(*other).status for other in others] == [503] * 4
        statuses = set[int]()

        def refused() -> bool:
            """Each worker remembers by itself: several in a row speak for all of them."""
            row = {stack.call("GET", PUBLIC, ann).status for _ in range(8)}
            statuses.update(row)
            return row == {503}

        eventually(refused, what="the end of what was decided")
        assert statuses <= {200, 503}
    finally:
        os.kill(stack.process.pid, signal.SIGCONT)
    # About somebody whom no worker remembers: what one remembers says nothing of the service.
    eventually(
        lambda: (
            stack.call("GET", PUBLIC, stack.issuer.token(secrets.token_hex(4), ["team.io"])).status == 200
        ),
        what="the decision service's return",
    )
    assert {each.target for each in stack.taken()} == {"/v1/public"}


def test_k11_a_slow_decision_refuses_and_holds_up_nobody_else(stack: Stack, ann: str) -> None:
    assert stack.call("GET", PUBLIC, ann).status == 200
    with before(stack.run / "decide" / "decide.sock") as proxy:
        eventually(lambda: _is_asked(stack, proxy), what="the end of connections that are not the proxy's")
        for mode in ("delay 60000", "blackhole", "refuse"):
            proxy.mode = "pass"
            eventually(
                lambda: stack.call("GET", PUBLIC, ann).status == 200, what=f"decisions before `{mode}`"
            )
            stack.taken()
            proxy.mode = mode
            _refused_unasked(stack, mode)
            assert stack.taken() == [], mode
            warm = stack.call("GET", PUBLIC, ann)
            assert warm.status in (200, 503) and len(stack.taken()) == (warm.status == 200), mode
    eventually(lambda: stack.call("GET", PUBLIC, ann).status == 200, what="decisions")


def _is_asked(stack: Stack, proxy: FaultProxy) -> bool:
    """Whether questions go through the proxy by now, not by connections that the edge had kept."""
    time.sleep(4.1)  # the edge keeps a connection for four idle seconds, and each question begins them anew
    proxy.mode = "refuse"
    return stack.call("GET", PUBLIC, stack.issuer.token(secrets.token_hex(4), ["team.io"])).status == 503


def _refused_unasked(stack: Stack, mode: str) -> None:
    """Four callers at once about whom nothing is decided yet: the edge waits for no answer, though one would come."""
    tokens = [stack.issuer.token(secrets.token_hex(4), ["team.io"]) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda token: stack.call("GET", PUBLIC, token).status, tokens))
    assert statuses == [503] * 4, mode


def test_k12_known_keys_outlive_the_issuers_outage_and_of_unknown_ones_nobody_knows(
    stack: Stack, remote: KeyServer
) -> None:
    token = remote.token("rae")
    eventually(lambda: stack.call("GET", PUBLIC, token).status == 200, what="the remote issuer's keys")
    for mode in ("refuse", "blackhole"):
        remote.proxy.mode = mode
        try:
            raise_epoch(stack)
            assert _decided(stack, remote.token("rae")).status == 200, mode
            eventually(
                lambda: _nobody_knows(stack, remote), what=f"the word of the decision service ({mode})"
            )
        finally:
            remote.proxy.mode = "pass"


def _decided(stack: Stack, token: str) -> Reply:
    """The answer, once there is a decision: on a busy machine the edge may have waited too long for one."""

    def answer() -> Reply | None:
        reply = stack.call("GET", PUBLIC, token)
        waited = reply.status == 503 and reply.json["error"]["code"] == "decision_unavailable"
        return None if waited else reply

    decided = eventually(answer, what="a decision")
    assert decided
    return decided


def _nobody_knows(stack: Stack, remote: KeyServer) -> bool:
    """Whether it was said why: on a busy machine the edge may have waited too long for that, and refuses as well."""
    refused = stack.call("GET", PUBLIC, remote.token("rae", kid=secrets.token_hex(8), signer=Issuer()))
    assert refused.status == 503 and refused.headers["retry-after"], refused
    return bool(refused.json["error"]["code"] == "issuer_keys_unavailable")


def test_k12_killed_while_the_issuer_is_down_the_decision_service_goes_on_with_its_keys(
    stack: Stack, remote: KeyServer
) -> None:
    """And so does a whole instance that is killed: what root fetched lies in STATE, where no hop can write."""
    kept = stack.state / "issuer-keys.json"

    def knows_who_signs() -> bool:
        return kept.exists() and "remote" in json.loads(kept.read_text())["issuers"]

    eventually(knows_who_signs, what="the kept keys")
    assert kept.stat().st_mode & 0o077 == 0 and kept.stat().st_uid == os.geteuid()
    handed = stack.run / "given" / "decide" / "issuer-keys.json"
    assert handed.read_bytes() and handed.stat().st_uid == os.geteuid() and handed.stat().st_mode & 0o022 == 0
    assert handed.parent.stat().st_uid == os.geteuid()
    remote.proxy.mode = "refuse"
    try:
        dead = stack.processes()["decide"]
        os.kill(dead, signal.SIGKILL)
        eventually(lambda: stack.processes().get("decide") not in (None, dead), what="another one")
        eventually(lambda: stack.call("GET", PUBLIC, remote.token("rae")).status != 503, what="an answer")
        assert stack.call("GET", PUBLIC, remote.token("rae")).status == 200
        stranger = remote.token("rae", signer=Issuer())
        assert stack.call("GET", PUBLIC, stranger).status == 401
    finally:
        remote.proxy.mode = "pass"


def test_k13_a_new_key_is_taken_with_one_fetch_and_no_good_request_is_refused(
    stack: Stack, remote: KeyServer
) -> None:
    second = Issuer()
    old, new = remote.token("rae"), remote.token("rae", kid="second", signer=second)
    eventually(lambda: stack.call("GET", PUBLIC, new).status == 401, what="the issuer's answer")
    remote.publish(first=remote.signer, second=second)
    asked = remote.asked

    def taken() -> bool:
        assert stack.call("GET", PUBLIC, old).status == 200
        return stack.call("GET", PUBLIC, new).status == 200

    eventually(taken, what="the new key")
    assert remote.asked - asked <= 1
    assert stack.call("GET", PUBLIC, old).status == 200


def test_k14_a_thousand_tokens_with_random_keys_cause_few_fetches(
    stack: Stack, remote: KeyServer, ann: str
) -> None:
    """From an address of their own, as many as the edge lets through: the issuer is asked some times, ann is served."""
    stranger = Issuer()
    tokens = [remote.token("x", kid=secrets.token_hex(8), signer=stranger) for _ in range(1000)]
    asked = remote.asked
    good, bad = [], Counter[str]()
    with ThreadPoolExecutor(4) as pool:
        flood = [pool.submit(_flood, stack, tokens[n::4], f"127.0.0.{n + 2}") for n in range(4)]
        while not all(each.done() for each in flood):
            good.append(stack.call("GET", PUBLIC, ann).status)
        for each in flood:
            bad += each.result()
    assert set(good) == {200} and len(good) >= 3
    asked_about = bad["401"] + bad["503"]
    assert sum(bad.values()) == 1000 and set(bad) <= {"401", "429", "503"} and asked_about >= 400, bad
    assert remote.asked - asked <= asked_about // 40, "as many fetches as are allowed, however many names"


def _flood(stack: Stack, tokens: list[str], source: str) -> Counter[str]:
    """Each token in a request, all of them on one connection."""
    statuses: Counter[str] = Counter()
    plain = socket.create_connection(("127.0.0.1", stack.port), timeout=60, source_address=(source, 0))
    with stack.tls().wrap_socket(plain, server_hostname=stack.hostname) as tls, tls.makefile("rb") as stream:
        for token in tokens:
            head = f"GET {PUBLIC} HTTP/1.1\r\nHost: {stack.hostname}\r\nAuthorization: Bearer {token}\r\n\r\n"
            tls.sendall(head.encode())
            statuses[stream.readline().split()[1].decode()] += 1
            length = 0
            while (line := stream.readline().lower()) != b"\r\n":
                length = int(line.split(b":")[1]) if line.startswith(b"content-length:") else length
            stream.read(length)
    return statuses
