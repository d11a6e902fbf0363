"""Whose request is it? A bearer token becomes a `VerifiedToken`, or a `TokenRefused` that names the step.

     1  size: at most 8 KiB, and not what is known to be no token of ours by how it begins
     2  compact form: three parts of canonical base64url (RFC 7515, 7.1)
     3  strict JSON: header and claims are objects without repeated names
     4  header: a closed set of members; none that carries or fetches a key, no `crit` (RFC 8725, 3.10); no
        algorithm or type that is accepted of nobody
     5  issuer: `iss` is, character for character, one that the policy trusts
     6  type: `typ` is one that this issuer's access tokens have (RFC 8725, 3.11)
     7  key: found by issuer and `kid`; `alg` must be what that key is bound to (RFC 8725, 3.1), and the profile's
     8  signature: by joserfc
     9  audience and client: the token was made for us
    10  claims: what the profile requires is there, what it forbids is not, no `cnf`, and no groups left out
    11  times: integers; not expired, not of the future, and of at most the profile's lifetime in all
    12  subject: the profile's stable id, a printable name

What is read before step 8 is unproven, and used only to find the key. Step 0 belongs to the caller: that
exactly one credential was sent, in `Authorization: Bearer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from meshward.kit.clock import Clock, system_clock
from meshward.kit.reasons import Reason
from meshward.kit.secret import Secret
from meshward.kit.skew import LATE, spelled, until
from meshward.kit.strict import base64url, json_object, token_hash
from meshward.kit.text import is_plain
from meshward.oidc.issuer import TrustedIssuer
from meshward.oidc.jwk import VerificationKey, is_kid
from meshward.oidc.known import refuse_header, refuse_prefix, short_type
from meshward.oidc.profiles import Profile
from meshward.oidc.refusal import TokenRefused

MAX_TOKEN = 8192  # bytes
MAX_SKEW = 5  # seconds that an issuer's clock may be ahead of ours
MAX_SUBJECT = 255  # characters (OpenID Connect Core, 2)

_HEADER = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})  # thumbprints are read by nobody
_CLAIM = re.compile(r"\{([^{}]+)\}")
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
    scopes: tuple[str, ...] = ()

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("only the verifier makes a VerifiedToken")

    @property
    def token_id(self) -> object:
        """`jti`, by which a token is revoked."""
        return self.claims.get("jti")

    @property
    def proof(self) -> dict[str, str]:
        """What names this credential in facts and records, and tells nothing of it."""
        return {"ath": self.ath}


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
        self._misnamed = {
            name: sentence
            for source in self._keys.values()
            for name, sentence in misnamed_issuers(source.issuer).items()
        }
        self._clock = clock
        self._expected = ", ".join(sorted(self._keys)) or "an issuer that this edge trusts"

    async def verify(self, bearer: Secret) -> VerifiedToken:
        """The steps of this module's head, in order. Raises TokenRefused, or KeysUnavailable in step 7."""
        text = bearer.reveal()
        refuse_prefix(text, self._expected)
        check_size(text)
        parts = split_token(text)
        header, claims = parse(parts.header), parse(parts.payload)
        check_header(header)
        keys = self._issued_by(claims)
        issuer = keys.issuer
        check_type(header, issuer.profile)
        key = await keys.find(header["kid"])
        check_algorithm(header, key, issuer.profile)
        key.verify(parts.signed, parts.signature)
        check_audience(claims, issuer)
        check_claims(claims, issuer)
        issued_at, expires_at = check_times(claims, self._clock(), issuer.profile)
        return VerifiedToken(
            issuer=issuer.name,
            subject=subject_of(claims, issuer.profile),
            client=client_of(claims, issuer.profile),
            claims=claims,
            issued_at=issued_at,
            expires_at=expires_at,
            ath=token_hash(text),
            seal=_SEAL,
            scopes=scopes_of(claims, issuer.profile),
        )

    def _issued_by(self, claims: Mapping[str, Any]) -> Keys:
        """Step 5."""
        issuer = claims.get("iss")
        keys = self._keys.get(issuer) if isinstance(issuer, str) else None
        if keys is None:
            usual = f"The issuer of the token is not trusted here. Send a token from {self._expected}."
            raise TokenRefused(Reason.ISSUER_UNKNOWN, self._misnamed.get(str(issuer), usual))
        return keys


def check_size(text: str) -> None:
    """Step 1."""
    if len(text) > MAX_TOKEN:
        raise TokenRefused(
            Reason.TOKEN_TOO_LARGE, f"The token is over {MAX_TOKEN} bytes. Ask for one with fewer claims."
        )


def split_token(text: str) -> Parts:
    """Step 2."""
    pieces = text.split(".")
    if len(pieces) != 3:
        raise _malformed_error("it has not three parts")
    try:
        header, payload, signature = map(base64url, pieces)
    except ValueError:
        raise _malformed_error("a part is not canonical base64url") from None
    return Parts(header, payload, signature, text[: text.rindex(".")].encode("ascii"))


