"""A certificate that vouches for nothing, for a program that wants one in its file but is told later which to show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from meshward.kit.secret import Secret

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def placeholder_certificate() -> Secret:
    """Key and certificate, PEM: of nobody, by itself, over since 1970."""
    key = ec.generate_private_key(ec.SECP256R1())
    nobody = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(nobody)
        .issuer_name(nobody)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_LONG_AGO)
        .not_valid_after(_LONG_AGO + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Secret((private + certificate.public_bytes(Encoding.PEM)).decode())
