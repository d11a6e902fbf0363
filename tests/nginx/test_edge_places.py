"""A version elsewhere: a guard by mutual TLS at an address, or a service by its name through the edge's own sidecar.

`near` here is a stand-in for a sidecar's plain listener: it records what it is told. The real one is in tests/mesh.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import NamedTemporaryFile

import nginx_pki
import pytest
from cryptography import x509
from edge_harness import DOMAIN, GUARDS, Answer, Edge, Loop, Server, permit, running, throwing

from meshward.testing.stand_ins import free_port

SERVICE = "minilm-v1.models.svc.cluster.local"
OTHER_SERVICE = "minilm-v2.models.svc.cluster.local"
_HOSTS = count(11)


@dataclass
class Elsewhere:
    """Servers on addresses of their own: none has met another test's connections."""

    edge: Edge
    loop: Loop
    servers: list[Server]

    def near(self) -> Server:
        return self._started(None)

    def far(self, name: str) -> Server:
        return self._started(self.edge.pki.guard_context(name))

    def wrong(self, context: ssl.SSLContext) -> Server:
        return self._started(context)

    def route(self, *places: str) -> None:
        """From now on decisions name these places, all of the same weight."""
        text = "|".join(["1000000", *(f"100 {place}" for place in places)])
        self.edge.decision.answer = lambda _: permit(mw_route=text)
        self.edge.bump()

    def _started(self, context: ssl.SSLContext | None) -> Server:
        server = Server(self.loop, (f"127.0.0.{next(_HOSTS) % 240 + 1}", free_port()), context)
        server.answer = lambda _: Answer(200, {"Content-Type": "application/json"}, b'{"ok":true}')
        server.start()
        self.servers.append(server)
        return server


@pytest.fixture
def elsewhere(edge: Edge) -> Iterator[Elsewhere]:
    with _elsewhere(edge) as found:
        yield found


@contextmanager
def _elsewhere(edge: Edge) -> Iterator[Elsewhere]:
    found = Elsewhere(edge, edge.loop, [])
    try:
        yield found
    finally:
        for server in found.servers:
            server.stop()


def at(server: Server) -> str:
    assert isinstance(server.at, tuple)
    return f"{server.at[0]}:{server.at[1]}"


def near(server: Server, service: str = SERVICE, name: str = GUARDS[0]) -> str:
    return f"near/{at(server)}/{service} {name}"


def far(server: Server, name: str = GUARDS[0]) -> str:
    return f"far/{at(server)} {name}"


def _context(pem: bytes, root: bytes, least: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = least
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=root.decode())
    with NamedTemporaryFile(suffix=".pem") as file:
        Path(file.name).write_bytes(pem)
        context.load_cert_chain(file.name)
    return context


_SENT = """Authorization Cookie X-Forwarded-For X-Forwarded-Client-Cert X-Forwarded-Host Forwarded X-User
X-Envoy-Original-Path X-Envoy-Expected-Rq-Timeout-Ms X-Envoy-Decorator-Operation X-B3-Traceid l5d-client-id
X-Request-Id Txn-Token Content-Digest X-Http-Method-Override Te"""


def test_every_place_is_told_the_same_and_nothing_of_the_client_but_four_headers(
    edge: Edge, elsewhere: Elsewhere
) -> None:
    sidecar, guard = elsewhere.near(), elsewhere.far(GUARDS[0])
    told = []
    for place in (f"00 {GUARDS[0]}", near(sidecar), far(guard)):
        elsewhere.route(place)
        spoofed = {name: "spoofed" for name in _SENT.split() if name != "Authorization"}
        answer = edge.request(
            "POST", "/m/minilm/embed?q", body=b"hello", User_Agent="agent", Accept="*/*", **spoofed
        )
        assert (answer.status, answer.body) == (200, b'{"ok":true}')
        (seen,) = [*edge.seen(), *sidecar.received, *guard.received][-1:]
        assert (seen.line, seen.body) == ("POST /embed?q HTTP/1.1", b"hello")
        assert seen.get("X-Request-Id") == answer.get("X-Request-Id")
        assert "spoofed" not in [value for name, value in seen.headers if name != "TE"]
        told.append(dict(seen.headers))
    names = [sorted(each) for each in told]
    assert names[0] == names[1] == names[2]
    assert [each["Host"] for each in told] == [GUARDS[0], SERVICE, GUARDS[0]]


