"""The authority: what it issues, what it keeps, and which chains prove nothing."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshward.kit.errors import MeshwardError
from meshward.spiffe.ca import (
    Authority,
    LeafCredential,
    load,
    load_current,
    load_or_create,
    make_issuing,
    make_root,
)
from meshward.spiffe.ca_store import CaStore
from meshward.spiffe.chain import ChainRefused, verify_chain
from meshward.spiffe.ids import SpiffeId
from tests.stack.oddities import KINDS, put_in_place_of

NOW = datetime(2026, 11, 25, tzinfo=UTC)
EDGE = SpiffeId("mesh.test", "/edge")
ROOT = make_root("mesh.test", NOW)
AUTHORITY = Authority("mesh.test", ROOT.certificate, make_issuing("mesh.test", ROOT, NOW))
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


def leaf_of(credential: LeafCredential) -> x509.Certificate:
    return x509.load_pem_x509_certificate(credential.chain.encode())


def proven(
    chain: str, at: datetime = NOW, root: str = AUTHORITY.root_pem, domain: str = "mesh.test"
) -> SpiffeId:
    return verify_chain(chain, root, domain, at)


def refused(chain: str, **how: Any) -> str:
    with pytest.raises(ChainRefused) as refusal:
        proven(chain, **how)
    assert refusal.value.code.number == "MW2022"
    return refusal.value.message


# --- what is issued


def test_an_svid_has_exactly_the_names_it_should() -> None:
    credential = AUTHORITY.issue(EDGE, "v1.minilm.mesh.test", NOW)
    leaf = leaf_of(credential)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [
        x509.UniformResourceIdentifier("spiffe://mesh.test/edge"),
        x509.DNSName("v1.minilm.mesh.test"),
    ]
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature
    assert not usage.value.key_cert_sign and not usage.value.crl_sign
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and not constraints.value.ca
    assert set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {SERVER, CLIENT}
    assert leaf.not_valid_before_utc < NOW < leaf.not_valid_after_utc == NOW + timedelta(hours=1)
    assert credential.serial == f"{leaf.serial_number:x}"
    assert proven(credential.chain) == EDGE


def test_each_leaf_has_its_own_key_and_serial() -> None:
    issued = [AUTHORITY.issue(EDGE, None, NOW) for _ in range(20)]
    assert len({credential.serial for credential in issued}) == 20
    assert len({credential.key.reveal() for credential in issued}) == 20


@pytest.mark.parametrize("other", [SpiffeId("mesh.test"), SpiffeId("other.test", "/edge")])
def test_no_svid_for_what_is_no_workload_of_ours(other: SpiffeId) -> None:
    with pytest.raises(ValueError):
        AUTHORITY.issue(other, None, NOW)


def test_no_leaf_outlives_its_issuer() -> None:
    credential = AUTHORITY.issue(EDGE, None, NOW, timedelta(days=4000))
    assert credential.not_after == NOW + timedelta(days=365)


def test_key_and_chain_are_one_file_that_openssl_loads(tmp_path: Path) -> None:
    file = tmp_path / "svid.pem"
    file.write_text(AUTHORITY.issue(EDGE, None, NOW).key_and_chain().reveal())
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)


def test_a_credential_does_not_print_its_key() -> None:
    credential = AUTHORITY.issue(EDGE, None, NOW)
    assert "PRIVATE" not in repr(credential) and "key=" not in repr(ROOT)


def web_names(hostname: str) -> x509.SubjectAlternativeName:
    leaf = leaf_of(AUTHORITY.issue_web(hostname, NOW))
    return leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_the_edges_certificate_is_no_identity() -> None:
    names = web_names("localhost")
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert {str(ip) for ip in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == []
    refused(AUTHORITY.issue_web("models.test", NOW).chain)


def test_a_hostname_that_is_an_address_becomes_one() -> None:
    assert [str(ip) for ip in web_names("10.0.0.5").get_values_for_type(x509.IPAddress)] == ["10.0.0.5"]


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """TLS without a socket."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    waiting = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(20):
        for side in tuple(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert not waiting, "the handshake did not end"


def test_clients_that_trust_the_root_accept_the_edge_by_name(tmp_path: Path) -> None:
    authority = load_or_create(tmp_path / "ca", "mesh.test")
    file = tmp_path / "web.pem"
    file.write_text(authority.issue_web("localhost", datetime.now(UTC)).key_and_chain().reveal())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    client = ssl.create_default_context(cadata=authority.root_pem)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in ("localhost", "127.0.0.1"):
        handshake(server, client, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client, "evil.test")


# --- what is kept


def test_the_authority_is_made_once_and_is_private(tmp_path: Path) -> None:
    first = load_or_create(tmp_path / "ca", "mesh.test", NOW)
    again = load_or_create(tmp_path / "ca", "mesh.test", NOW)
    assert first.root_pem == again.root_pem
    assert proven(again.issue(EDGE, None, NOW).chain, root=first.root_pem) == EDGE
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "ca").iterdir()} == {0o600}


