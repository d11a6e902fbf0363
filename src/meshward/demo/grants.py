"""The demo identity provider's OAuth: Authlib's device flow (RFC 8628) and client credentials, in memory.

Authlib checks the requests; here is only what it asks for: the clients, the device codes, and the tokens
(RFC 9068 access tokens; an OpenID Connect ID token where a person granted `openid`). It runs in one thread.
"""
# Authlib has no types, so its classes are Any to mypy:
# mypy: disable-error-code="import-untyped,misc"

from __future__ import annotations

import logging
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749.errors import InvalidClientError
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant, DeviceCredentialMixin
from starlette.responses import JSONResponse

from meshward.demo.accounts import AUDIENCE, BATCH_CLIENT, DEVICE_GRANT, GROUPS, PUBLIC_CLIENT, Accounts
from meshward.demo.keyring import TOKEN_LIFE, KeyRing
from meshward.kit.clock import Clock
from meshward.kit.secret import Secret

SCOPES = ("openid", "profile", "groups")
DEVICE_LIFE = 600
INTERVAL = 5
MAX_TRIES = 5  # wrong passwords for one device code (RFC 8628, 5.1)
_MAX_DEVICES = 1000

log = logging.getLogger("meshward.demo.idp")
logging.getLogger("authlib").setLevel(logging.INFO)  # at DEBUG it logs the tokens that it issues


