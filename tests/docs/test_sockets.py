"""What the supervisor asks of other processes it asks in one way, which ends: `kit/hop_socket.py`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "meshward"
PACKAGES = (
    *("apply", "audit", "callers", "control", "instance", "kit", "runtime"),
    *("spiffe", "targets", "tokens", "trace"),
)
CLIENTS = {
    *("aiohttp", "anyio", "ftplib", "h11", "http", "httpcore", "httpcore2", "httptools", "httpx", "httpx2"),
    *("requests", "smtplib", "socket", "socketserver", "telnetlib", "urllib3", "xmlrpc"),
}
CALLS = {
    *("open_connection", "open_unix_connection", "create_connection", "create_unix_connection"),
    *("sock_connect", "urlopen"),
}
ALLOWED = {
    "kit/hop_socket.py": "the one way",
    "runtime/supervise/ready.py": "the same questions in the event loop, each within a second and 64 kB",
    "control/unix.py": "the supervisor's own socket, from both ends",
    "runtime/place/ports.py": "binds, and connects to nobody",
    "runtime/place/seal.py": "an interface is raised inside of a namespace",
    "apply/local.py": "binds, and connects to nobody",
    "apply/places.py": "looks names up, and sees whether anybody listens: one connection each, within a second",
}


def clients(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names if _is_client(each.name))
            case ast.ImportFrom(module=str(module), names=names):
                whole = [module, *(f"{module}.{each.name}" for each in names)]
                yield from (name for name in whole if _is_client(name))
            case ast.Attribute(attr=name) | ast.Name(id=name) if name in CALLS:
                yield name


def _is_client(name: str) -> bool:
    first, *rest = name.split(".")
    return first in CLIENTS or rest[-1:] in [[each] for each in CALLS] or name.startswith("urllib.request")


def modules() -> list[str]:
    return sorted(
        str(file.relative_to(SOURCE)) for package in PACKAGES for file in (SOURCE / package).rglob("*.py")
    )


@pytest.mark.parametrize("module", [each for each in modules() if each not in ALLOWED])
def test_it_asks_nobody_in_a_way_of_its_own(module: str) -> None:
    assert list(clients((SOURCE / module).read_text())) == []


@pytest.mark.parametrize("module", ALLOWED)
def test_what_is_allowed_is_needed(module: str) -> None:
    assert list(clients((SOURCE / module).read_text())), ALLOWED[module]


@pytest.mark.parametrize(
    "text",
    [
        "import socket",
        "import http.client",
        "from http import client",
        "import httpx2 as x",
        "from urllib import request",
        "import urllib.request",
        "asyncio.open_unix_connection(path)",
        "from asyncio import open_connection as ask",
        "loop.create_connection(Protocol, host, port)",
    ],
)
def test_a_client_is_found(text: str) -> None:
    assert list(clients(text))