def parse(data: bytes) -> dict[str, Any]:
    """Step 3."""
    try:
        return json_object(data)
    except ValueError:
        raise _malformed_error("a part is not one strict JSON object") from None


def check_header(header: Mapping[str, Any]) -> None:
    """Step 4."""
    refuse_header(header)
    if not _HEADER.issuperset(header):
        raise TokenRefused(
            Reason.TOKEN_HEADER_REFUSED, "The header of the token has a member that is not accepted here."
        )
    kid = header.get("kid")
    if not all(isinstance(value, str) for value in header.values()) or not is_kid(kid or ""):
        raise TokenRefused(
            Reason.TOKEN_HEADER_REFUSED, "The header of the token needs alg and kid as printable text."
        )


def misnamed_issuers(issuer: TrustedIssuer) -> dict[str, str]:
    """For step 5: issuers that are easily taken for `issuer`, with what to say of their tokens."""
    url = urlsplit(issuer.url)
    words = {"{host}": url.netloc, "{first}": url.path.split("/")[1] if url.path else ""}
    named = {}
    for template, sentence in issuer.profile.misnamed.items():
        for word, value in words.items():
            template = template.replace(word, value)
        named[template] = sentence
    return named


def check_type(header: Mapping[str, Any], profile: Profile) -> None:
    """Step 6."""
    if short_type(header.get("typ")) not in profile.typ:
        raise TokenRefused(
            Reason.TOKEN_TYPE_REFUSED,
            "This is not an access token: its typ is another. Send the access token.",
        )


def check_algorithm(header: Mapping[str, Any], key: VerificationKey, profile: Profile) -> None:
    """Step 7: the header does not choose, it must only agree."""
    if header.get("alg") != key.alg or key.alg not in profile.algorithms:
        raise TokenRefused(
            Reason.TOKEN_HEADER_REFUSED, "The alg of the token is not the one that its key is for."
        )


def check_audience(claims: Mapping[str, Any], issuer: TrustedIssuer) -> None:
    """Step 9. The profile says which of the two rules must hold; what the policy gives besides must hold too.

    An audience that every token of the issuer has proves nothing where the policy does not name clients.
    """
    profile, audiences = issuer.profile, issuer.audiences
    by_audience = profile.audience == "aud"
    if not issuer.clients:
        audiences = audiences - profile.shared_audiences
    if (by_audience or issuer.audiences) and not _names_one_of(claims.get("aud"), audiences):
        usual = "The token was not made for this edge: aud must name its audience."
        raise TokenRefused(Reason.AUDIENCE_REFUSED, profile.sentences.get("aud", usual))
    client = client_of(claims, profile)
    if client is None and profile.client_required:
        usual = "The token names no client, so it is no access token. Send the access token."
        raise TokenRefused(Reason.AUDIENCE_REFUSED, profile.sentences.get("client", usual))
    if (not by_audience or issuer.clients) and client not in issuer.clients:
        raise TokenRefused(
            Reason.AUDIENCE_REFUSED, "The token was made for a client that is not accepted here."
        )


def check_claims(claims: Mapping[str, Any], issuer: TrustedIssuer) -> None:
    """Step 10. A token that is bound to a key (`cnf`, RFC 7800) is worth nothing as a bearer token."""
    profile = issuer.profile
    if "cnf" in claims:
        raise TokenRefused(
            Reason.CLAIMS_REFUSED, "The token is bound to a key (cnf); this edge accepts bearer tokens only."
        )
    if any(name in claims for name in profile.forbid):
        raise TokenRefused(Reason.CLAIMS_REFUSED, "This is not an access token. Send the access token.")
    _check_required(claims, profile)
    reads_profiles_groups = issuer.groups in (None, profile.groups)
    if reads_profiles_groups and any(name in claims for name in profile.overage):
        usual = "The groups were left out of the token because there are too many."
        raise TokenRefused(Reason.CLAIMS_REFUSED, profile.sentences.get("overage", usual))


def _check_required(claims: Mapping[str, Any], profile: Profile) -> None:
    for name in profile.present:
        if claims.get(name) is None:
            usual = f"The claim {name} of the token is missing."
            raise TokenRefused(Reason.CLAIMS_REFUSED, profile.sentences.get(name, usual))
    for name, accepted in profile.require.items():
        value = claims.get(name)
        if not any(type(value) is type(other) and value == other for other in accepted):
            usual = f"The claim {name} of the token is missing or has no accepted value."
            raise TokenRefused(Reason.CLAIMS_REFUSED, profile.sentences.get(name, usual))


