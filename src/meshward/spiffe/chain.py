"""Is this chain an X.509-SVID of our trust domain? (X509-SVID.md, sections 4 and 5)"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.spiffe.ids import SpiffeId, SpiffeIdInvalid, parse

_USAGES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


class ChainRefused(MeshwardError):
    """MW2022: certificates that do not prove a workload of the trust domain."""


def verify_chain(chain_pem: str, bundle_pem: str, trust_domain: str, at: datetime) -> SpiffeId:
    """The workload that the first certificate of `chain_pem` proves at `at`. Raises ChainRefused.

    1  path: signatures, validity, CA and path length constraints up to a root of the bundle; they alone are trusted
    2  leaf: not a CA, may sign but not certify, and, if it says what for, both for client and server
    3  name: exactly one URI, a SPIFFE ID of this trust domain with a path
    """
    try:
        leaf, *others = x509.load_pem_x509_certificates(chain_pem.encode())
        roots = x509.load_pem_x509_certificates(bundle_pem.encode())
        _check_path(leaf, others, roots, at)
        _check_leaf(leaf)
        spiffe_id = parse(_only_uri(leaf))
    except (ValueError, VerificationError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise _chain_error(str(error)) from None
    except SpiffeIdInvalid as error:
        raise _chain_error(error.message) from None
    if spiffe_id.trust_domain != trust_domain or not spiffe_id.is_workload:
        raise _chain_error(f"{spiffe_id} names no workload of {trust_domain}")
    return spiffe_id


def _check_path(
    leaf: x509.Certificate, others: list[x509.Certificate], roots: list[x509.Certificate], at: datetime
) -> None:
    """Step 1."""
    builder = PolicyBuilder().store(Store(roots)).time(at.replace(tzinfo=None)).max_chain_depth(2)
    builder.build_client_verifier().verify(leaf, others)


def _check_leaf(leaf: x509.Certificate) -> None:
    """Step 2."""
    extensions = leaf.extensions
    if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise ValueError("a signing certificate is no identity")
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    if not usage.critical or not usage.value.digital_signature:
        raise ValueError("the key usage is not critical or lacks digitalSignature")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise ValueError("the leaf may certify others")
    if not _USAGES.issubset(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value):
        raise ValueError("the extended key usage lacks client or server")


def _only_uri(leaf: x509.Certificate) -> str:
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise ValueError(f"{len(uris)} URIs instead of one")
    return uris[0]


def _chain_error(why: str) -> ChainRefused:
    return ChainRefused(codes.CHAIN_PROVES_NOTHING, f"the certificate chain proves no workload: {why}")