def test_root_and_intermediate_live_as_long_as_promised() -> None:
    issuing = x509.load_pem_x509_certificates(AUTHORITY.issue(EDGE, None, NOW).chain.encode())[1]
    assert ROOT.certificate.not_valid_after_utc == NOW + timedelta(days=3650)
    assert issuing.not_valid_after_utc == NOW + timedelta(days=365)
    lengths = [
        certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        for certificate in (ROOT.certificate, issuing)
    ]
    assert lengths == [1, 0]


def test_an_old_intermediate_is_replaced_below_the_same_root(tmp_path: Path) -> None:
    first = load_or_create(tmp_path, "mesh.test", NOW)
    before = first.issue(EDGE, None, NOW, timedelta(days=400)).chain
    later = NOW + timedelta(days=340)
    second = load_or_create(tmp_path, "mesh.test", later)
    assert second.root_pem == first.root_pem
    after = second.issue(EDGE, None, later).chain
    assert (
        x509.load_pem_x509_certificates(before.encode())[1:]
        != x509.load_pem_x509_certificates(after.encode())[1:]
    )
    assert proven(after, later, first.root_pem) == proven(before, later, first.root_pem) == EDGE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["root.pem", "root.key.pem", "issuing.pem", "issuing.key.pem"])
def test_of_an_authority_plain_files_alone_are_read(tmp_path: Path, name: str, kind: str) -> None:
    """Nobody waits for a pipe, nor reads without end."""
    load_or_create(tmp_path, "mesh.test", NOW)
    put_in_place_of(tmp_path / name, kind)
    with pytest.raises(MeshwardError) as started:
        load_or_create(tmp_path, "mesh.test", NOW)
    with pytest.raises(MeshwardError) as running:
        load(tmp_path, "mesh.test")
    assert {each.value.code.number for each in (started, running)} == {"MW2021"}


def test_an_earlier_intermediate_that_is_damaged_is_told(tmp_path: Path) -> None:
    load_or_create(tmp_path, "mesh.test", NOW)
    CaStore(tmp_path, "mesh.test").reissue(NOW)
    (tmp_path / "issuing.pem").write_text("x")
    with pytest.raises(MeshwardError) as refusal:
        load_or_create(tmp_path, "mesh.test", NOW)
    assert refusal.value.code.number == "MW2021" and "issuing.pem" in refusal.value.message


@pytest.mark.parametrize("harm", ["key", "no key", "garbage", "domain"])
def test_a_damaged_authority_is_refused_not_replaced(tmp_path: Path, harm: str) -> None:
    load_or_create(tmp_path, "mesh.test", NOW)
    domain = "mesh.test"
    if harm == "key":
        (tmp_path / "root.key.pem").write_bytes((tmp_path / "issuing.key.pem").read_bytes())
    elif harm == "no key":
        (tmp_path / "root.key.pem").unlink()
    elif harm == "garbage":
        (tmp_path / "issuing.pem").write_text("x")
    else:
        domain = "other.test"
    before = (tmp_path / "root.pem").read_bytes()
    with pytest.raises(MeshwardError) as refusal:
        load_or_create(tmp_path, domain, NOW)
    assert refusal.value.code.number == "MW2021"
    assert (tmp_path / "root.pem").read_bytes() == before


@pytest.mark.parametrize(("gone", "reissued"), [("root.pem", False), ("root.pem", True), ("ca.json", True)])
def test_a_root_that_is_gone_is_never_made_anew(tmp_path: Path, gone: str, reissued: bool) -> None:
    """Nobody would trust the new one; and without ca.json an earlier root, or intermediate, would stand again."""
    load_or_create(tmp_path, "mesh.test", NOW)
    if reissued:
        CaStore(tmp_path, "mesh.test").reissue(NOW)
    (tmp_path / gone).unlink()
    kept = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for load_it in (load_or_create, load_current, load):
        with pytest.raises(MeshwardError) as refusal:
            load_it(tmp_path, "mesh.test")
        assert refusal.value.code.number == "MW2021" and refusal.value.remedy
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == kept