def check_times(claims: Mapping[str, Any], now: float, profile: Profile) -> tuple[int, int]:
    """Step 11. `iat` and `exp`. An expired token gets no grace; only an issuer's fast clock does."""
    if "exp" not in claims and "exp" in profile.sentences:
        raise TokenRefused(Reason.TOKEN_TIMES_REFUSED, profile.sentences["exp"])
    issued_at, expires_at = _instant(claims, "iat"), _instant(claims, "exp")
    not_before = _instant(claims, "nbf") if "nbf" in claims else issued_at
    if expires_at <= now:
        raise TokenRefused(Reason.TOKEN_EXPIRED, _expired(-until(expires_at, now)))
    if max(issued_at, not_before) > now + MAX_SKEW:
        raise TokenRefused(Reason.TOKEN_TIMES_REFUSED, _too_early(issued_at, not_before, now))
    if expires_at - issued_at > profile.max_lifetime:
        longest = f"{profile.max_lifetime // 3600} hour{'s' if profile.max_lifetime >= 7200 else ''}"
        raise TokenRefused(
            Reason.TOKEN_TIMES_REFUSED, f"The token lives for more than {longest}. Ask for a shorter one."
        )
    return issued_at, expires_at


def _expired(ago: int) -> str:
    if ago > LATE:
        return "The token has expired. Sign in again."
    return (
        f"The token expired {spelled(ago)} ago by our clock. Sign in again; if the token is new, "
        "this is clock skew: see that NTP runs at the issuer and here."
    )


def _too_early(issued_at: int, not_before: int, now: float) -> str:
    """Issued after our now is a sure sign; an issuer may mean a token to begin later."""
    if issued_at > now + MAX_SKEW:
        return (
            f"Clock skew: by our clock the token was issued {spelled(until(issued_at, now))} from now. "
            "See that NTP runs at the issuer and here, then sign in again."
        )
    return (
        f"The token is not valid before {spelled(until(not_before, now))} from now. Wait as long; "
        "if the issuer did not mean that, this is clock skew: see that NTP runs at the issuer and here."
    )


def subject_of(claims: Mapping[str, Any], profile: Profile) -> str:
    """Step 12."""
    rule = profile.subject
    text = rule.text
    if rule.client and _fillings(text, claims) is None and claims.get("sub") == client_of(claims, profile):
        text = rule.client
    values = _fillings(text, claims)
    if values is not None and all(isinstance(value, str) and value for value in values.values()):
        subject = _CLAIM.sub(lambda match: str(values[match[1]]), text)
        if is_subject(subject, profile):
            return subject
    names = " and ".join(_claims_in(text))
    raise TokenRefused(Reason.SUBJECT_REFUSED, f"The claim {names} of the token is not a printable name.")


def is_subject(text: str, profile: Profile | None = None) -> bool:
    """Whether step 12 can come to `text`: for tokens of `profile`, or of any."""
    form = profile.subject.form if profile else None
    return _is_printable(text) and re.fullmatch(form or ".*", text, re.ASCII) is not None


@cache
def _claims_in(text: str) -> tuple[str, ...]:
    """The claims that a subject's form, which is the profile's, names in braces."""
    return tuple(_CLAIM.findall(text))


def _fillings(text: str, claims: Mapping[str, Any]) -> dict[str, Any] | None:
    """What each `{claim}` of `text` stands for; None if one is not there."""
    values = {name: claims.get(name) for name in _claims_in(text)}
    return None if any(value is None for value in values.values()) else values


def client_of(claims: Mapping[str, Any], profile: Profile) -> str | None:
    """The client that the token was issued to; None if it names none, or not as text."""
    value = next((claims[name] for name in profile.client if name in claims), None)
    return value if isinstance(value, str) else None


def scopes_of(claims: Mapping[str, Any], profile: Profile) -> tuple[str, ...]:
    """What the token was issued for. Nothing is decided by it, so what has another form counts as absent."""
    if profile.scopes is None:
        return ()
    value = claims.get(profile.scopes.claim)
    if profile.scopes.format == "text":
        return tuple(value.split()) if isinstance(value, str) else ()
    return tuple(scope for scope in value if isinstance(scope, str)) if isinstance(value, list) else ()


def _malformed_error(why: str) -> TokenRefused:
    return TokenRefused(Reason.TOKEN_MALFORMED, f"The bearer token is not a signed JWT: {why}.")


def _names_one_of(value: object, accepted: frozenset[str]) -> bool:
    names = value if isinstance(value, list) else [value]
    return all(isinstance(name, str) for name in names) and not accepted.isdisjoint(names)


def _instant(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int:
        raise TokenRefused(
            Reason.TOKEN_TIMES_REFUSED, f"The claim {name} of the token is missing or no integer."
        )
    return value


def _is_printable(text: str) -> bool:
    """ASCII only: no look-alikes, nothing that a log or a header could read as something else."""
    return 0 < len(text) <= MAX_SUBJECT and is_plain(text) and text == text.strip()