def test_which_hop_a_request_went_to_is_in_its_line(edge: Edge, elsewhere: Elsewhere) -> None:
    sidecar, guard = elsewhere.near(), elsewhere.far(GUARDS[0])
    for place, kind in ((f"00 {GUARDS[0]}", ""), (near(sidecar), "near"), (far(guard), "far")):
        elsewhere.route(place)
        line = edge.line(edge.request("GET", "/m/minilm/x").get("X-Request-Id"))
        assert (line["place"], line["guard"]) == (kind, GUARDS[0])


def test_a_sidecar_is_asked_for_the_service_that_each_decision_names(
    edge: Edge, elsewhere: Elsewhere
) -> None:
    sidecar = elsewhere.near()
    places = [near(sidecar), near(sidecar, OTHER_SERVICE, GUARDS[1])]
    with edge.client() as client:
        for n in range(10):
            elsewhere.route(places[n % 2])
            assert client.request("GET", f"/m/minilm/{n}").status == 200
    asked = [(seen.target, seen.get("Host")) for seen in sidecar.received]
    assert asked == [(f"/{n}", (SERVICE, OTHER_SERVICE)[n % 2]) for n in range(10)]
    assert sidecar.connections <= len(edge.workers()), "kept open: a plain one is verified for no name"


def test_a_guard_elsewhere_sees_the_edges_svid_on_connections_that_are_kept(
    edge: Edge, elsewhere: Elsewhere
) -> None:
    guard = elsewhere.far(GUARDS[0])
    elsewhere.route(far(guard))
    with edge.client() as client:
        assert [client.request("GET", "/m/minilm/x").status for _ in range(20)] == [200] * 20
    assert guard.connections == 1
    peer = guard.received[0].peer
    assert peer and peer["subjectAltName"] == (("URI", f"spiffe://{DOMAIN}/edge"),)


def test_a_connection_verified_for_one_name_never_serves_another(edge: Edge, elsewhere: Elsewhere) -> None:
    """One address, a connection kept open there: whoever is asked for another name proves it, or is refused."""
    guard = elsewhere.far(GUARDS[0])
    with edge.client() as client:
        for _ in range(3):
            elsewhere.route(far(guard))
            assert client.request("GET", "/m/minilm/mine").status == 200
            elsewhere.route(far(guard, GUARDS[1]))
            answer = client.request("GET", "/m/minilm/other")
            assert (answer.status, answer.json()["error_type"]) == (502, "guard_unavailable")
    assert {seen.target for seen in guard.received} == {"/mine"}


def test_names_beyond_the_pools_are_served_by_connections_of_their_own() -> None:
    with running(pools=1) as edge, _elsewhere(edge) as elsewhere:
        first, second = elsewhere.far(GUARDS[0]), elsewhere.far(GUARDS[1])
        with edge.client() as client:
            for place in [far(first), far(second, GUARDS[1])] * 5:
                elsewhere.route(place)
                assert client.request("GET", "/m/minilm/x").status == 200
            elsewhere.route(far(second, GUARDS[0]))
            assert client.request("GET", "/m/minilm/x").status == 502
        assert (first.connections, len(first.received)) == (1, 5)
        assert len(second.received) == 5
        # One each; that which nginx gives up behind its handshake the server may never have seen.
        assert second.connections in (5, 6)


def _name(*names: str) -> list[x509.GeneralName]:
    uri = x509.UniformResourceIdentifier(f"spiffe://{DOMAIN}/model/minilm")
    return [uri, *map(x509.DNSName, names)]


