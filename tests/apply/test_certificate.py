"""A server certificate from files: what a client would not take is refused before it is served."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from meshward.apply.edge_certificate import client_roots, from_files, names_host
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.spiffe.ca import Authority, make_issuing, make_root
from meshward.spiffe.certificates import Signer, pem_of
from meshward.spiffe.ids import SpiffeId

NOW = datetime(2026, 11, 25, tzinfo=UTC)
ROOT = make_root("other.test", NOW)
OTHERS = Authority("other.test", ROOT.certificate, make_issuing("other.test", ROOT, NOW))
HOST = "models.test"
WEB = OTHERS.issue_web(HOST, NOW)


def written(directory: Path, chain: str = WEB.chain, key: str | None = None) -> Path:
    (directory / "fullchain.pem").write_text(chain)
    (directory / "privkey.pem").write_text(key or WEB.key.reveal())
    return directory


def why(path: Path, hostname: str = HOST, at: datetime = NOW) -> str:
    with pytest.raises(MeshwardError) as refusal:
        from_files(path, hostname, at)
    assert (refusal.value.code.number, refusal.value.exit_code) == ("MW3041", Exit.UNSAFE)
    assert refusal.value.remedy and "PRIVATE" not in refusal.value.message
    return refusal.value.message


def test_a_directory_as_certbot_writes_it_with_links(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "live").mkdir()
    written(tmp_path / "archive")
    for name in ("fullchain.pem", "privkey.pem"):
        (tmp_path / "live" / name).symlink_to(tmp_path / "archive" / name)
    assert from_files(tmp_path / "live", HOST, NOW) == WEB.key_and_chain()


def test_one_file_with_both_and_nothing_else_of_it(tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    file.write_text(f"a note\n{WEB.chain}{WEB.key.reveal()}more\n")
    assert from_files(file, HOST, NOW) == WEB.key_and_chain()


def test_another_shape_of_key_is_written_as_one_that_nginx_reads(tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(WEB.key.reveal().encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    old = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    assert from_files(written(tmp_path, key=old.decode()), HOST, NOW) == WEB.key_and_chain()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in why(tmp_path / "nowhere")
    assert "fullchain.pem" in why(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    assert "not a regular file" in why(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"x" * ((1 << 20) + 1))
    assert "larger than" in why(tmp_path / "large")


def test_what_no_client_would_take(tmp_path: Path) -> None:
    leaf, issuing = (
        f"{part}-----END CERTIFICATE-----\n" for part in WEB.chain.split("-----END CERTIFICATE-----\n")[:2]
    )
    half = WEB.key.reveal()[: len(WEB.key.reveal()) // 2]
    locked = serialization.load_pem_private_key(WEB.key.reveal().encode(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    weak = _pem(rsa.generate_private_key(65537, 1024))
    odd = _pem(ec.generate_private_key(ec.SECP256K1()))
    for chain, key, told in (
        (WEB.chain, OTHERS.issue_web(HOST, NOW).key.reveal(), "another certificate's"),
        (WEB.chain, half, "0 private keys"),
        (WEB.chain, WEB.key.reveal() * 2, "2 private keys"),
        (WEB.chain, locked.decode(), "passphrase"),
        (WEB.chain, weak, "1024 bits"),
        (WEB.chain, odd, "secp256k1"),
        (WEB.chain, _pem(dsa.generate_private_key(1024)), "none of RSA"),
        (WEB.chain[: len(WEB.chain) // 2], None, ""),
        ("", None, "no certificate"),
        (issuing + leaf, None, ""),
        (leaf + pem_of(ROOT.certificate), None, "out of order"),
    ):
        assert told in why(written(tmp_path, chain, key)), told
    assert "does not name `other.test`" in why(written(tmp_path), "other.test")
    assert "is valid from" in why(tmp_path, at=NOW + timedelta(days=8))
    assert "is valid from" in why(tmp_path, at=NOW - timedelta(days=1))
    client = OTHERS.issue(SpiffeId("other.test", "/a"), None, NOW)
    assert "does not name" in why(written(tmp_path, client.chain, client.key.reveal()))


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def test_names() -> None:
    names = x509.SubjectAlternativeName([x509.DNSName("*.a.test"), x509.DNSName("B.test")])
    assert names_host(names, "x.a.test") and names_host(names, "b.test")
    for other in ("a.test", "x.y.a.test", "c.test", "10.0.0.1"):
        assert not names_host(names, other), other


def test_clients_are_told_of_the_root_in_the_chain_or_of_this_machines_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Authority("mesh.test", *_pair("mesh.test"))
    root = pem_of(ROOT.certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    assert client_roots(ours, WEB.chain + root) == ours.root_pem + root
    assert client_roots(ours, WEB.chain) == ours.root_pem, "it cannot be known here"
    (tmp_path / "system.pem").write_text(ours.root_pem + root)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    assert client_roots(ours, WEB.key_and_chain().reveal()) == ours.root_pem + root


def _pair(domain: str) -> tuple[x509.Certificate, Signer]:
    root = make_root(domain, NOW)
    return root.certificate, make_issuing(domain, root, NOW)


@pytest.mark.parametrize("withdrawn", ["live", "archive", "archive/privkey.pem", "archive/fullchain.pem"])
def test_what_the_owner_may_not_read_is_withdrawn_from_root_too(tmp_path: Path, withdrawn: str) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "archive").mkdir()
    written(tmp_path / "archive")
    for name in ("fullchain.pem", "privkey.pem"):
        (tmp_path / "live" / name).symlink_to(tmp_path / "archive" / name)
    mode = (tmp_path / withdrawn).stat().st_mode
    (tmp_path / withdrawn).chmod(0)
    try:
        assert "Permission denied" in why(tmp_path / "live")
    finally:
        (tmp_path / withdrawn).chmod(mode)
    assert from_files(tmp_path / "live", HOST, NOW) == WEB.key_and_chain()
