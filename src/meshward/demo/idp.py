"""The demo's identity provider: discovery, keys, device flow, client credentials. Not for production.

    python -m meshward.demo.idp --state DIR --port N

It listens on loopback only; http://127.0.0.1:PORT is the issuer. Each answer and log line says what it is.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from authlib.oauth2 import OAuth2Error  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meshward.demo import pages
from meshward.demo.accounts import DEVICE_GRANT, PEOPLE, load_or_create_accounts
from meshward.demo.grants import MAX_TRIES, SCOPES, DemoProvider, Form
from meshward.demo.keyring import KeyRing, rotation_secret
from meshward.demo.serve import bind_loopback, serve
from meshward.kit.clock import Clock, system_clock
from meshward.kit.errors import MeshwardError

NOT_FOR_PRODUCTION = "demo-idp (not for production)"
_FORM_LIMIT = 8192

log = logging.getLogger("meshward.demo.idp")


class IdentityProvider:
    """The HTTP side of `DemoProvider`."""

    def __init__(self, state: Path, host: str, port: int, clock: Clock = system_clock) -> None:
        self._host = host
        self._issuer = f"http://{host}:{port}"
        self._keys = KeyRing(state, clock)
        self._rotation_secret = rotation_secret(state)
        self._provider = DemoProvider(self._issuer, load_or_create_accounts(state), self._keys, clock)

    def app(self) -> Starlette:
        routes = [
            Route("/", self.home),
            Route("/.well-known/openid-configuration", self.discovery),
            Route("/jwks", self.jwks),
            Route("/device", self.device),
            Route("/device", self.decide, methods=["POST"]),
            Route("/device_authorization", self.device_authorization, methods=["POST"]),
            Route("/token", self.token, methods=["POST"]),
            Route("/admin/rotate", self.rotate, methods=["POST"]),
        ]
        # A page of another site whose name resolves to 127.0.0.1 must not be able to speak to us.
        hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[self._host], www_redirect=False)
        app = Starlette(
            routes=routes,
            middleware=[Middleware(Stamped), hosts],
            exception_handlers={OAuth2Error: refuse},
        )
        app.router.redirect_slashes = False
        return app

    async def home(self, _: Request) -> Response:
        return pages.home()

    async def discovery(self, _: Request) -> Response:
        """OpenID Connect discovery. No authorization endpoint: no grant here uses one (RFC 8414, 2)."""
        at = self._issuer
        return JSONResponse(
            {
                "issuer": at,
                "jwks_uri": f"{at}/jwks",
                "token_endpoint": f"{at}/token",
                "device_authorization_endpoint": f"{at}/device_authorization",
                "grant_types_supported": [DEVICE_GRANT, "client_credentials"],
                "response_types_supported": [],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "scopes_supported": list(SCOPES),
                "token_endpoint_auth_methods_supported": [
                    "none",
                    "client_secret_basic",
                    "client_secret_post",
                ],
            }
        )

    async def jwks(self, _: Request) -> Response:
        return JSONResponse(self._keys.jwks())

    async def device_authorization(self, request: Request) -> Response:
        form = await read_form(request)
        answer: Response = self._provider.create_endpoint_response("device_authorization", form)
        return answer

    async def token(self, request: Request) -> Response:
        answer: Response = self._provider.create_token_response(await read_form(request))
        return answer

    async def device(self, request: Request) -> Response:
        return pages.device_form(request.query_params.get("user_code", ""))

    async def decide(self, request: Request) -> Response:
        """The person's answer. Too many wrong passwords are a refusal."""
        form = (await read_form(request)).form
        user_code, account = form.get("user_code", ""), form.get("account", "")
        device = self._provider.device_for(user_code)
        if device is None or device.approved is not None:
            return pages.device_form(user_code, "No device waits with this code.", 400)
        if form.get("decision") == "deny":
            device.decide("", approved=False)
            return pages.page("Refused", "<p>The device was not signed in.</p>")
        if form.get("decision") != "approve":
            return pages.device_form(user_code, "Choose one of the two buttons.", 400)
        if self._provider.accounts.accepts(account, form.get("password", "")):
            device.decide(account, approved=True)
            return pages.page("Signed in", "<p>You can close this page; the device goes on.</p>")
        log.warning("wrong password for %s", account if account in PEOPLE else "an unknown account")
        device.wrong_passwords += 1
        if device.wrong_passwords >= MAX_TRIES:
            device.decide("", approved=False)
        return pages.device_form(user_code, "Account and password do not match.", 403)

    async def rotate(self, request: Request) -> Response:
        """Sign with the next key from now on; only for who can read the rotation secret's file."""
        expected = f"Bearer {self._rotation_secret.reveal()}"
        given = request.headers.get("authorization", "")
        if not secrets.compare_digest(given.encode(), expected.encode()):
            return JSONResponse({"error": "invalid_token"}, 401, headers={"WWW-Authenticate": "Bearer"})
        kid = self._keys.rotate()
        log.info("rotated: key %s signs from now on", kid)
        return JSONResponse({"kid": kid})


class Stamped:
    """Says in a header of each answer what this is, and logs its route and status, nothing that was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stamp(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers["x-demo"], headers["cache-control"] = pages.WARNING, "no-store"
                route = scope.get("route")
                path = route.path if isinstance(route, Route) else "an unknown path"
                log.info("%s %s: %s", scope["method"], path, message["status"])
            await send(message)

        await self._app(scope, receive, stamp)


class EveryLine(logging.Formatter):
    """Puts the warning before each line of a record, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"{self.formatTime(record)} {NOT_FOR_PRODUCTION} {record.levelname}"
        return "\n".join(f"{prefix} {line}" for line in super().format(record).splitlines())


async def refuse(_: Request, error: Any) -> Response:
    status, body, headers = error()
    return JSONResponse(body, status, headers=dict(headers))


async def read_form(request: Request) -> Form:
    """A urlencoded form in which nothing is given twice (RFC 6749, 3.2). Raises OAuth2Error."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM_LIMIT:
            raise OAuth2Error("the form is too large", error="invalid_request", status_code=413)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
        fields = dict(pairs)
    except ValueError:
        raise OAuth2Error("the body is not a form", error="invalid_request") from None
    if len(fields) != len(pairs):
        raise OAuth2Error("a parameter is given twice", error="invalid_request")
    return Form(request.method, str(request.url), fields, request.headers)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="meshward.demo.idp", description=f"{NOT_FOR_PRODUCTION}.")
    parser.add_argument("--state", type=Path, required=True, help="the instance's state directory")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address; any other is refused")
    options = parser.parse_args(arguments)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EveryLine())
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    bound = bind_loopback(options.host, options.port)
    host, port = bound.getsockname()
    provider = IdentityProvider(options.state, host, port)
    log.info("issuer http://%s:%s; accounts in %s", host, port, options.state / "demo" / "accounts.json")
    serve(provider.app(), bound)


if __name__ == "__main__":
    try:
        main()
    except MeshwardError as error:
        sys.stderr.write(f"{NOT_FOR_PRODUCTION} {error.code} {error.message}. {error.remedy}\n")
        sys.exit(error.exit_code)
