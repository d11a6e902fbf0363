"""Which kind of provider an issuer is, by its URL and what its discovery document says."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import ip_address

import httpx2

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.login.provider import document, useless_provider_error
from meshward.login.wire import Wire, WireReply, check_url
from meshward.oidc.fetch import is_public
from meshward.policy.schema import GITHUB_ACTIONS, Profile

_OKTA = re.compile(r"[a-z0-9-]+\.(okta|oktapreview|okta-emea|okta-gov)\.com")
_ENTRA = re.compile(
    r"(login\.microsoftonline\.(com|us)|login\.partner\.microsoftonline\.cn|sts\.windows\.net)"
)
_COGNITO = re.compile(r"https://cognito-idp\.([a-z0-9-]+)\.amazonaws\.com/([A-Za-z0-9_-]+)")
_KUBERNETES = re.compile(r"kubernetes\.default(\.svc(\..+)?)?|oidc\.eks\.[a-z0-9-]+\.amazonaws\.com")


@dataclass(frozen=True, slots=True)
class Recognised:
    """`url` is the exact `iss`; `allow` what its keys' place needs of the policy's `jwks: {allow: ...}`."""

    url: str
    profile: Profile
    allow: tuple[str, ...]
    has_device_flow: bool

    @property
    def pool(self) -> tuple[str, str]:
        """A Cognito user pool's region and id."""
        matched = _COGNITO.fullmatch(self.url)
        assert matched is not None  # noqa: S101  that is how it was recognised
        return matched[1], matched[2]


def recognise(url: str, wire: Wire) -> Recognised:
    """Raises MeshwardError for an issuer that cannot be read, or whose tokens nobody else can verify."""
    reply = document(url, wire)
    exact = str(reply.body["issuer"])
    if exact.rstrip("/") != url.rstrip("/"):
        raise useless_provider_error(url, "its discovery document is another issuer's")
    target = check_url(exact)
    profile = _profile(target, reply)
    if profile == "okta" and target.path == "/":
        raise MeshwardError(
            codes.OKTA_ORG_SERVER,
            f"`{exact}` is Okta's org server, whose access tokens are for Okta alone",
            f"Name a custom authorization server, like {exact.rstrip('/')}/oauth2/default.",
        )
    return Recognised(exact, profile, _allow(target), reply.text("device_authorization_endpoint") is not None)


def _profile(target: httpx2.URL, reply: WireReply) -> Profile:
    keys = reply.text("jwks_uri") or ""
    issuer = str(target).rstrip("/")
    if _OKTA.fullmatch(target.host) or keys in (f"{issuer}/v1/keys", f"{issuer}/oauth2/v1/keys"):
        return "okta"
    if _ENTRA.fullmatch(target.host):
        return "entra"
    if _COGNITO.fullmatch(issuer):
        return "cognito"
    if issuer == GITHUB_ACTIONS:
        return "github-actions"
    if _KUBERNETES.fullmatch(target.host) or keys.endswith("/openid/v1/jwks"):
        return "kubernetes"
    if "/realms/" in target.path and keys.endswith("/protocol/openid-connect/certs"):
        return "keycloak"
    return "oidc"


def _allow(target: httpx2.URL) -> tuple[str, ...]:
    if target.scheme == "http":
        return ("http", "private")
    try:
        found = socket.getaddrinfo(target.host, target.port or 443, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    public = all(is_public(ip_address(str(entry[4][0]).partition("%")[0])) for entry in found)
    return () if public else ("private",)
