"""Whose request is it? A bearer token becomes a `VerifiedToken`, or a `TokenRefused` that names the step.

     1  size: at most 8 KiB
     2  compact form: three parts of canonical base64url (RFC 7515, 7.1)
     3  strict JSON: header and claims are objects without repeated names
     4  header: a closed set of members; none that carries or fetches a key, no `crit` (RFC 8725, 3.10)
     5  issuer: `iss` is, character for character, one that the policy trusts
     6  type: `typ` is one that this issuer's access tokens have (RFC 8725, 3.11)
     7  key: found by issuer and `kid`; `alg` must be what that key is bound to (RFC 8725, 3.1)
     8  signature: by joserfc
     9  audience and client: the token was made for us
    10  claims: what the profile requires is there, what it forbids is not, and no `cnf`
    11  times: integers; not expired, not of the future, and of at most 24 hours in all
    12  subject: a printable name

What is read before step 8 is unproven, and used only to find the key. Step 0 belongs to the caller: that
exactly one credential was sent, in `Authorization: Bearer`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass
from typing import Any, NamedTuple, Protocol

from meshward.kit.clock import Clock, system_clock
from meshward.kit.secret import Secret
from meshward.oidc.issuer import TrustedIssuer
from meshward.oidc.jwk import VerificationKey, is_kid
from meshward.oidc.profiles import Profile
from meshward.oidc.refusal import Reason, TokenRefused
from meshward.oidc.strict import base64url, encode, json_object

MAX_TOKEN = 8192  # bytes
MAX_LIFETIME = 86400  # seconds
MAX_SKEW = 5  # seconds that an issuer's clock may be ahead of ours
MAX_SUBJECT = 255  # characters (OpenID Connect Core, 2)

_HEADER = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})  # thumbprints are read by nobody
_SEAL = object()


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What an issuer vouches for. Only `Verifier.verify` can make one. Times are seconds since the epoch."""

    issuer: str  # its name in the policy
    subject: str
    client: str | None
    claims: Mapping[str, Any]
    issued_at: int
    expires_at: int
    ath: str  # base64url SHA-256 of the token (RFC 9449, 4.2)
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("only the verifier makes a VerifiedToken")


class Keys(Protocol):
    """Where `Verifier` finds the keys of one issuer."""

    @property
    def issuer(self) -> TrustedIssuer: ...

    async def find(self, kid: str) -> VerificationKey:
        """Raises TokenRefused if the issuer has no such key, KeysUnavailable if that cannot be known."""
        ...


class Parts(NamedTuple):
    """A compact JWS taken apart; `signed` is the text under the signature."""

    header: bytes
    payload: bytes
    signature: bytes
    signed: bytes


class Verifier:
    """Verifies the tokens of all trusted issuers."""

    def __init__(self, keys: Iterable[Keys], clock: Clock = system_clock) -> None:
        self._keys = {source.issuer.url: source for source in keys}
        self._clock = clock
        self._expected = ", ".join(sorted(self._keys)) or "an issuer that this edge trusts"

    async def verify(self, bearer: Secret) -> VerifiedToken:
        """The steps of this module's head, in order. Raises TokenRefused, or KeysUnavailable in step 7."""
        text = bearer.reveal()
        self._refuse_huggingface(text)
        check_size(text)
        parts = split(text)
        header, claims = parse(parts.header), parse(parts.payload)
        check_header(header)
        keys = self._issued_by(claims)
        issuer = keys.issuer
        check_type(header, issuer.profile)
        key = await keys.find(header["kid"])
        check_algorithm(header, key)
        key.verify(parts.signed, parts.signature)
        check_audience(claims, issuer)
        check_claims(claims, issuer.profile)
        issued_at, expires_at = check_times(claims, self._clock())
        return VerifiedToken(
            issuer=issuer.name,
            subject=subject_of(claims, issuer.profile),
            client=client_of(claims, issuer.profile),
            claims=claims,
            issued_at=issued_at,
            expires_at=expires_at,
            ath=token_hash(text),
            seal=_SEAL,
        )

    def _refuse_huggingface(self, text: str) -> None:
        """Clients of the Hub send their saved token to any URL. Its text goes no further."""
        if text.startswith("hf_"):
            hint = "This is a Hugging Face token, sent by mistake; it was not kept. Send a token from"
            raise TokenRefused(Reason.HUGGINGFACE_TOKEN, f"{hint} {self._expected}.")

    def _issued_by(self, claims: Mapping[str, Any]) -> Keys:
        """Step 5."""
        issuer = claims.get("iss")
        keys = self._keys.get(issuer) if isinstance(issuer, str) else None
        if keys is None:
            raise TokenRefused(
                Reason.ISSUER,
                f"The issuer of the token is not trusted here. Send a token from {self._expected}.",
            )
        return keys


def check_size(text: str) -> None:
    """Step 1."""
    if len(text) > MAX_TOKEN:
        raise TokenRefused(
            Reason.TOO_LARGE, f"The token is over {MAX_TOKEN} bytes. Ask for one with fewer claims."
        )


def split(text: str) -> Parts:
    """Step 2."""
    pieces = text.split(".")
    if len(pieces) != 3:
        raise _malformed("it has not three parts")
    try:
        header, payload, signature = map(base64url, pieces)
    except ValueError:
        raise _malformed("a part is not canonical base64url") from None
    return Parts(header, payload, signature, text[: text.rindex(".")].encode("ascii"))


