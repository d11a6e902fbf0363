"""Our certificate authority: a root for ten years that everybody trusts, and an intermediate that issues.

    root.pem, root.key.pem          trusted by edge, guards and clients; its key signs intermediates only
    issuing.pem, issuing.key.pem    replaced `RENEW` before its end; leaves are sent together with it

Keys are 0600 in a 0700 directory. Everything is ECDSA P-256. Certificate signing requests do not exist here:
each leaf gets a fresh key and exactly the names that were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.spiffe.ids import SpiffeId

SVID_TTL = timedelta(hours=1)
WEB_TTL = timedelta(days=7)
ROOT_TTL = timedelta(days=3650)
ISSUING_TTL = timedelta(days=365)
RENEW = timedelta(days=30)
BACKDATE = timedelta(minutes=1)  # for clocks that are a little behind

_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class Credential:
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


class Authority:
    """Issues leaves of one trust domain."""

    def __init__(self, trust_domain: str, root: x509.Certificate, issuing: Signer) -> None:
        self.trust_domain = trust_domain
        self.root = root
        self._issuing = issuing

    @property
    def root_pem(self) -> str:
        """The trust bundle."""
        return _pem(self.root)

    def with_intermediates(self, known: str, now: datetime) -> str:
        """The trust bundle, and then every intermediate that may have issued a leaf that lives: the one that issues now
        and those of `known`, an earlier result. For verifiers that are given a leaf without its chain."""
        try:
            earlier = x509.load_pem_x509_certificates(known.encode())
        except ValueError:
            earlier = []
        kept = [each for each in earlier if each.not_valid_after_utc > now and _is_below(each, self.root)]
        current = self._issuing.certificate
        return "".join(map(_pem, dict.fromkeys([self.root, current, *kept])))

    def issue(
        self, spiffe_id: SpiffeId, dns_name: str | None, now: datetime, ttl: timedelta = SVID_TTL
    ) -> Credential:
        """An X.509-SVID: exactly one URI, at most one DNS name (for proxies that cannot check a URI)."""
        if not spiffe_id.is_workload or spiffe_id.trust_domain != self.trust_domain:
            raise ValueError(f"{spiffe_id} names no workload of {self.trust_domain}")
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(spiffe_id))]
        if dns_name is not None:
            names.append(x509.DNSName(dns_name))
        return self._leaf(names, [_SERVER, _CLIENT], now, ttl)

    def issue_web(self, hostname: str, now: datetime, ttl: timedelta = WEB_TTL) -> Credential:
        """The edge's server certificate. It has no URI, so it is no identity inside the mesh."""
        return self._leaf(_web_names(hostname), [_SERVER], now, ttl)

    def _leaf(
        self,
        names: list[x509.GeneralName],
        usages: list[x509.ObjectIdentifier],
        now: datetime,
        ttl: timedelta,
    ) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        end = min(now + ttl, self._issuing.certificate.not_valid_after_utc)
        builder = (
            _builder("", key.public_key(), self._issuing, now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(leaf=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        certificate = builder.sign(self._issuing.key, hashes.SHA256())
        chain = _pem(certificate) + _pem(self._issuing.certificate)
        serial = f"{certificate.serial_number:x}"
        return Credential(chain, Secret(_key_pem(key).decode()), serial, certificate.not_valid_after_utc)


def load_or_create(directory: Path, trust_domain: str, now: datetime | None = None) -> Authority:
    """The authority kept in `directory`; what is missing or near its end is made.

    Raises MeshwardError (MW2021) if it is damaged or is another trust domain's.
    """
    now = now or datetime.now(UTC)
    private_directory(directory)
    try:
        root = _load(directory, "root") or _store(directory, "root", make_root(trust_domain, now))
        issuing = _load(directory, "issuing")
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(directory, type(error).__name__) from None
    if _domain_of(root.certificate) != trust_domain:
        raise _damaged(
            directory, f"it is the authority of another trust domain, {_domain_of(root.certificate)}"
        )
    if issuing is None or not _is_good(issuing, root, now):
        issuing = _store(directory, "issuing", make_issuing(trust_domain, root, now))
    return Authority(trust_domain, root.certificate, issuing)


def load(directory: Path, trust_domain: str) -> Authority:
    """The authority kept in `directory`; nothing is made. Raises MeshwardError (MW2021) if it cannot issue."""
    try:
        root, issuing = _load(directory, "root"), _load(directory, "issuing")
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(directory, type(error).__name__) from None
    if root is None or issuing is None:
        raise _damaged(directory, "there is none yet: `meshward up` makes it")
    if _domain_of(root.certificate) != trust_domain or not _is_below(issuing.certificate, root.certificate):
        raise _damaged(directory, f"it is not the authority of {trust_domain}")
    return Authority(trust_domain, root.certificate, issuing)


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


def _web_names(hostname: str) -> list[x509.GeneralName]:
    try:
        return [x509.IPAddress(ip_address(hostname))]
    except ValueError:
        names: list[x509.GeneralName] = [x509.DNSName(hostname)]
    if hostname == "localhost":
        names += [x509.IPAddress(ip_address("127.0.0.1")), x509.IPAddress(ip_address("::1"))]
    return names


def _is_good(issuing: Signer, root: Signer, now: datetime) -> bool:
    """Whether the intermediate is this root's and has life left to issue from."""
    certificate = issuing.certificate
    return _is_below(certificate, root.certificate) and certificate.not_valid_after_utc - now > RENEW


def _is_below(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    if certificate.issuer != root.subject:
        return False
    try:
        certificate.verify_directly_issued_by(root)
    except Exception:
        return False
    return True


def _domain_of(certificate: x509.Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0].removeprefix("spiffe://") if len(uris) == 1 else ""


def _store(directory: Path, name: str, signer: Signer) -> Signer:
    """Key first: a crash in between leaves a key without a certificate, which the next start replaces."""
    write_atomic(directory / f"{name}.key.pem", _key_pem(signer.key))
    write_atomic(directory / f"{name}.pem", _pem(signer.certificate))
    return signer


def _load(directory: Path, name: str) -> Signer | None:
    """None if there is none; ValueError if key and certificate do not belong together."""
    file = directory / f"{name}.pem"
    if not file.exists():
        return None
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    key = serialization.load_pem_private_key((directory / f"{name}.key.pem").read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError(f"{name}: key and certificate differ")
    return Signer(certificate, key)


def _damaged(directory: Path, why: str) -> MeshwardError:
    return MeshwardError(
        "MW2021",
        f"the certificate authority in `{directory}` cannot be used ({why})",
        "Restore the directory, or remove it: a new root is made, which clients must then be given.",
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
