"""Mutual TLS with the guards, and certificates that change under load without a reload."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator

import pytest
from edge_harness import DOMAIN, GUARDS, HOST, Client, Edge, Server, permit, running
from nginx_pki import Pki

from meshward.apply.edge_page import page_bytes
from meshward.testing.waiting import eventually


def _ask(edge: Edge, slot: int, name: str) -> int:
    edge.decision.answer = lambda _: permit(mw_route=f"1000|1 {slot:02d} {name}")
    edge.bump()
    return edge.request("GET", "/m/minilm/a").status


def decided(status: int) -> int:
    """Nothing where an edge that is in a hurry did not even wait for the decision."""
    return 0 if status == 503 else status


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


def test_a_guard_without_tls_gets_nothing() -> None:
    """It takes the handshake for the beginning of a request, and waits for the rest: nginx gives it up."""
    with running(patient=False) as edge:
        server = Server(edge.loop, edge.base / "05.sock")
        server.start()
        answered = eventually(lambda: decided(_ask(edge, 5, GUARDS[0])), what="an answer behind a decision")
        assert answered in (502, 504)
        server.stop()
        assert server.received == []


def test_a_guard_with_an_old_tls_gets_nothing(edge: Edge, extra: Server) -> None:
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
    eventually(lambda: min(done) > 50, what="traffic of each kind")
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(serials) == 15


_NO_GENERATIONS = {
    "cut": page_bytes(9, 1)[:-1],
    "none": page_bytes(9, 0),
    "without files": page_bytes(9, 999_999),
    "too large": page_bytes(9, 2**64 - 1),
}


@pytest.mark.parametrize("page", [*_NO_GENERATIONS, None])
def test_without_its_generation_no_handshake_succeeds(edge: Edge, page: str | None) -> None:
    with edge.client() as client:
        if page is None:
            edge.page.path.unlink()
        else:
            edge.put("page", _NO_GENERATIONS[page])
        with pytest.raises(OSError):
            edge.client()
        edge.guard.stop()
        edge.guard.start()
        refused = client.request("GET", "/m/minilm/a")
        assert refused.status in (502, 503)
        assert edge.seen() == []
    edge.epoch += 10
    edge.put("page", page_bytes(edge.epoch, edge.generation))
    assert edge.request("GET", "/m/minilm/a").status == 200


def test_a_certificate_that_cannot_be_read_is_replaced_by_no_other(edge: Edge) -> None:
    """Not by that of the generation before, and not by the one that stands in nginx's file."""
    edge.put(f"certs/web.{edge.generation + 1}.pem", "no certificate")
    edge.page.show(edge.generation + 1)
    with pytest.raises(OSError):
        edge.client()
    edge.page.show(edge.generation)
    assert edge.request("GET", "/m/minilm/a").status == 200


def test_a_generation_is_parsed_once_by_a_worker() -> None:
    """Its file may go: the next handshakes need it no more."""
    with running() as edge:
        (edge.run / f"certs/web.{edge.generation}.pem").unlink()
        for _ in range(3):
            assert edge.request("GET", "/m/minilm/a").status == 200


def test_handshakes_are_limited_per_address() -> None:
    with running(handshake_rate=1, handshake_burst=5) as edge:
        outcomes = []
        for _ in range(20):
            try:
                with edge.client():
                    outcomes.append(True)
            except OSError:
                outcomes.append(False)
        assert outcomes[0] and not all(outcomes)
        with edge.client(source="127.0.0.2") as other:
            assert other.request("GET", "/m/minilm/a").status == 200


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
