"""Who may knock: the edge's SVID and nobody else's. A refusal is a broken handshake, before any HTTP."""

from __future__ import annotations

import contextlib
import socket
import ssl

import pytest
from guard_harness import EDGE, Guard, running
from guard_pki import Authority, Svid

from meshward.testing.waiting import eventually


def refused(guard: Guard, svid: Svid | None, **limits: ssl.TLSVersion) -> bool:
    """In TLS 1.3 the client learns of a refusal only when it reads."""
    try:
        guard.ask(connection=guard.connect(svid, **limits))
    except (ssl.SSLError, ConnectionError, EOFError):
        return True
    return False


def test_the_edge_is_let_in(guard: Guard) -> None:
    assert guard.ask().status == 200
    assert len(guard.model.seen) == 1


@pytest.mark.parametrize(
    "uris",
    [
        ("spiffe://td.test/model/m.1",),
        ("spiffe://td.test/edge/",),
        ("spiffe://td.test/edge2",),
        ("spiffe://td.test/EDGE",),
        ("spiffe://TD.test/edge",),
        ("spiffe://other.test/edge",),
        ("spiffe://td.test",),
        ("https://td.test/edge",),
        (),
    ],
)
def test_another_identity_of_our_own_ca_is_refused(guard: Guard, uris: tuple[str, ...]) -> None:
    assert refused(guard, guard.authority.issue(*uris, dns="edge.td.test"))
    assert guard.model.seen == []


def test_no_certificate_is_refused(guard: Guard) -> None:
    assert refused(guard, None)
    assert guard.model.seen == []


def test_plain_http_is_refused(guard: Guard) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(60)
        raw.connect(guard.settings.socket)
        raw.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"200" not in raw.recv(100)
    assert guard.model.seen == []


def test_the_same_identity_of_another_ca_is_refused(guard: Guard) -> None:
    assert refused(guard, Authority().issue(EDGE))


@pytest.mark.parametrize("seconds", [-1, -3600])
def test_an_expired_certificate_is_refused(guard: Guard, seconds: float) -> None:
    assert refused(guard, guard.authority.issue(EDGE, seconds=seconds))


def test_tls_1_2_is_refused(guard: Guard) -> None:
    assert refused(guard, guard.edge, maximum=ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize(
    "uris", [("spiffe://td.test/model/evil", EDGE), (EDGE, "spiffe://td.test/model/evil"), (EDGE, EDGE)]
)
def test_a_leaf_with_a_second_uri_gets_nothing(guard: Guard, uris: tuple[str, ...]) -> None:
    """TLS is content if one URI fits; an SVID has exactly one (X509-SVID 5.2), and the rules say so."""
    assert guard.ask(connection=guard.connect(guard.authority.issue(*uris))).status == 403
    assert guard.model.seen == []


def test_a_session_is_never_resumed(guard: Guard) -> None:
    """A resumed session would skip the certificate, and with it its expiry."""
    first = guard.connect()
    assert guard.ask(connection=first).status == 200
    session = first.session
    context = first.context
    first.close()
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(guard.settings.socket)
    with context.wrap_socket(raw, server_hostname=guard.view.dns_name, session=session) as second:
        assert guard.ask(connection=second).status == 200
        assert not second.session_reused
    assert session is None or not session.has_ticket


def test_an_open_connection_ends_after_its_time(guard: Guard) -> None:
    young = guard.connect()
    assert "connection" not in guard.ask(connection=young).headers
    with running({"max_connection_seconds": 1}) as hasty:
        old = hasty.connect()
        eventually(lambda: hasty.ask(connection=old).headers.get("connection") == "close", what="its end")


def test_the_guard_shows_its_own_name(guard: Guard) -> None:
    peer = guard.connect().getpeercert()
    assert peer is not None
    assert set(peer["subjectAltName"]) == {
        ("URI", "spiffe://td.test/model/m.1"),
        ("DNS", guard.view.dns_name),
    }