_STRANGER = nginx_pki.Pki()
_WRONG: dict[str, Callable[[nginx_pki.Pki], ssl.SSLContext]] = {
    "another authority": lambda pki: _context(_STRANGER.leaf_pem(*_name(GUARDS[0])), pki.root_pem),
    "another version's": lambda pki: _context(pki.leaf_pem(*_name(GUARDS[1])), pki.root_pem),
    "a name that only begins so": lambda pki: _context(
        pki.leaf_pem(*_name(GUARDS[0] + ".evil")), pki.root_pem
    ),
    "a wildcard of a whole domain": lambda pki: _context(pki.leaf_pem(*_name(f"*.{DOMAIN}")), pki.root_pem),
    "only a SPIFFE ID": lambda pki: _context(pki.leaf_pem(*_name()), pki.root_pem),
    "expired": lambda pki: _context(pki.leaf_pem(*_name(GUARDS[0]), end=-1), pki.root_pem),
    "not yet valid": lambda pki: _context(pki.leaf_pem(*_name(GUARDS[0]), begin=5), pki.root_pem),
    "an old TLS": lambda pki: _context(pki.leaf_pem(*_name(GUARDS[0])), pki.root_pem, ssl.TLSVersion.TLSv1_2),
    "trusts another root than the edge's": lambda pki: _context(
        pki.leaf_pem(*_name(GUARDS[0])), _STRANGER.root_pem
    ),
}


@pytest.mark.parametrize("what", _WRONG)
def test_who_does_not_prove_to_be_that_guard_reads_no_byte(
    edge: Edge, elsewhere: Elsewhere, what: str
) -> None:
    server = elsewhere.wrong(_WRONG[what](edge.pki))
    elsewhere.route(far(server))
    answer = edge.request("POST", "/m/minilm/x", body=b"a secret")
    told = answer.json()
    assert (answer.status, told["error_type"], told["layer"]) == (502, "guard_unavailable", "guard")
    assert "another machine" in told["error"] and server.received == []
    assert edge.line(answer.get("X-Request-Id"))["reason"] == "guard_unavailable"


def test_plain_http_where_a_guard_should_be_reads_no_byte(edge: Edge, elsewhere: Elsewhere) -> None:
    """It answers whatever it is sent, as a server does to a handshake that it cannot read."""
    read = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.append(await reader.read(65536))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    host, port = f"127.0.0.{next(_HOSTS) % 240 + 1}", free_port()
    server = edge.loop.run(asyncio.start_server(answer, host, port))
    elsewhere.route(f"far/{host}:{port} {GUARDS[0]}")
    assert edge.request("POST", "/m/minilm/x", body=b"a secret").status == 502
    server.close()
    assert read and b"secret" not in b"".join(read)


@pytest.mark.parametrize(("place", "reason"), [(near, "mesh_unavailable"), (far, "guard_unavailable")])
def test_nobody_there_is_told_by_name(
    edge: Edge, elsewhere: Elsewhere, place: Callable[[Server], str], reason: str
) -> None:
    gone = elsewhere.near()
    gone.stop()
    elsewhere.route(place(gone))
    answer = edge.request("GET", "/m/minilm/x")
    assert (answer.status, answer.json()["error_type"], answer.json()["layer"]) == (502, reason, "guard")


@pytest.mark.parametrize("status", [404, 502, 503, 403])
def test_what_a_mesh_refuses_is_passed_on_as_it_says(edge: Edge, elsewhere: Elsewhere, status: int) -> None:
    sidecar = elsewhere.near()
    sidecar.answer = lambda _: Answer(status, {"X-Envoy-Peer-Metadata": "x"}, b"RBAC: access denied")
    elsewhere.route(near(sidecar))
    answer = edge.request("GET", "/m/minilm/x")
    assert (answer.status, answer.body) == (status, b"RBAC: access denied")
    assert answer.get("X-Request-Id") and answer.get("X-Envoy-Peer-Metadata") is None


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Accel-Redirect": "/_decide"},
        {"X-Accel-Redirect": "/m/minilm/inside"},
        {"X-Accel-Redirect": "@limited", "X-Accel-Limit-Rate": "1", "X-Accel-Charset": "x"},
        {"X-Mw-Route": "1|1 00 x", "Txn-Token": "stolen", "X-Mw-Facts": "x"},
        {"Set-Cookie": "a=b", "WWW-Authenticate": "Basic", "X-Request-Id": "0" * 32},
    ],
)
def test_a_sidecars_answer_can_neither_redirect_the_edge_nor_speak_for_it(
    edge: Edge, elsewhere: Elsewhere, headers: dict[str, str]
) -> None:
    sidecar = elsewhere.near()
    sidecar.answer = lambda _: Answer(200, headers, b"plain")
    elsewhere.route(near(sidecar))
    answer = edge.request("GET", "/m/minilm/x")
    assert (answer.status, answer.body) == (200, b"plain")
    shown = [name for name, _ in answer.headers]
    assert shown.count("X-Request-Id") == 1 and answer.get("X-Request-Id") != "0" * 32
    assert not set(headers).difference({"X-Request-Id"}).intersection(shown)
    assert len(sidecar.received) == 1 and not edge.seen()


