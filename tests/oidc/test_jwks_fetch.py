"""Documents from an issuer that is hostile, slow or somewhere it must not be."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from meshward.oidc import fetch as fetch_module
from meshward.oidc.fetch import FetchFailed, fetch, is_public
from meshward.oidc.issuer import KeyPlace
from meshward.oidc.keys import key_document
from meshward.spiffe.ca import Authority, load_or_create
from meshward.testing.waiting import DEADLINE
from tests.oidc.signing import issuer

HTTP = frozenset({"http"})
PRIVATE = frozenset({"private"})
NOBODY = ssl.create_default_context()
Handler = Callable[[str], bytes]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as a busy machine takes."""
    monkeypatch.setattr(fetch_module, "MAX_SECONDS", DEADLINE)


class Site:
    """A web server whose answers are raw bytes; remembers what it was asked."""

    def __init__(self, answer: Handler, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[str] = []
        self._answer, self._tls = answer, tls

    async def __aenter__(self) -> Site:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(request)
        writer.write(self._answer(request.split()[1]))
        writer.close()


def ok(body: bytes, headers: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def with_site(
    answer: Handler, play: Callable[[Site], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> None:
    async def run() -> None:
        async with Site(answer, tls) as site:
            await play(site)

    asyncio.run(run())


def refused(url: str, allow: frozenset[str]) -> str:
    with pytest.raises(FetchFailed) as failure:
        asyncio.run(fetch(url, allow, NOBODY))
    return failure.value.code.number


def test_a_document() -> None:
    async def play(site: Site) -> None:
        assert await fetch(f"http://127.0.0.1:{site.port}/k?a=1", HTTP, NOBODY) == b"{}"
        assert await fetch(f"http://localhost:{site.port}/k", HTTP, NOBODY) == b"{}"
        assert f"\r\nHost: localhost:{site.port}\r\n" in site.requests[1]

    with_site(lambda _: ok(b"{}"), play)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 204 No\r\n\r\n",
        ok(b"{}", "Content-Encoding: gzip\r\n"),
        ok(b" " * 1_000_001),
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"nonsense\r\n\r\n",
        b"",
    ],
)
def test_answers_that_are_no_document(answer: bytes) -> None:
    async def play(site: Site) -> None:
        with pytest.raises(FetchFailed):
            await fetch(f"http://127.0.0.1:{site.port}/k", HTTP, NOBODY)
        assert len(site.requests) == 1

    with_site(lambda _: answer, play)


def test_a_slow_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "MAX_SECONDS", 0.2)

    async def play() -> None:
        server = await asyncio.start_server(lambda *_: asyncio.sleep(30), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(FetchFailed, match="did not answer"):
            await fetch(f"http://127.0.0.1:{port}/", HTTP, NOBODY)
        server.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("url", "allow"),
    [
        ("http://127.0.0.1/", frozenset()),
        ("http://127.0.0.1/", PRIVATE),
        ("http://10.0.0.1/", HTTP | PRIVATE),
        ("https://127.0.0.1/", HTTP),
        ("https://localhost/", frozenset()),
        ("https://10.0.0.1/", frozenset()),
        ("https://[::1]/", frozenset()),
        ("https://[::ffff:10.0.0.1]/", frozenset()),
        ("https://[64:ff9b::a00:1]/", frozenset()),
        ("https://169.254.169.254/latest/meta-data", PRIVATE | HTTP),
        ("http://169.254.169.254/latest/meta-data", PRIVATE | HTTP),
        ("https://[fe80::1]/", PRIVATE),
        ("https://[::ffff:169.254.169.254]/", PRIVATE),
        ("https://[64:ff9b::a9fe:a9fe]/", PRIVATE),
        ("https://[2002:a9fe:a9fe::]/", PRIVATE),
        ("https://0.0.0.0/", PRIVATE),
        ("https://2130706433/", frozenset()),
        ("https://0x7f000001/", frozenset()),
        ("https://user@127.0.0.1/", PRIVATE),
        ("https://127.0.0.1/#f", PRIVATE),
        ("file:///etc/passwd", HTTP | PRIVATE),
        ("ftp://127.0.0.1/", HTTP | PRIVATE),
        ("data:application/json,{}", HTTP | PRIVATE),
        ("https:///x", HTTP | PRIVATE),
        ("", HTTP | PRIVATE),
    ],
)
def test_addresses_that_are_never_asked(url: str, allow: frozenset[str]) -> None:
    assert refused(url, allow) == "MW2003"


def test_a_name_with_one_forbidden_address_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object, **__: object) -> list[object]:
        return [(2, 1, 6, "", (address, 443)) for address in ("93.184.216.34", "10.0.0.1")]

    async def play() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        with pytest.raises(FetchFailed, match="private address"):
            await fetch("https://rebind.test/", frozenset(), NOBODY)

    asyncio.run(play())


@pytest.mark.parametrize("text", ["8.8.8.8", "2001:4860:4860::8888"])
def test_public_addresses(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "10.1.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "fd00::1",
        "2002:a00:1::",
        "2001:0:1::",
    ],
)
def test_other_addresses(text: str) -> None:
    assert not is_public(ip_address(text))


def serving(authority: Authority, name: str, directory: Path) -> ssl.SSLContext:
    pem = directory / f"{name}.pem"
    pem.write_text(authority.issue_web(name, datetime.now(UTC)).key_and_chain().reveal())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def test_https_is_verified_by_name_though_connected_by_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = load_or_create(tmp_path / "ca", "mesh.test")
    trusting = ssl.create_default_context(cadata=authority.root_pem)

    async def resolve(*_: object, **__: object) -> list[object]:
        return [(2, 1, 6, "", ("127.0.0.1", 0))]

    async def named(site: Site) -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        url = f"https://idp.test:{site.port}/"
        assert await fetch(url, PRIVATE, trusting) == b"{}"
        assert f"\r\nHost: idp.test:{site.port}\r\n" in site.requests[0]
        with pytest.raises(FetchFailed):
            await fetch(url, PRIVATE, NOBODY)

    async def misnamed(site: Site) -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        with pytest.raises(FetchFailed):
            await fetch(f"https://idp.test:{site.port}/", PRIVATE, trusting)

    with_site(lambda _: ok(b"{}"), named, serving(authority, "idp.test", tmp_path))
    with_site(lambda _: ok(b"{}"), misnamed, serving(authority, "localhost", tmp_path))


@pytest.mark.parametrize("told", ["", "/", "x"])
def test_discovery_must_be_about_the_issuer(told: str) -> None:
    async def play(site: Site) -> None:
        base = f"http://127.0.0.1:{site.port}/realm"
        bodies = {
            "/realm/.well-known/openid-configuration": f'{{"issuer":"{base}{told}","jwks_uri":"{base}/k"}}',
            "/realm/k": "{}",
        }
        site._answer = lambda path: ok(bodies[path].encode())
        document = key_document(NOBODY)(issuer(url=base, keys=KeyPlace(allow=HTTP)))
        if told:
            with pytest.raises(FetchFailed, match="another issuer"):
                await document
        else:
            assert await document == b"{}"

    with_site(lambda _: b"", play)


def test_discovery_cannot_send_us_elsewhere() -> None:
    async def play(site: Site) -> None:
        base = f"http://127.0.0.1:{site.port}"
        body = f'{{"issuer":"{base}","jwks_uri":"http://169.254.169.254/keys"}}'
        site._answer = lambda _: ok(body.encode())
        with pytest.raises(FetchFailed, match="not loopback"):
            await key_document(NOBODY)(issuer(url=base, keys=KeyPlace(allow=HTTP)))

    with_site(lambda _: b"", play)