def parse(data: bytes) -> dict[str, Any]:
    """Step 3."""
    try:
        return json_object(data)
    except ValueError:
        raise _malformed("a part is not one strict JSON object") from None


def check_header(header: Mapping[str, Any]) -> None:
    """Step 4."""
    if not _HEADER.issuperset(header):
        raise TokenRefused(Reason.HEADER, "The header of the token has a member that is not accepted here.")
    kid = header.get("kid")
    if not all(isinstance(value, str) for value in header.values()) or not is_kid(kid or ""):
        raise TokenRefused(Reason.HEADER, "The header of the token needs alg and kid as printable text.")


def check_type(header: Mapping[str, Any], profile: Profile) -> None:
    """Step 6. Media types are compared without case and without `application/` (RFC 7515, 4.1.9)."""
    typ = header.get("typ")
    short = None if typ is None else str(typ).lower().removeprefix("application/")
    if short not in profile.typ:
        raise TokenRefused(
            Reason.TYPE, "This is not an access token: its typ is another. Send the access token."
        )


def check_algorithm(header: Mapping[str, Any], key: VerificationKey) -> None:
    """Step 7: the header does not choose, it must only agree."""
    if header.get("alg") != key.alg:
        raise TokenRefused(Reason.HEADER, "The alg of the token is not the one that its key is for.")


def check_audience(claims: Mapping[str, Any], issuer: TrustedIssuer) -> None:
    """Step 9. Without an audience claim the clients decide; where both are given, both must hold."""
    name = issuer.profile.audience
    if name is not None and not _names_one_of(claims.get(name), issuer.audiences):
        raise TokenRefused(
            Reason.AUDIENCE, f"The token was not made for this edge: {name} must name its audience."
        )
    if (name is None or issuer.clients) and client_of(claims, issuer.profile) not in issuer.clients:
        raise TokenRefused(Reason.AUDIENCE, "The token was made for a client that is not accepted here.")


def check_claims(claims: Mapping[str, Any], profile: Profile) -> None:
    """Step 10. A token that is bound to a key (`cnf`, RFC 7800) is worth nothing as a bearer token."""
    if "cnf" in claims:
        raise TokenRefused(
            Reason.CLAIMS, "The token is bound to a key (cnf); this edge accepts bearer tokens only."
        )
    if any(name in claims for name in profile.forbid):
        raise TokenRefused(Reason.CLAIMS, "This is not an access token. Send the access token.")
    for name, accepted in profile.require.items():
        value = claims.get(name)
        if not any(type(value) is type(other) and value == other for other in accepted):
            raise TokenRefused(
                Reason.CLAIMS, f"The claim {name} of the token is missing or has no accepted value."
            )


def check_times(claims: Mapping[str, Any], now: float) -> tuple[int, int]:
    """Step 11. `iat` and `exp`. An expired token gets no grace; only an issuer's fast clock does."""
    issued_at, expires_at = _instant(claims, "iat"), _instant(claims, "exp")
    not_before = _instant(claims, "nbf") if "nbf" in claims else issued_at
    if expires_at <= now:
        raise TokenRefused(Reason.EXPIRED, "The token has expired. Sign in again.")
    if max(issued_at, not_before) > now + MAX_SKEW:
        raise TokenRefused(
            Reason.TIMES, "The token is not valid yet: a clock is wrong, the issuer's or ours."
        )
    if expires_at - issued_at > MAX_LIFETIME:
        raise TokenRefused(Reason.TIMES, "The token lives for more than 24 hours. Ask for a shorter one.")
    return issued_at, expires_at


def subject_of(claims: Mapping[str, Any], profile: Profile) -> str:
    """Step 12."""
    subject = claims.get(profile.subject)
    if not isinstance(subject, str) or not _is_printable(subject):
        raise TokenRefused(
            Reason.SUBJECT, f"The claim {profile.subject} of the token is not a printable name."
        )
    return subject


def client_of(claims: Mapping[str, Any], profile: Profile) -> str | None:
    """The client that the token was issued to; None if it names none, or not as text."""
    value = next((claims[name] for name in profile.client if name in claims), None)
    return value if isinstance(value, str) else None


def token_hash(text: str) -> str:
    """base64url SHA-256 of a token: what logs and records hold in its place."""
    return encode(hashlib.sha256(text.encode("ascii")).digest())


def _malformed(why: str) -> TokenRefused:
    return TokenRefused(Reason.MALFORMED, f"The bearer token is not a signed JWT: {why}.")


def _names_one_of(value: object, accepted: frozenset[str]) -> bool:
    names = value if isinstance(value, list) else [value]
    return all(isinstance(name, str) for name in names) and not accepted.isdisjoint(names)


def _instant(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int:
        raise TokenRefused(Reason.TIMES, f"The claim {name} of the token is missing or no integer.")
    return value


def _is_printable(text: str) -> bool:
    """ASCII only: no look-alikes, nothing that a log or a header could read as something else."""
    return 0 < len(text) <= MAX_SUBJECT and text.isascii() and text.isprintable() and text == text.strip()
