"""A client that sends bytes as they are: no library puts a path right on its way to a sidecar."""

from __future__ import annotations

import http.client
import ssl
import tempfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from meshward.spiffe.certificates import LeafCredential
from meshward.testing.waiting import DEADLINE

TOKEN_HEADER = "txn-token"


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is None where no HTTP was spoken: `body` then holds the error. `details`: the sidecar's own reason."""

    status: int | None
    body: str
    request_id: str
    headers: tuple[tuple[str, str], ...] = ()
    details: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `path` goes out as it is written here."""

    method: str
    path: str
    token: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b"{}"


def send(call: Call, host: str, port: int, context: ssl.SSLContext | None) -> Answer:
    """Over a connection of its own; plain HTTP without a `context`."""
    request_id = uuid.uuid4().hex  # in a UUID with dashes Envoy now and then sets a digit of its own
    connection = (
        http.client.HTTPSConnection(host, port, timeout=DEADLINE, context=context)
        if context
        else http.client.HTTPConnection(host, port, timeout=DEADLINE)
    )
    connection._validate_path = lambda _: None  # type: ignore[attr-defined]
    try:
        names = {name.lower() for name, _ in call.headers}
        connection.putrequest(call.method, call.path, skip_host="host" in names, skip_accept_encoding=True)
        connection.putheader("x-request-id", request_id)
        if call.token is not None:
            connection.putheader(TOKEN_HEADER, call.token)
        for name, value in call.headers:
            connection.putheader(name, value)
        connection.putheader("content-length", str(len(call.body)))
        connection.endheaders(call.body)
        answer = connection.getresponse()
        return Answer(
            answer.status, answer.read().decode("utf-8", "replace"), request_id, tuple(answer.getheaders())
        )
    except (OSError, http.client.HTTPException) as error:
        return Answer(None, f"{type(error).__name__}: {error}", request_id)
    finally:
        connection.close()


def tls(leaf: LeafCredential | None, trusted: str) -> ssl.SSLContext:
    """As the holder of `leaf`, trusting `trusted` (PEM). It checks no name: a mesh's certificates have no DNS name."""
    context = ssl.create_default_context(cadata=trusted)
    context.check_hostname = False
    if leaf is not None:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(leaf.key.reveal() + leaf.chain)
            file.flush()
            context.load_cert_chain(Path(file.name))
    return context


def by_name(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}