def test_an_instance_that_runs_makes_no_authority(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(MeshwardError):
            load_current(directory, "mesh.test")
    assert not list(tmp_path.iterdir())


def test_without_names_and_root_the_intermediate_tells_of_a_root_that_is_gone(tmp_path: Path) -> None:
    load_or_create(tmp_path, "mesh.test", NOW)
    for gone in ("ca.json", "root.pem"):
        (tmp_path / gone).unlink()
    kept = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(MeshwardError) as refusal:
        load_or_create(tmp_path, "mesh.test", NOW)
    assert refusal.value.code.number == "MW2021" and "root.pem" in refusal.value.message
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == kept, "nor is its key written over"


def test_a_first_start_that_was_killed_before_its_root_stood_begins_again(tmp_path: Path) -> None:
    load_or_create(tmp_path, "mesh.test", NOW)
    for file in tmp_path.iterdir():
        if file.name != "root.key.pem":
            file.unlink()
    assert load_or_create(tmp_path, "mesh.test", NOW).root_pem


def test_what_an_earlier_release_left_without_names_goes_on(tmp_path: Path) -> None:
    first = load_or_create(tmp_path, "mesh.test", NOW)
    (tmp_path / "ca.json").unlink()
    assert load_or_create(tmp_path, "mesh.test", NOW).root_pem == first.root_pem


def test_an_older_names_file_is_damage_where_what_it_names_is_gone(tmp_path: Path) -> None:
    store = CaStore(tmp_path, "mesh.test")
    load_or_create(tmp_path, "mesh.test", NOW)
    older = (tmp_path / "ca.json").read_bytes()
    store.announce(NOW, timedelta(days=1))
    store.use(NOW)
    store.finish()
    (tmp_path / "ca.json").write_bytes(older)
    with pytest.raises(MeshwardError) as refusal:
        load_or_create(tmp_path, "mesh.test", NOW)
    assert refusal.value.code.number == "MW2021"


def test_an_intermediate_of_another_root_is_replaced(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    authority = load_or_create(ours, "mesh.test", NOW)
    load_or_create(theirs, "mesh.test", NOW)
    for name in ("issuing.pem", "issuing.key.pem"):
        (ours / name).write_bytes((theirs / name).read_bytes())
    chain = load_or_create(ours, "mesh.test", NOW).issue(EDGE, None, NOW).chain
    assert proven(chain, root=authority.root_pem) == EDGE


# --- chains that prove nothing


def test_time_other_roots_and_other_domains() -> None:
    chain = AUTHORITY.issue(EDGE, None, NOW).chain
    stranger = make_root("mesh.test", NOW)
    refused(chain, at=NOW + timedelta(hours=2))
    refused(chain, at=NOW - timedelta(hours=1))
    refused(chain, root=Authority("mesh.test", stranger.certificate, ROOT).root_pem)
    assert "names no workload of other.test" in refused(chain, domain="other.test")
    refused("")
    refused("garbage")
    refused(AUTHORITY.root_pem)


def test_a_chain_without_its_intermediate() -> None:
    leaf = leaf_of(AUTHORITY.issue(EDGE, None, NOW))
    refused(leaf.public_bytes(serialization.Encoding.PEM).decode())


USAGES = "content_commitment key_encipherment data_encipherment key_agreement encipher_only decipher_only"


def forged(
    *uris: str,
    ca: bool = False,
    signs: bool = True,
    certifies: bool = False,
    critical: bool = True,
    purposes: tuple[x509.ObjectIdentifier, ...] = (SERVER, CLIENT),
) -> str:
    """A leaf that our own intermediate signed and never should have."""
    by = make_issuing("mesh.test", ROOT, NOW)
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    usage = x509.KeyUsage(
        digital_signature=signs,
        key_cert_sign=certifies,
        crl_sign=certifies,
        **dict.fromkeys(USAGES.split(), False),
    )
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x")]))
        .issuer_name(by.certificate.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(minutes=1))
        .not_valid_after(NOW + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=critical)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(authority, critical=False)
        .sign(by.key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return (certificate.public_bytes(pem) + by.certificate.public_bytes(pem)).decode()


def test_the_forger_can_make_a_good_one() -> None:
    assert proven(forged("spiffe://mesh.test/a")) == SpiffeId("mesh.test", "/a")


@pytest.mark.parametrize(
    ("uris", "how"),
    [
        (["spiffe://mesh.test/a", "spiffe://mesh.test/b"], {}),
        (["spiffe://mesh.test"], {}),
        (["spiffe://other.test/a"], {}),
        (["https://mesh.test/a"], {}),
        (["spiffe://mesh.test/a/../b"], {}),
        (["spiffe://mesh.test/a"], {"ca": True, "certifies": True}),
        (["spiffe://mesh.test/a"], {"certifies": True}),
        (["spiffe://mesh.test/a"], {"signs": False}),
        (["spiffe://mesh.test/a"], {"critical": False}),
        (["spiffe://mesh.test/a"], {"purposes": (SERVER,)}),
        (["spiffe://mesh.test/a"], {"purposes": (CLIENT,)}),
    ],
)
def test_leaves_that_break_a_rule(uris: list[str], how: dict[str, Any]) -> None:
    refused(forged(*uris, **how))
