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

from meshward.oidc.strict import encode
from meshward.spiffe.chain import ChainRefused, verify_chain

AUTHORITIES = "authorities.pem"
"""In RUN/decide: the root, then the intermediates that issue or have issued (`spiffe.ca`)."""
_END = "-----END CERTIFICATE-----"


class CertificateRefused(Exception):
    """A client certificate that proves no workload of the policy. `sentence` is printable ASCII."""

    def __init__(self, reason: str, sentence: str) -> None:
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


class Workloads:
    """The workloads of one policy, by SPIFFE ID. Reads the authorities anew whenever their file was replaced."""

    def __init__(self, authorities: Path, trust_domain: str, named: Mapping[str, str]) -> None:
        self._file = authorities
        self._trust_domain = trust_domain
        self._names = {spiffe_id: name for name, spiffe_id in named.items()}
        self._read: tuple[tuple[int, int], str] | None = None

    def verify(self, verdict: str, certificate: str, now: float) -> VerifiedWorkload:
        """The steps of this module's head. Raises CertificateRefused, or OSError if there are no authorities."""
        if verdict != "SUCCESS":
            raise _refused("it is not one of this trust domain's")
        at = datetime.fromtimestamp(now, UTC)
        root, *intermediates = self._authorities()
        if certificate.count(_END) != 1:
            raise _refused("it is not one certificate")
        try:
            spiffe_id = verify_chain("".join([certificate, *intermediates]), root, self._trust_domain, at)
        except ChainRefused:
            raise _refused("it proves no workload, or no longer") from None
        name = self._names.get(str(spiffe_id))
        if spiffe_id.is_reserved:
            raise _refused("it belongs to a part of the mesh, which is no caller")
        if name is None:
            raise CertificateRefused(
                "workload_unknown",
                "The policy names no workload of this certificate's SPIFFE ID. Ask the policy's owners to name it.",
            )
        leaf = x509.load_pem_x509_certificate(certificate.encode())
        thumbprint = encode(hashlib.sha256(leaf.public_bytes(Encoding.DER)).digest())
        return VerifiedWorkload(name, thumbprint, int(leaf.not_valid_after_utc.timestamp()))

    def _authorities(self) -> list[str]:
        """Each certificate of the file; it is replaced by a rename, so its inode tells whether it is another."""
        stat = os.stat(self._file)  # noqa: PTH116  on every undecided request of a workload
        state = (stat.st_ino, stat.st_mtime_ns)
        if self._read is None or self._read[0] != state:
            self._read = (state, self._file.read_text(encoding="ascii"))
        pieces = self._read[1].split(_END)[:-1]
        if not pieces:
            raise OSError(f"{self._file.name} holds no certificate")
        return [f"{piece.lstrip()}{_END}\n" for piece in pieces]


def _refused(why: str) -> CertificateRefused:
    return CertificateRefused(
        "certificate_refused",
        f"The client certificate was refused: {why}. Send a current SVID of a workload, or none and a token.",
    )
