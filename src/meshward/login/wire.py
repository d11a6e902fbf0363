"""How a login speaks to an edge and to an issuer: one JSON object at a time, and only with whom was asked.

https, or plain http to this machine; no redirects, at most 1 MB, 5 s between two bytes and 10 s for a body.
The environment's proxies count for https alone.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from meshward.kit import codes
from meshward.kit.bounded import PLAIN, TooLongError, read_bounded
from meshward.kit.errors import MeshwardError
from meshward.kit.strict import json_object
from meshward.kit.text import to_ascii
from meshward.policy.urls import is_loopback

MAX_SILENCE = 5.0  # seconds
MAX_SECONDS = 10.0
_SHOWN = 200  # characters of what a server said


@dataclass(frozen=True, slots=True)
class WireReply:
    """An answer: its status and its JSON object, empty where the answer was."""

    status: int
    body: Mapping[str, Any]

    def text(self, name: str) -> str | None:
        """The member `name` if it is a text that is not empty."""
        value = self.body.get(name)
        return value if isinstance(value, str) and value else None

    def error_text(self) -> str:
        """What the server says was wrong (RFC 6749, 5.2; or ours), fit for a terminal."""
        words = [self.text("error"), self.text("error_description")]
        return printable(": ".join(word for word in words if word)) or f"status {self.status}"


class Wire:
    """Speaks with whoever the certificates in `root` vouch for; without it, with whom this machine trusts."""

    def __init__(self, root: Path | None = None, silence: float = MAX_SILENCE) -> None:
        self._tls = trust(root)
        self._silence = silence

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> WireReply:
        """Raises MeshwardError: MW2101 for a URL that may not be asked, MW2102 for no proper answer."""
        return self._ask("GET", url, headers=dict(headers or {}))

    def post(self, url: str, form: Mapping[str, str]) -> WireReply:
        """Sends a form. Raises as `get` does."""
        return self._ask("POST", url, data=dict(form))

    def post_json(self, url: str, value: Mapping[str, Any], headers: Mapping[str, str]) -> WireReply:
        """Sends a JSON object. Raises as `get` does."""
        return self._ask("POST", url, json=dict(value), headers=dict(headers))

    def _ask(self, method: str, url: str, **request: Any) -> WireReply:
        target = check_url(url)
        try:
            with (
                httpx2.Client(
                    verify=self._tls,
                    trust_env=target.scheme == "https" and not is_loopback(target.host),
                    follow_redirects=False,
                    timeout=self._silence,
                    headers=PLAIN,
                ) as http,
                http.stream(method, target, **request) as response,
            ):
                return WireReply(
                    response.status_code, _object(_read(response, url), url, response.status_code)
                )
        except httpx2.HTTPError as error:
            raise _unanswered_error(url, _why(error)) from None


def trust(root: Path | None) -> ssl.SSLContext:
    """Certificates that vouch for a server: those in the file `root`, or this machine's own."""
    try:
        return ssl.create_default_context(cafile=root)
    except (OSError, ssl.SSLError) as error:
        raise MeshwardError(
            codes.ROOT_UNREADABLE,
            f"`{root}` holds no root certificate ({type(error).__name__})",
        ) from None


def check_url(url: str) -> httpx2.URL:
    """`url` if a token may go there: https, or http to this machine. Raises MeshwardError (MW2101)."""
    try:
        target = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError):
        raise _address_error(url, "is not a URL") from None
    if target.scheme not in ("https", "http") or not target.host:
        raise _address_error(url, "is not an https URL")
    if target.userinfo or target.fragment:
        raise _address_error(url, "has a user or a fragment")
    if target.scheme == "http" and not is_loopback(target.host):
        raise _address_error(url, "is plain http to another machine")
    return target


def printable(text: str) -> str:
    """`text` as one line that can do nothing to a terminal."""
    return to_ascii(text[:_SHOWN])


def _read(response: httpx2.Response, url: str) -> bytes:
    end = time.monotonic() + MAX_SECONDS
    try:
        return read_bounded(response.iter_raw(), in_time=lambda: time.monotonic() <= end)
    except TooLongError:
        raise _unanswered_error(url, "its answer is too long or too slow") from None


def _object(body: bytes, url: str, status: int) -> dict[str, Any]:
    if not body:
        return {}
    try:
        return json_object(body)
    except ValueError:
        raise _unanswered_error(url, f"status {status}, and not a JSON object") from None


def _why(error: httpx2.HTTPError) -> str:
    """TLS says itself what it misses; of everything else the kind is enough."""
    text = str(error)
    return printable(text) if "certificate" in text else type(error).__name__


def _address_error(url: str, why: str) -> MeshwardError:
    return MeshwardError(
        codes.URL_NOT_TRUSTED,
        f"`{printable(str(url))}` {why}",
    )


def _unanswered_error(url: str, why: str) -> MeshwardError:
    remedy = "Look whether it runs and is spelled right. "
    if "certificate" in why:
        remedy += (
            "Its certificate must be vouched for: give --cacert for an edge, SSL_CERT_FILE for an issuer."
        )
    return MeshwardError(
        codes.NO_GOOD_ANSWER, f"`{printable(url)}` did not answer well: {why}", remedy.strip()
    )
