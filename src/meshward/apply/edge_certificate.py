"""The edge's server certificate: issued here, or from files that somebody else keeps (certbot, an ACME client).

`path` is a directory with `fullchain.pem` and `privkey.pem`, as certbot writes them, or one PEM file with the key and
the chain. Links are followed: certbot renews by replacing them. What nginx is given is written anew from what was
understood, so nothing else of a file goes anywhere. A file that its owner may not read is withdrawn, though root could.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
import stat
from collections.abc import Sequence
from datetime import datetime
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.plan.ir import Plan
from meshward.spiffe.ca import Authority

FULL_CHAIN, PRIVATE_KEY = "fullchain.pem", "privkey.pem"
_MOST = 1 << 20  # bytes of a file
_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----.*?-----END (?:[A-Z]+ )*PRIVATE KEY-----", re.DOTALL
)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_END = b"-----END CERTIFICATE-----\n"
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_LEAST_RSA = 2048  # bits; OpenSSL refuses less in the handshake
_SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"


def server_certificate(plan: Plan, authority: Authority, now: datetime) -> Secret:
    """Key and chain of the certificate that `plan` asks for. Raises MeshwardError (MW3041) for unfit files."""
    path = plan.edge.certificate_path
    if path is None:
        return authority.issue_web(plan.edge.hostname, now).key_and_chain()
    return from_files(Path(path), plan.edge.hostname, now)


def from_files(path: Path, hostname: str, now: datetime) -> Secret:
    """Key and chain in `path`, judged. Raises MeshwardError (MW3041): nothing of a file is in its message."""
    try:
        chain_file, key_file = (path / FULL_CHAIN, path / PRIVATE_KEY) if path.is_dir() else (path, path)
        key, chain = parse_pair(_read(chain_file), _read(key_file))
        require_usable(key, chain, hostname, now)
    except OSError as error:
        raise _certificate_error(path, f"`{error.filename or path}`: {error.strerror or error}") from None
    except ValueError as error:
        raise _certificate_error(path, str(error)) from None
    return Secret(_text(key) + "".join(map(_pem, chain)))


def parse_pair(chain: bytes, key: bytes) -> tuple[object, list[x509.Certificate]]:
    """A private key and the certificates of a chain. Raises ValueError."""
    found = _KEY.findall(key)
    if len(found) != 1:
        raise ValueError(f"{len(found)} private keys instead of one")
    try:
        private = serialization.load_pem_private_key(found[0], password=None)
    except (ValueError, TypeError):
        raise ValueError("the private key cannot be read, or asks for a passphrase") from None
    try:
        certificates = x509.load_pem_x509_certificates(_KEY.sub(b"", chain))
    except ValueError:
        raise ValueError("there is no certificate, or a broken one") from None
    if b"---" in _CERTIFICATE.sub(b"", _KEY.sub(b"", chain)):
        raise ValueError("the chain ends within a certificate")
    return private, certificates


def require_own_key(pem: bytes) -> None:
    """Raises ValueError unless `pem` is a certificate, its chain and its key."""
    key, chain = parse_pair(pem, pem)
    _judge_key(key, chain[0])


def require_usable(key: object, chain: Sequence[x509.Certificate], hostname: str, now: datetime) -> None:
    """Raises ValueError where a client would not take this certificate for `hostname`.

    1  a key that TLS uses, and it is the certificate's
    2  the certificate is a server's, and names the host
    3  it has begun and has not ended, nor has any of the chain
    4  the chain is in order: each is signed by the next
    """
    leaf = chain[0]
    _judge_key(key, leaf)
    _judge_names(leaf, hostname)
    for each in chain:
        if not each.not_valid_before_utc <= now < each.not_valid_after_utc:
            raise ValueError(
                f"{_describe(each)} is valid from {each.not_valid_before_utc} to {each.not_valid_after_utc}"
            )
    for each, issuer in pairwise(chain):
        try:
            each.verify_directly_issued_by(issuer)
        except Exception:
            raise ValueError(
                f"the chain is out of order: {_describe(each)} is not signed by {_describe(issuer)}"
            ) from None


def names_host(names: x509.SubjectAlternativeName, hostname: str) -> bool:
    """Whether a certificate of `names` is one for `hostname` (RFC 9525, 6.3: `*` stands for one whole first label)."""
    try:
        return ip_address(hostname) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        wildcard = "*." + hostname.partition(".")[2]
        return {hostname, wildcard} & {
            name.lower() for name in names.get_values_for_type(x509.DNSName)
        } != set()


def client_roots(authority: Authority, served: str) -> str:
    """What clients on this machine are to trust: the mesh's roots, and the root of a certificate from files.

    That root is the chain's last, if it signed itself, or one of this machine's own; else it cannot be known here.
    """
    last = x509.load_pem_x509_certificates(_KEY.sub(b"", served.encode()))[-1]
    if last.issuer == last.subject:
        return authority.root_pem + _pem(last)
    return authority.root_pem + "".join(_pem(each) for each in _system_roots() if _is_signed_by(last, each))


def _judge_key(key: object, leaf: x509.Certificate) -> None:
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _LEAST_RSA:
            raise ValueError(f"the RSA key has {key.key_size} bits; {_LEAST_RSA} are the least")
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        if not isinstance(key.curve, _CURVES):
            raise ValueError(f"the key's curve {key.curve.name} is none that TLS clients use")
    elif not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ValueError("the key is none of RSA, ECDSA, Ed25519")
    if key.public_key() != leaf.public_key():
        raise ValueError("the private key is another certificate's")


def _judge_names(leaf: x509.Certificate, hostname: str) -> None:
    found = {type(each.value): each.value for each in leaf.extensions}
    constraints, purposes = found.get(x509.BasicConstraints), found.get(x509.ExtendedKeyUsage)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise ValueError("the first certificate is an authority's: the server's own comes first")
    if isinstance(purposes, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
        raise ValueError("the certificate is not for servers")
    names = found.get(x509.SubjectAlternativeName)
    if not isinstance(names, x509.SubjectAlternativeName) or not names_host(names, hostname):
        raise ValueError(f"the certificate does not name `{hostname}`")


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:
        return False
    return True


def _system_roots() -> list[x509.Certificate]:
    for file in (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, _SYSTEM_ROOTS):
        try:
            if file:
                pieces = Path(file).read_bytes().split(_END)[:-1]
                return [each for piece in pieces for each in _parse_pem(piece + _END)]
        except OSError:
            continue
    return []


def _parse_pem(pem: bytes) -> list[x509.Certificate]:
    """One of the machine's; an odd one among hundreds is none of ours."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _read(path: Path) -> bytes:
    """At most _MOST bytes of a regular file, through links. Raises OSError, ValueError."""
    for directory in {*path.absolute().parents, *Path(os.path.realpath(path)).parents}:
        _require_owner_may(stat.S_IXUSR, directory.stat().st_mode, directory)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not make us wait
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"`{path}` is not a regular file")
        _require_owner_may(stat.S_IRUSR, os.fstat(descriptor).st_mode, path)
        content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise ValueError(f"`{path}` is larger than {_MOST} bytes")
    return content


def _require_owner_may(wanted: int, mode: int, path: Path) -> None:
    """Root may all; whoever takes it from the owner means us too. Raises OSError."""
    if not mode & wanted:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _text(key: object) -> str:
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey)  # noqa: S101
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _describe(certificate: x509.Certificate) -> str:
    return f"the certificate of `{certificate.subject.rfc4514_string()[:80]}`"


def _certificate_error(path: Path, why: str) -> MeshwardError:
    return MeshwardError(
        codes.CERTIFICATE_UNSERVABLE,
        f"the edge's certificate in `{path}` cannot be served: {why}",
        f"`path` names a directory with `{FULL_CHAIN}` and `{PRIVATE_KEY}`, or one PEM file with key and chain, for "
        "meshward's user to read. What was served goes on being served until the instance stops; clients refuse it "
        "once it has ended.",
    )
