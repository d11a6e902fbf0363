"""Credentials that are often sent by mistake, each with the sentence that says what it is and what to send.

They are known by how they begin, by their header's `typ`, or by a member of their header; none is ever accepted.
Nothing here is proof, and none of these sentences holds a part of the credential.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshward.kit.reasons import Reason
from meshward.oidc.refusal import TokenRefused

_HUB = Reason.HUGGINGFACE_TOKEN
_PREFIXES: tuple[tuple[str, Reason, str], ...] = (
    ("hf_oauth_", _HUB, "This is the opaque token of a Hugging Face sign-in (hf_oauth_); it was not kept."),
    ("hf_jwt_", _HUB, "This is a Hugging Face token for one repository (hf_jwt_); it was not kept."),
    ("hf_", _HUB, "This is a Hugging Face token, sent by mistake; it was not kept."),
    (
        "ya29.",
        Reason.TOKEN_OPAQUE,
        "This is a Google access token (ya29.), which is opaque: send the ID token (gcloud auth print-identity-token).",
    ),
    ("ghp_", Reason.TOKEN_OPAQUE, "This is a GitHub token, which is opaque; it was not kept."),
    ("gho_", Reason.TOKEN_OPAQUE, "This is a GitHub token, which is opaque; it was not kept."),
    (
        "ghs_",
        Reason.TOKEN_OPAQUE,
        "This is a GitHub token, which is opaque: a workflow asks for an OIDC token instead.",
    ),
    ("github_pat_", Reason.TOKEN_OPAQUE, "This is a GitHub token, which is opaque; it was not kept."),
    (
        "sk-",
        Reason.TOKEN_OPAQUE,
        "This is a key of another model provider, sent by mistake; it was not kept.",
    ),
)
_TYPES: dict[str, str] = {
    "okta-internal-at+jwt": "This is a token of Okta's org server, which only Okta can verify. Use a custom "
    "authorization server: its issuer ends in /oauth2/default or /oauth2/aus...",
    "logout+jwt": "This is a logout token. Send the access token.",
    "refresh+jwt": "This is a refresh token. Send the access token.",
    "dpop+jwt": "This is a DPoP proof. Only plain bearer tokens are accepted.",
    "txntoken+jwt": "A Transaction Token is never taken from outside. Send your own access token.",
}
_MEMBERS: dict[str, str] = {
    "nonce": "The header has a nonce: this is a token for Microsoft Graph, which only Graph can verify. Ask Entra for "
    "a token of your own API's scope.",
}
ACCEPTED = ("ES256", "RS256", "PS256", "EdDSA", "Ed25519")
_REGISTERED = frozenset(
    {"none", "RS384", "RS512", "PS384", "PS512", "ES384", "ES512", "ES256K", "HS256", "HS384", "HS512"}
    | {"Ed448", "RSA1_5", "RSA-OAEP", "RSA-OAEP-256", "dir"}
)


def refuse_prefix(text: str, expected: str) -> None:
    """Raises TokenRefused for what is known by how it begins. `expected`: whose tokens are accepted here."""
    for prefix, reason, sentence in _PREFIXES:
        if text.startswith(prefix):
            raise TokenRefused(reason, f"{sentence} Send a token from {expected}.")


def refuse_header(header: Mapping[str, Any]) -> None:
    """Raises TokenRefused for what is known by a member of its header, its `typ` or its `alg`."""
    for name, sentence in _MEMBERS.items():
        if name in header:
            raise TokenRefused(Reason.TOKEN_HEADER_REFUSED, sentence)
    typ = short_type(header.get("typ"))
    if typ in _TYPES:
        raise TokenRefused(Reason.TOKEN_TYPE_REFUSED, _TYPES[typ])
    alg = header.get("alg")
    if isinstance(alg, str) and alg not in ACCEPTED:
        named = f"The algorithm {alg}" if alg in _REGISTERED else "The algorithm of the token"
        raise TokenRefused(
            Reason.TOKEN_HEADER_REFUSED, f"{named} is not accepted here; accepted: {', '.join(ACCEPTED)}."
        )


def short_type(typ: object) -> str | None:
    """A `typ` as it is compared: without case and without `application/` (RFC 7515, 4.1.9)."""
    return None if typ is None else str(typ).lower().removeprefix("application/")
