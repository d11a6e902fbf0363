"""The authorization code flow of a native app: PKCE, and a redirect to this machine (RFC 8252, RFC 7636).

1. listen on loopback, where the issuer will send the browser back to,
2. send the person to the issuer, with a state, a nonce and a challenge made for this login alone,
3. take the answer that carries our state; whatever else knocks is sent away and changes nothing,
4. exchange the code for tokens.
"""

from __future__ import annotations

import base64
import hashlib
import queue
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.login.device import refusal_error
from meshward.login.provider import Provider
from meshward.login.terminal import Terminal
from meshward.login.tokens import Tokens, read_tokens, useless_tokens_error
from meshward.login.wire import Wire, printable
from meshward.policy.urls import is_loopback

PATH = "/callback"
_WITHIN = 600  # seconds for the person to sign in
_PATIENCE = 5  # seconds that a connection may be silent
_PAGE = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>meshward</title>"
    b"<p>%s You can close this page and go back to the terminal.</p></html>"
)


def _random() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True)
class Attempt:
    """What belongs to one login alone: 256 random bits each."""

    state: str = field(default_factory=_random, repr=False)
    nonce: str = field(default_factory=_random, repr=False)
    verifier: str = field(default_factory=_random, repr=False)

    @property
    def challenge(self) -> str:
        """RFC 7636, 4.2: S256."""
        digest = hashlib.sha256(self.verifier.encode("ascii")).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def sign_in(
    wire: Wire, provider: Provider, client: str, scope: str, redirect: str | None, terminal: Terminal
) -> tuple[Tokens, str]:
    """The tokens, and the nonce that their ID token must carry. Raises MeshwardError: MW2107, MW2108."""
    if provider.challenges and "S256" not in provider.challenges:
        raise useless_tokens_error("it does not know PKCE with S256, without which a code can be stolen")
    attempt, answers = Attempt(), queue.SimpleQueue[dict[str, str]]()
    with _listen(redirect, attempt.state, answers) as back:
        _show(_question(provider, client, scope, back, attempt), back, terminal)
        with terminal.waiting("waiting for your browser to come back (Ctrl-C stops)"):
            answer = _await(answers)
    form = {
        "grant_type": "authorization_code",
        "code": _code(answer, provider),
        "redirect_uri": back,
        "client_id": client,
        "code_verifier": attempt.verifier,
    }
    return read_tokens(wire.post(provider.token, form)), attempt.nonce


@contextmanager
def _listen(redirect: str | None, state: str, answers: queue.SimpleQueue[dict[str, str]]) -> Iterator[str]:
    """Step 1: serves this login's redirect, whose URI is yielded. Without `redirect`, on any free port."""
    asked = _loopback(redirect) if redirect is not None else None
    try:
        server = ThreadingHTTPServer(
            ("127.0.0.1", (asked.port or 80) if asked else 0), BaseHTTPRequestHandler
        )
    except OSError as error:
        raise _usage_error(f"nothing can listen for `{redirect}`: {error.strerror}") from None
    back = redirect or f"http://127.0.0.1:{server.server_address[1]}{PATH}"
    server.RequestHandlerClass = _handler(back, state, answers)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield back
    finally:
        server.shutdown()
        server.server_close()


def _loopback(redirect: str) -> httpx2.URL:
    try:
        target = httpx2.URL(redirect)
    except httpx2.InvalidURL:
        raise _usage_error(f"`{printable(redirect)}` is not a URL") from None
    if target.scheme != "http" or not is_loopback(target.host) or target.query or target.fragment:
        raise _usage_error(f"`{printable(redirect)}` does not lead to this machine")
    return target


def _handler(
    back: str, state: str, answers: queue.SimpleQueue[dict[str, str]]
) -> type[BaseHTTPRequestHandler]:
    """Step 3."""
    place = urlsplit(back)

    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE

        def do_GET(self) -> None:
            # `Host` too: a page elsewhere whose name resolves to 127.0.0.1 must not be able to speak to us.
            target = urlsplit(self.path)
            answer = dict(parse_qsl(target.query))
            ours = target.path == (place.path or "/") and self.headers.get("Host") == place.netloc
            if not ours or not secrets.compare_digest(answer.get("state", "").encode(), state.encode()):
                return self._say(404, b"This is not an answer that was waited for.")
            answers.put(answer)
            return self._say(200, b"The sign-in was refused." if "error" in answer else b"You are signed in.")

        def _say(self, status: int, words: bytes) -> None:
            self.send_response(status)
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(_PAGE % words)

        def log_message(self, format: str, *args: object) -> None:
            """The request line holds the code."""

    return Handler


_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Connection": "close",
}


def _question(provider: Provider, client: str, scope: str, back: str, attempt: Attempt) -> str:
    """Step 2: the URL at the issuer. `offline_access` needs a person's consent (OpenID Connect Core, 11)."""
    fields = {
        "response_type": "code",
        "client_id": client,
        "redirect_uri": back,
        "scope": scope,
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": attempt.challenge,
        "code_challenge_method": "S256",
    }
    if "offline_access" in scope.split():
        fields["prompt"] = "consent"
    url = str(provider.authorization)
    return f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}"


def _show(url: str, back: str, terminal: Terminal) -> None:
    if terminal.browse(url):
        terminal.tell("Your browser opens the issuer's sign-in page. If it does not, open this yourself:")
        terminal.tell(url)
        return
    port = httpx2.URL(back).port or 80
    terminal.tell("This issuer has no device flow: the browser must come back to this machine.")
    terminal.tell("If your browser runs elsewhere, first let it through, from there:")
    terminal.tell(f"    ssh -L {port}:127.0.0.1:{port} THIS-MACHINE")
    terminal.tell("Then open:")
    terminal.tell(url)


def _await(answers: queue.SimpleQueue[dict[str, str]]) -> dict[str, str]:
    try:
        return answers.get(timeout=_WITHIN)
    except queue.Empty:
        raise refusal_error("the time to sign in is over") from None


def _code(answer: dict[str, str], provider: Provider) -> str:
    """The code, if the answer is of the issuer that was asked (RFC 9207, 2.4)."""
    named = answer.get("iss")
    if named != provider.issuer and (named is not None or provider.names_itself):
        raise refusal_error("the answer is of another issuer than the one that was asked")
    if "error" in answer:
        why = printable(": ".join(filter(None, (answer["error"], answer.get("error_description")))))
        raise refusal_error(f"the issuer refused: {why}")
    if not answer.get("code"):
        raise useless_tokens_error("it came back without a code")
    return answer["code"]


def _usage_error(message: str) -> MeshwardError:
    return MeshwardError(
        codes.REDIRECT_UNUSABLE,
        message,
        f"Give --redirect as it is registered at the issuer, like http://localhost:8765{PATH}.",
    )
