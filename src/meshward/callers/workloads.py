"""A workload's TLS client certificate becomes an identity, or a refusal that says why.

nginx has verified the handshake and the chain up to our root (`SUCCESS`), and hands over the leaf alone. The rest is
checked here, on every decision anew: a connection may outlive the certificate that opened it.

1  nginx says SUCCESS, nothing else
2  one certificate, whose chain ends at our root now (`spiffe.chain`): signatures, validity, usages, exactly one URI
3  the URI is a workload's that the policy names, and no part of meshward itself
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshward.kit.reasons import Reason
from meshward.kit.skew import LATE, spelled, until
from meshward.kit.strict import encode
from meshward.spiffe.chain import ChainRefused, verify_chain

AUTHORITIES = "authorities.pem"
"""In RUN/given/decide: the roots of the trust bundle, and the intermediates that issue or have issued (`spiffe.ca`)."""
_END = "-----END CERTIFICATE-----"


class CertificateRefused(Exception):
    """A client certificate that proves no workload of the policy. `sentence` is printable ASCII."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class VerifiedWorkload:
    """What a certificate proves. `expires_at`: its end, in seconds since the epoch."""

    name: str
    thumbprint: str  # base64url SHA-256 of the certificate (RFC 8705, 3.1: `x5t#S256`)
    expires_at: int

    @property
    def client(self) -> None:
        return None

    @property
    def token_id(self) -> None:
        return None

    @property
    def proof(self) -> dict[str, str]:
        return {"x5t": self.thumbprint}


@dataclass(frozen=True, slots=True)
class Authorities:
    """Both PEM: the roots that are trusted, and what may stand between one and a leaf."""

    bundle: str
    intermediates: str


class Workloads:
    """The workloads of one policy, by SPIFFE ID. Reads the authorities anew whenever their file was replaced."""

    def __init__(self, authorities: Path, trust_domain: str, named: Mapping[str, str]) -> None:
        self._file = authorities
        self._trust_domain = trust_domain
        self._names = {spiffe_id: name for name, spiffe_id in named.items()}
        self._read: tuple[tuple[int, int], Authorities] | None = None

    def verify(self, verdict: str, certificate: str, now: float) -> VerifiedWorkload:
        """The steps of this module's head. Raises CertificateRefused, or OSError if there are no authorities."""
        if verdict != "SUCCESS":
            raise _certificate_error("it is not one of this trust domain's")
        at = datetime.fromtimestamp(now, UTC)
        known = self._authorities()
        if certificate.count(_END) != 1:
            raise _certificate_error("it is not one certificate")
        try:
            spiffe_id = verify_chain(certificate + known.intermediates, known.bundle, self._trust_domain, at)
        except ChainRefused:
            raise _certificate_error(self._doubt(certificate, known, now)) from None
        name = self._names.get(str(spiffe_id))
        if spiffe_id.is_reserved:
            raise _certificate_error("it belongs to a part of the mesh, which is no caller")
        if name is None:
            raise CertificateRefused(
                Reason.WORKLOAD_UNKNOWN,
                "The policy names no workload of this certificate's SPIFFE ID. Ask the policy's owners to name it.",
            )
        leaf = x509.load_pem_x509_certificate(certificate.encode())
        thumbprint = encode(hashlib.sha256(leaf.public_bytes(Encoding.DER)).digest())
        return VerifiedWorkload(name, thumbprint, int(leaf.not_valid_after_utc.timestamp()))

    def _doubt(self, certificate: str, known: Authorities, now: float) -> str:
        """Why its chain was refused at `now`. Its times are told only where it proves a workload within them."""
        usual = "it proves no workload, or no longer"
        try:
            leaf = x509.load_pem_x509_certificate(certificate.encode())
            within, why = _out_of_time(leaf, now)
            if within is not None:
                verify_chain(certificate + known.intermediates, known.bundle, self._trust_domain, within)
        except (ValueError, ChainRefused):
            return usual
        return why or usual

    def _authorities(self) -> Authorities:
        """The file's; it is replaced by a rename, so its inode tells whether it is another."""
        stat = os.stat(self._file)  # noqa: PTH116  on every undecided request of a workload
        state = (stat.st_ino, stat.st_mtime_ns)
        if self._read is None or self._read[0] != state:
            self._read = (state, _sort_authorities(self._file.read_bytes(), self._file.name))
        return self._read[1]


def _out_of_time(leaf: x509.Certificate, now: float) -> tuple[datetime | None, str]:
    """A moment at which `leaf` was or will be valid, and how far that is off; None if a clock is no likely cause."""
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    early, late = until(int(begins.timestamp()), now), -until(int(ends.timestamp()), now)
    if early > 0:
        return (
            begins,
            f"clock skew, it begins {spelled(early)} from now by our clock, see that NTP runs on both",
        )
    if 0 <= late <= LATE:
        return ends, f"it ended {spelled(late)} ago by our clock; if it is new, that is clock skew, check NTP"
    return None, ""


def _sort_authorities(content: bytes, name: str) -> Authorities:
    """Roots are what signed itself. Raises OSError where there is none."""
    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError:
        found = []
    texts: dict[bool, list[str]] = {True: [], False: []}
    for each in found:
        texts[each.issuer == each.subject].append(each.public_bytes(Encoding.PEM).decode("ascii"))
    if not texts[True]:
        raise OSError(f"{name} holds no root certificate")
    return Authorities("".join(texts[True]), "".join(texts[False]))


def _certificate_error(why: str) -> CertificateRefused:
    return CertificateRefused(
        Reason.CERTIFICATE_REFUSED,
        f"The client certificate was refused: {why}. Send a current SVID of a workload, or none and a token.",
    )