@dataclass(frozen=True, slots=True)
class Client(ClientMixin):
    """A registered client; a public one has no secret."""

    name: str
    grant: str
    secret: Secret | None = None

    def get_client_id(self) -> str:
        return self.name

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == self.grant

    def check_client_secret(self, client_secret: str) -> bool:
        known = self.secret
        return known is not None and secrets.compare_digest(known.reveal().encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002
        return (method == "none") == (self.secret is None)


@dataclass(slots=True)
class Device(DeviceCredentialMixin):
    """One device that waits for a person. Times are seconds since the epoch."""

    client_id: str
    scope: str | None
    user_code: str
    expires: float
    interval: float
    clock: Clock
    polled: float = 0
    wrong_passwords: int = 0
    approved: bool | None = None
    account: str = ""
    decided: float = 0

    def get_client_id(self) -> str:
        return self.client_id

    def get_scope(self) -> str | None:
        return self.scope

    def get_user_code(self) -> str:
        return self.user_code

    def is_expired(self) -> bool:
        return self.clock() >= self.expires

    def decide(self, account: str, approved: bool) -> None:
        self.account, self.approved, self.decided = account, approved, self.clock()

    def polled_too_soon(self) -> bool:
        """Note a poll. One that comes before its time makes the device wait 5 s longer from then on (3.5)."""
        now = self.clock()
        too_soon = now - self.polled < self.interval
        self.polled = now
        if too_soon:
            self.interval += 5
        return too_soon


class DeviceAuthorization(DeviceAuthorizationEndpoint):
    EXPIRES_IN = DEVICE_LIFE
    INTERVAL = INTERVAL

    def get_verification_uri(self) -> str:
        return f"{self.server.issuer}/device"

    def save_device_credential(self, client_id: str, scope: str | None, data: Mapping[str, Any]) -> None:
        self.server.add_device(client_id, scope, data)


class DeviceGrant(DeviceCodeGrant):
    def query_device_credential(self, device_code: str) -> Device | None:
        found: Device | None = self.server.devices.get(device_code)
        return found

    def query_user_grant(self, user_code: str) -> tuple[Device, bool] | None:
        device = self.server.device_for(user_code)
        return None if device is None or device.approved is None else (device, device.approved)

    def should_slow_down(self, credential: Device) -> bool:
        return credential.polled_too_soon()


class ClientGrant(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class DemoProvider(AuthorizationServer):
    """Authlib's authorization server with the demo's clients, accounts and keys."""

    def __init__(self, issuer: str, accounts: Accounts, keys: KeyRing, clock: Clock) -> None:
        super().__init__(scopes_supported=SCOPES)
        self.issuer = issuer
        self.accounts = accounts
        self.keys = keys
        self.devices: dict[str, Device] = {}
        self._clock = clock
        batch = Client(BATCH_CLIENT, "client_credentials", accounts.secrets[BATCH_CLIENT])
        self._clients = {client.name: client for client in (batch, Client(PUBLIC_CLIENT, DEVICE_GRANT))}
        self.register_grant(DeviceGrant)
        self.register_grant(ClientGrant)
        self.register_endpoint(DeviceAuthorization)
        self.register_token_generator("default", self._issue)

    def add_device(self, client_id: str, scope: str | None, data: Mapping[str, Any]) -> None:
        """Remember a device; one that expired is kept once more as long, to be told so."""
        now = self._clock()
        forgotten = [code for code, device in self.devices.items() if now > device.expires + DEVICE_LIFE]
        for code in forgotten:
            del self.devices[code]
        if len(self.devices) >= _MAX_DEVICES:
            raise OAuth2Error(
                "too many devices are waiting", status_code=503, error="temporarily_unavailable"
            )
        self.devices[data["device_code"]] = Device(
            client_id, scope, data["user_code"], now + DEVICE_LIFE, INTERVAL, self._clock
        )

    def device_for(self, user_code: str) -> Device | None:
        """The device that showed this code, however it was typed; None if there is none or it is over."""
        typed = user_code.upper().replace("-", "").replace(" ", "")
        for device in self.devices.values():
            if device.user_code.replace("-", "") == typed and not device.is_expired():
                return device
        return None

    def query_client(self, client_id: str) -> Client | None:
        return self._clients.get(client_id)

    def authenticate_client(self, request: OAuth2Request, methods: Any, endpoint: str = "token") -> Any:
        try:
            return super().authenticate_client(request, methods, endpoint)
        except ValueError:  # Authlib decodes the Authorization header and does not expect it to fail
            raise InvalidClientError(status_code=401) from None

    def save_token(self, token: Mapping[str, Any], request: OAuth2Request) -> None:  # noqa: ARG002
        """A device code is good for one token."""
        self.devices = {
            code: device for code, device in self.devices.items() if device is not request.credential
        }

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Authlib's hook for frameworks that listen. Nobody does."""

    def create_oauth2_request(self, request: OAuth2Request) -> OAuth2Request:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> JSONResponse:
        return JSONResponse(body, status, headers=dict(headers))

    def _issue(
        self, client: Client, user: Device | None = None, scope: str | None = None, **_: Any
    ) -> dict[str, Any]:
        """The token response: whom it is for is the person that decided, else the client itself."""
        now = int(self._clock())
        subject = user.account if user else client.name
        claims = {
            "iss": self.issuer,
            "sub": subject,
            "preferred_username": subject,
            "iat": now,
            "exp": now + TOKEN_LIFE,
        }
        if user:
            claims["auth_time"] = int(user.decided)
        access = claims | {
            "aud": AUDIENCE,
            "client_id": client.name,
            "groups": list(GROUPS[subject]),
            "jti": str(uuid.uuid4()),
            **({"scope": scope} if scope else {}),
        }
        log.info("access token for %s by way of %s, key %s", subject, client.name, self.keys.current)
        token = {
            "access_token": self.keys.sign("at+jwt", access),
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFE,
        }
        if user and "openid" in (scope or "").split():
            token["id_token"] = self.keys.sign("JWT", claims | {"aud": client.name})
        return token


class Form(OAuth2Request):
    """An OAuth request as Authlib reads it: form fields, each given once."""

    def __init__(self, method: str, url: str, fields: dict[str, str], headers: Mapping[str, str]) -> None:
        super().__init__(method, url, headers=headers)
        self.payload = BasicOAuth2Payload(fields)
        self._fields = fields

    @property
    def form(self) -> dict[str, str]:
        return self._fields
