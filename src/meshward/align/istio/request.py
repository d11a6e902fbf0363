"""One request as a sidecar meets it. What is None is not known, and a condition on it may hold or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Client:
    """Who connects; a plaintext client has no identity. `trusted`: its certificate is of the mesh's own CA."""

    spiffe_id: str | None = None
    tls: bool = True
    trusted: bool = True


PLAINTEXT = Client(None, tls=False, trusted=False)


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT: `key` is `jwks.key_id` of the key that signed it; `broken`: it is no JWT at all."""

    claims: Mapping[str, Any]
    key: str
    kid: str = ""
    alg: str = "RS256"
    broken: bool = False


@dataclass(frozen=True, slots=True)
class TokenText:
    """A token as it stands in a header's value, behind `before`."""

    token: Token
    before: str = ""


Value = str | TokenText


@dataclass(frozen=True, slots=True)
class Request:
    """`headers` by lower-case name; `params` and `cookies` hold tokens alone; `now` in seconds."""

    client: Client
    method: str
    path: str
    headers: Mapping[str, Sequence[Value]] = field(default_factory=lambda: _NOTHING)
    params: Mapping[str, Token] = field(default_factory=lambda: _NOTHING)
    cookies: Mapping[str, Token] = field(default_factory=lambda: _NOTHING)
    host: str | None = None
    port: int = 0
    now: int = 0
    source_ip: str | None = None
    remote_ip: str | None = None
    destination_ip: str | None = None
    sni: str | None = None