def test_a_switch_of_protocols_by_a_sidecar_opens_no_tunnel(edge: Edge, elsewhere: Elsewhere) -> None:
    sidecar = elsewhere.near()
    sidecar.answer = lambda _: Answer(raw=b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nleak")
    elsewhere.route(near(sidecar))
    assert b"leak" not in edge.raw(
        b"GET /m/minilm/x HTTP/1.1\r\nHost: models.test\r\nAuthorization: Bearer ok\r\nConnection: close\r\n\r\n"
    )


ODD = [
    "near/10.0.0.1:80/a.b",  # in plain HTTP, to another machine
    "near/128.0.0.1:80/a.b",
    "near/[::2]:80/a.b",
    "near/127.0.0.1:80/a.b:81",
    "near/127.0.0.1:80/A.b",
    "near/127.0.0.1:80/a..b",
    "near/127.0.0.1:80/a.b/c",
    "near/127.0.0.1:80/a.b%0d%0aX:",
    "near/127.0.0.1:80/$host",
    "near/127.0.0.1:80/-a.b",
    "near/127.0.0.1:80/",
    "near/127.0.0.1:80",
    "near/127.0.0.1/a.b",
    "near/localhost:80/a.b",
    "near/127.1:80/a.b",
    "near/127.0.0.256:80/a.b",
    "near/127.0.0.0001:80/a.b",
    "near/127.0.0.1@10.0.0.1:80/a.b",
    "near/127.0.0.1:80/" + "a" * 254,
    "far/10.0.0.1:0",
    "far/10.0.0.1:65536",
    "far/10.0.0.1:080808",
    "far/10.0.0.1:8443/x",
    "far/evil.example:8443",
    "far/unix:/run/x.sock",
    "far/10.0.0.1",
    "far/[::1]",
    "far/[::1%lo]:1",
    "far/::1:8443",
    "far/",
    "far",
    "slot00",
    "mw_decide",
    "http://127.0.0.1:80",
    "64",
    "7",
    "007",
]


@pytest.mark.parametrize("word", ODD)
def test_an_odd_place_is_nobody_s_and_refuses(edge: Edge, elsewhere: Elsewhere, word: str) -> None:
    elsewhere.route(f"{word} {GUARDS[0]}")
    answer = edge.request("GET", "/m/minilm/x")
    assert (answer.status, answer.json()["error_type"]) == (503, "decision_unavailable")
    assert not edge.seen()


def test_a_version_moves_between_places_without_a_reload(edge: Edge, elsewhere: Elsewhere) -> None:
    """From its slot to the sidecar, to another machine and back, each by the very next request."""
    sidecar, guard = elsewhere.near(), elsewhere.far(GUARDS[0])
    workers = edge.workers()
    with edge.client() as client:
        for n in range(60):
            elsewhere.route((f"00 {GUARDS[0]}", near(sidecar), far(guard))[n % 3])
            assert client.request("POST", f"/m/minilm/{n}", body=b"x").status == 200
    for n, server in enumerate((edge.guard, sidecar, guard)):
        assert [seen.target for seen in server.received] == [f"/{each}" for each in range(n, 60, 3)]
    assert edge.workers() == workers


@pytest.mark.parametrize(
    ("module", "name"), [("pools", "of"), ("place", "peer"), ("place", "socket"), ("place", "read")]
)
def test_what_throws_on_the_way_to_a_place_sends_nothing(module: str, name: str) -> None:
    with running(throwing(module, name)) as edge, _elsewhere(edge) as elsewhere:
        guard = elsewhere.far(GUARDS[0])
        elsewhere.route(far(guard))
        assert edge.request("POST", "/m/minilm/x", body=b"a secret").status == 503
        assert guard.received == []
