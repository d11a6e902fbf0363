"""Certificates for the tests: one long-lived root, a fresh intermediate for each leaf."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey
Issuer = tuple[x509.Certificate, Key]


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: Key) -> bytes:
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())


def _certificate(
    name: str,
    key: Key,
    issuer: Issuer | None,
    names: list[x509.GeneralName],
    end: float = 60,
    begin: float = -2,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(minutes=begin))
        .not_valid_after(now + datetime.timedelta(minutes=end))
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer[1] if issuer else key).public_key()),
            critical=False,
        )
    )
    usage = dict.fromkeys(
        [
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ],
        False,
    )
    builder = builder.add_extension(
        x509.KeyUsage(digital_signature=bool(names), key_cert_sign=not names, crl_sign=not names, **usage),
        critical=True,
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256())


class Pki:
    """`root_pem` verifies all of it."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._root = (_certificate("root", key, None, []), key)
        self.root_pem = _pem(self._root[0])

    def leaf_pem(self, *names: x509.GeneralName, end: float = 60, begin: float = -2) -> bytes:
        """Key, leaf and a new intermediate in one file. The leaf begins in `begin` minutes and ends in `end`."""
        middle_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        middle = (_certificate("intermediate", middle_key, self._root, []), middle_key)
        leaf = _certificate("leaf", key, middle, list(names), end, begin)
        return _key_pem(key) + _pem(leaf) + _pem(middle[0])

    def web_pem(self, hostname: str) -> bytes:
        return self.leaf_pem(x509.DNSName(hostname))

    def edge_pem(self, domain: str) -> bytes:
        return self.leaf_pem(x509.UniformResourceIdentifier(f"spiffe://{domain}/edge"))

    def guard_context(self, name: str) -> ssl.SSLContext:
        """Demands a client certificate below the root; TLS 1.3, and tickets, as a careless guard has."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.root_pem.decode())
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "guard.pem"
            model = name.split(".")[1]
            uri = x509.UniformResourceIdentifier(f"spiffe://td.test/model/{model}")
            file.write_bytes(self.leaf_pem(uri, x509.DNSName(name)))
            context.load_cert_chain(file)
        return context
