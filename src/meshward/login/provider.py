"""What an issuer says of itself (OpenID Connect Discovery 1.0), as far as a login needs it."""

from __future__ import annotations

from dataclasses import dataclass

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.login.wire import Wire, WireReply, check_url, printable

_WANTED = ("openid", "profile", "groups", "offline_access")


@dataclass(frozen=True, slots=True)
class Provider:
    """Endpoints that are None are not offered."""

    issuer: str
    token: str
    device: str | None  # RFC 8628
    authorization: str | None
    revocation: str | None  # RFC 7009
    scopes: frozenset[str]
    challenges: frozenset[str]  # PKCE methods; empty: not said
    names_itself: bool  # in the answers of its authorization endpoint (RFC 9207)

    @property
    def scope(self) -> str:
        """What a login asks for: `openid`, and of the usual rest what the issuer says it knows."""
        return " ".join(name for name in _WANTED if name == "openid" or name in self.scopes)


def discover(issuer: str, wire: Wire) -> Provider:
    """Raises MeshwardError: MW2106 for a document that cannot be used, else as `Wire.get`."""
    reply = document(issuer, wire)
    if reply.body["issuer"] != issuer:
        named = printable(str(reply.body.get("issuer")))
        raise useless_provider_error(
            issuer, f"its discovery document is of `{named}`; they must be equal, to the last `/`"
        )
    token = _endpoint(reply, "token_endpoint", issuer)
    if token is None:
        raise useless_provider_error(issuer, "it names no token endpoint")
    return Provider(
        issuer=issuer,
        token=token,
        device=_endpoint(reply, "device_authorization_endpoint", issuer),
        authorization=_endpoint(reply, "authorization_endpoint", issuer),
        revocation=_endpoint(reply, "revocation_endpoint", issuer),
        scopes=_texts(reply, "scopes_supported"),
        challenges=_texts(reply, "code_challenge_methods_supported"),
        names_itself=reply.body.get("authorization_response_iss_parameter_supported") is True,
    )


def document(issuer: str, wire: Wire) -> WireReply:
    """Its discovery document, which names an issuer; whether that is this one is the caller's to check."""
    reply = wire.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if reply.status != 200:
        raise useless_provider_error(issuer, f"its discovery document answers {reply.status}")
    if reply.text("issuer") is None:
        raise useless_provider_error(issuer, "its discovery document names no issuer")
    return reply


def _endpoint(reply: WireReply, name: str, issuer: str) -> str | None:
    """An https issuer cannot send us to plain http, this machine's included."""
    url = reply.text(name)
    if url is not None and check_url(url).scheme != "https" and issuer.startswith("https:"):
        raise useless_provider_error(issuer, f"its {name} is not https")
    return url


def _texts(reply: WireReply, name: str) -> frozenset[str]:
    value = reply.body.get(name)
    return (
        frozenset(item for item in value if isinstance(item, str)) if isinstance(value, list) else frozenset()
    )


def useless_provider_error(issuer: str, why: str) -> MeshwardError:
    """An issuer that does not say of itself what is needed."""
    return MeshwardError(
        codes.ISSUER_UNUSABLE,
        f"`{printable(issuer)}` cannot be used: {why}",
    )
