"""X.509 as the authority makes it: a root, intermediates below it, leaves with exactly the names that were asked for.

Everything is ECDSA P-256, each certificate with a fresh key. Requests for signing do not exist here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshward.kit.secret import Secret
from meshward.spiffe.ids import SpiffeId

ROOT_TTL = timedelta(days=3650)
ISSUING_TTL = timedelta(days=365)
BACKDATE = timedelta(minutes=1)  # for clocks that are a little behind
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class LeafCredential:
    """A leaf certificate with its chain (without the root) and its private key, both PEM."""

    chain: str
    key: Secret
    serial: str  # lower-case hex, as proxies log it
    not_after: datetime

    def key_and_chain(self) -> Secret:
        """Both in one text: a proxy that reads one file cannot see a key without its certificate."""
        return Secret(self.key.reveal() + self.chain)


@dataclass(frozen=True, slots=True)
class Signer:
    """A CA certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


def make_leaf(
    by: Signer,
    names: list[x509.GeneralName],
    usages: list[x509.ObjectIdentifier],
    now: datetime,
    ttl: timedelta,
) -> LeafCredential:
    """A leaf that `by` signs; it ends no later than its issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + ttl, by.certificate.not_valid_after_utc)
    builder = (
        _builder("", key.public_key(), by, now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(leaf=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    certificate = builder.sign(by.key, hashes.SHA256())
    chain = pem_of(certificate) + pem_of(by.certificate)
    serial = f"{certificate.serial_number:x}"
    return LeafCredential(chain, Secret(key_pem(key).decode()), serial, certificate.not_valid_after_utc)


def make_root(trust_domain: str, now: datetime) -> Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    return _authority(trust_domain, "root", key, None, now, now + ROOT_TTL)


def make_issuing(trust_domain: str, root: Signer, now: datetime) -> Signer:
    """An intermediate below `root`. A new one can be used at once: verifiers know only the root."""
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + ISSUING_TTL, root.certificate.not_valid_after_utc)
    return _authority(trust_domain, "issuing", key, root, now, end)


def _authority(
    trust_domain: str,
    what: str,
    key: ec.EllipticCurvePrivateKey,
    by: Signer | None,
    now: datetime,
    end: datetime,
) -> Signer:
    """A CA certificate (X509-SVID, 3.2 and 4): its URI is the trust domain, which no leaf may have."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(SpiffeId(trust_domain)))]
    builder = (
        _builder(f"meshward {what}", key.public_key(), by, now, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1 if by is None else 0), critical=True)
        .add_extension(_usage(leaf=False), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return Signer(builder.sign(by.key if by else key, hashes.SHA256()), key)


def _builder(
    name: str, public: ec.EllipticCurvePublicKey, by: Signer | None, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    """What every certificate has; `by` is None for the root, which signs itself."""
    subject = _name(name)
    authority = by.certificate.public_key() if by else public
    assert isinstance(authority, ec.EllipticCurvePublicKey)  # noqa: S101
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "meshward")]
    if common_name:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


def _usage(*, leaf: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=leaf,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def web_names(hostname: str) -> list[x509.GeneralName]:
    try:
        return [x509.IPAddress(ip_address(hostname))]
    except ValueError:
        names: list[x509.GeneralName] = [x509.DNSName(hostname)]
    if hostname == "localhost":
        names += [x509.IPAddress(ip_address("127.0.0.1")), x509.IPAddress(ip_address("::1"))]
    return names


def is_below(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    if certificate.issuer != root.subject:
        return False
    try:
        certificate.verify_directly_issued_by(root)
    except Exception:
        return False
    return True


def domain_of(certificate: x509.Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0].removeprefix("spiffe://") if len(uris) == 1 else ""


def pem_of(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
