"""A small certificate authority, and Transaction Tokens, for tests of the guard alone."""

from __future__ import annotations

import base64
import datetime
import json
import time
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Svid:
    chain: str
    key: str


class Authority:
    """A root that issues whatever it is asked for, hostile shapes included."""

    def __init__(self, name: str = "root") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = _now()
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def bundle(self) -> str:
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, *uris: str, dns: str | None = None, seconds: float = 3600) -> Svid:
        """A leaf that ends `seconds` from now (negative: has ended)."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(dns)] if dns else []
        now = _now()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=2))
            .not_valid_after(now + datetime.timedelta(seconds=seconds))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
        )
        leaf = builder.sign(self._key, hashes.SHA256())
        return Svid(leaf.public_bytes(serialization.Encoding.PEM).decode(), _pem(key))


class Signer:
    """Signs JWTs exactly as asked."""

    def __init__(self, kid: str = "k1") -> None:
        self.kid = kid
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def jwk(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": _b64(numbers.x.to_bytes(32)), "y": _b64(numbers.y.to_bytes(32)),
        }  # fmt: skip

    def sign(self, claims: dict[str, object], header: dict[str, object] | None = None) -> str:
        head = {"alg": "ES256", "typ": "txntoken+jwt", "kid": self.kid} | (header or {})
        signed = f"{_b64(json.dumps(head).encode())}.{_b64(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_b64(r.to_bytes(32) + s.to_bytes(32))}"


def claims(model: str = "m.1", action: str = "infer", **changes: object) -> dict[str, object]:
    """The claims of a Transaction Token as the decision service makes them."""
    now = int(time.time())
    permission = f"{model}.{action}"
    tctx = {"model": model, "action": action, "grant": "g-free", "rev": "7"}
    whole: dict[str, object] = {
        "iss": "https://edge.test", "aud": ["td.test", permission], "iat": now, "exp": now + 55,
        "txn": "0d5e2e3a-1b9c-4f0e-9f65-6f2d3c1f7a10", "sub": "okta:alice", "scope": permission,
        "req_wl": "spiffe://td.test/edge", "roles": ["ds"],
        "tctx": tctx, "rctx": {"ath": "x"},
    }  # fmt: skip
    return {name: value for name, value in (whole | changes).items() if value is not None}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
