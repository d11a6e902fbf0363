"""Mutual TLS with the guards, and certificates that change under load without a reload."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator

import pytest
from edge_harness import DOMAIN, GUARDS, HOST, Client, Edge, Server, permit
from nginx_pki import Pki

from meshward.testing.waiting import eventually


def _ask(edge: Edge, slot: int, name: str) -> int:
    edge.decision.answer = lambda _: permit(mw_route=f"1000|1 {slot:02d} {name}")
    edge.bump()
    return edge.request("GET", "/m/minilm/a").status


@pytest.fixture
def extra(edge: Edge) -> Iterator[Server]:
    """A guard on a slot that was never used: nginx met neither its name nor its socket when it started."""
    server = Server(edge.loop, edge.base / "05.sock")
    yield server
    server.stop()


def test_a_guard_on_a_new_slot_serves_without_a_reload(edge: Edge, extra: Server) -> None:
    extra.context = edge.pki.guard_context(f"v1.new.{DOMAIN}")
    assert _ask(edge, 5, f"v1.new.{DOMAIN}") == 502
    extra.start()
    assert _ask(edge, 5, f"v1.new.{DOMAIN}") == 200
    assert [r.get("Host") for r in extra.received] == [f"v1.new.{DOMAIN}"]


def test_a_guard_must_have_the_name_that_the_decision_says(edge: Edge, extra: Server) -> None:
    extra.context = edge.pki.guard_context(f"v1.other.{DOMAIN}")
    extra.start()
    assert _ask(edge, 5, GUARDS[0]) == 502
    assert extra.received == []


def test_a_guard_of_another_authority_is_refused(edge: Edge, extra: Server) -> None:
    stranger = Pki().guard_context(GUARDS[0])
    stranger.verify_mode = ssl.CERT_NONE
    extra.context = stranger
    extra.start()
    assert _ask(edge, 5, GUARDS[0]) == 502
    assert extra.received == []


def test_a_guard_without_tls_or_with_an_old_one_gets_nothing(edge: Edge, extra: Server) -> None:
    extra.start()
    assert _ask(edge, 5, GUARDS[0]) in (502, 504)
    extra.stop()
    extra.context = edge.pki.guard_context(GUARDS[0])
    extra.context.minimum_version = extra.context.maximum_version = ssl.TLSVersion.TLSv1_2
    extra.start()
    assert _ask(edge, 5, GUARDS[0]) == 502
    assert extra.received == []


def test_new_certificates_are_used_by_the_next_handshake_on_both_sides(edge: Edge) -> None:
    def serials() -> tuple[int, str]:
        edge.guard.stop()
        edge.guard.start()  # the next request opens a new connection
        edge.guard.received.clear()
        with edge.client() as client:
            assert client.request("GET", "/m/minilm/a").status == 200
            peer = edge.guard.received[0].peer
            assert peer
            return client.serial, str(peer["serialNumber"])

    before = serials()
    edge.rotate()
    after = serials()
    assert before[0] != after[0] and before[1] != after[1]


def test_certificates_change_under_load_and_nobody_notices(edge: Edge) -> None:
    stop, problems, done = threading.Event(), [], [0, 0]

    def load(keep: bool) -> None:
        client: Client | None = None
        while not stop.is_set():
            try:
                client = client if keep and client else edge.client()
                assert client.request("GET", "/m/minilm/a").status == 200
                done[keep] += 1
                if not keep:
                    client.socket.close()
            except (OSError, AssertionError) as error:
                problems.append(error)
                client = None

    threads = [threading.Thread(target=load, args=(keep,)) for keep in (False, False, True)]
    for thread in threads:
        thread.start()
    serials = set()
    for _ in range(15):
        edge.rotate()
        before = sum(done)
        eventually(lambda b=before: sum(done) > b + 20)  # type: ignore[misc]
        with edge.client() as client:
            serials.add(client.serial)
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(serials) == 15 and min(done) > 50


@pytest.mark.parametrize("pointer", [None, "", "x", "1\n2", "../1", "999999"])
def test_without_its_pointer_no_handshake_succeeds(edge: Edge, pointer: str | None) -> None:
    path = edge.run / "generation"
    for name in ("web", "edge"):  # files that such pointers would name, were they believed
        for decoy in filter(None, (pointer, "")):
            if "/" not in decoy and not decoy.isdigit():
                edge.put(
                    f"certs/{name}.{decoy}.pem",
                    (edge.run / f"certs/{name}.{edge.generation}.pem").read_bytes(),
                )
    with edge.client() as client:
        if pointer is None:
            path.unlink()
        else:
            edge.put("generation", pointer)
        with pytest.raises(OSError):
            edge.client()
        edge.guard.stop()
        edge.guard.start()
        refused = client.request("GET", "/m/minilm/a")
        assert (refused.status, refused.json()["layer"]) == (502, "guard")
        assert edge.seen() == []
    edge.rotate()
    assert edge.request("GET", "/m/minilm/a").status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(edge: Edge, version: ssl.TLSVersion) -> None:
    import socket
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.load_verify_locations(edge.run / "certs/root.pem")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
    with socket.create_connection(("127.0.0.1", edge.port)) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname=HOST)
