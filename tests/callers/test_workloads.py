"""A client certificate is a workload of the policy, or refused: each check meets one that passes all others."""

from __future__ import annotations

import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from meshward.apply.hop_files import Owner, write_authorities
from meshward.callers.workloads import AUTHORITIES, CertificateRefused, VerifiedWorkload, Workloads
from meshward.runtime.place.directories import Run
from meshward.runtime.place.identities import starter
from meshward.spiffe import certificates as ca
from meshward.spiffe.ca import Authority, load, load_or_create
from meshward.spiffe.ca_store import CaStore
from meshward.spiffe.ids import SpiffeId

DOMAIN = "mesh.test"
SCORER = SpiffeId(DOMAIN, "/ns/jobs/sa/scorer")
NAMED = {"scorer": str(SCORER)}


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return load_or_create(tmp_path / "ca", DOMAIN)


@pytest.fixture
def workloads(tmp_path: Path, authority: Authority) -> Workloads:
    (tmp_path / AUTHORITIES).write_text(authority.authorities_pem)
    return Workloads(tmp_path / AUTHORITIES, DOMAIN, NAMED)


def leaf(authority: Authority, spiffe_id: SpiffeId = SCORER, **over: object) -> str:
    """Only the leaf, as nginx hands it over."""
    chain = authority.issue(spiffe_id, None, **({"now": now()} | over)).chain  # type: ignore[arg-type]
    return chain[: chain.index("-----END") + len("-----END CERTIFICATE-----\n")]


def reason(workloads: Workloads, certificate: str, verdict: str = "SUCCESS", at: float | None = None) -> str:
    with pytest.raises(CertificateRefused) as refused:
        workloads.verify(verdict, certificate, time.time() if at is None else at)
    sentence = refused.value.sentence
    assert sentence.isascii() and sentence.isprintable() and len(sentence) < 200 and '"' not in sentence
    return refused.value.reason


def test_a_named_workload(workloads: Workloads, authority: Authority) -> None:
    found = workloads.verify("SUCCESS", leaf(authority, ttl=timedelta(minutes=5)), time.time())
    assert isinstance(found, VerifiedWorkload) and found.name == "scorer"
    assert 290 < found.expires_at - time.time() <= 300
    assert len(found.thumbprint) == 43 and found.proof == {"x5t": found.thumbprint}


@pytest.mark.parametrize(
    "verdict", ["NONE", "", "FAILED:unable to verify the first certificate", "success", "SUCCESS "]
)
def test_anything_but_success_is_refused(workloads: Workloads, authority: Authority, verdict: str) -> None:
    assert reason(workloads, leaf(authority), verdict) == "certificate_refused"


def test_who_is_no_workload(tmp_path: Path, workloads: Workloads, authority: Authority) -> None:
    assert reason(workloads, leaf(authority, SpiffeId(DOMAIN, "/ns/jobs/sa/score"))) == "workload_unknown"
    assert reason(workloads, leaf(authority, SpiffeId(DOMAIN, "/ns/jobs/sa/scorer/x"))) == "workload_unknown"
    foreign = load_or_create(tmp_path / "foreign", "other.test")
    assert (
        reason(workloads, leaf(foreign, SpiffeId("other.test", "/ns/jobs/sa/scorer")))
        == "certificate_refused"
    )
    same_names = load_or_create(tmp_path / "same", DOMAIN)
    assert reason(workloads, leaf(same_names)) == "certificate_refused"


@pytest.mark.parametrize("path", ["/edge", "/model/minilm", "/model", "/model/a/b"])
def test_a_part_of_the_mesh_is_no_workload_even_if_the_policy_says_so(
    tmp_path: Path, workloads: Workloads, authority: Authority, path: str
) -> None:
    own = SpiffeId(DOMAIN, path)
    careless = Workloads(tmp_path / AUTHORITIES, DOMAIN, {"evil": str(own)})
    assert reason(careless, leaf(authority, own)) == "certificate_refused"


def test_the_edges_server_certificate_is_no_workload(workloads: Workloads, authority: Authority) -> None:
    chain = authority.issue_web("models.test", now()).chain
    assert reason(workloads, chain[: chain.index("-----END") + 26]) == "certificate_refused"


def test_times(workloads: Workloads, authority: Authority) -> None:
    """The connection may be older than that: each decision looks at the clock."""
    certificate = leaf(authority, ttl=timedelta(minutes=5))
    workloads.verify("SUCCESS", certificate, time.time() + 295)
    assert reason(workloads, certificate, at=time.time() + 302) == "certificate_refused"
    assert reason(workloads, certificate, at=time.time() - 120) == "certificate_refused"


def test_clock_skew_is_named_with_the_difference(
    tmp_path: Path, workloads: Workloads, authority: Authority
) -> None:
    """Only of a certificate that proves a workload at its own time: of any other, nothing is told."""
    certificate = leaf(authority, ttl=timedelta(minutes=5))
    read = x509.load_pem_x509_certificate(certificate.encode())
    begins, ends = read.not_valid_before_utc.timestamp(), read.not_valid_after_utc.timestamp()

    def sentence(text: str, at: float) -> str:
        with pytest.raises(CertificateRefused) as refused:
            workloads.verify("SUCCESS", text, at)
        assert len(refused.value.sentence) < 200 and refused.value.reason == "certificate_refused"
        return refused.value.sentence

    assert "clock skew, it begins 42 s from now" in sentence(certificate, begins - 42)
    assert "more than a day from now" in sentence(certificate, begins - 86401)
    assert "it ended 7 s ago" in sentence(certificate, ends + 7)
    assert "skew" not in sentence(certificate, ends + 301)
    foreign = leaf(load_or_create(tmp_path / "same", DOMAIN), ttl=timedelta(minutes=5))
    assert "skew" not in sentence(foreign, begins - 42)
    assert "skew" not in sentence(foreign, time.time())


def test_what_is_not_one_certificate(workloads: Workloads, authority: Authority) -> None:
    good = leaf(authority)
    for text in (
        "",
        "x",
        good + good,
        good.replace("-----END CERTIFICATE-----", ""),
        good[:300] + good[340:],
    ):
        assert reason(workloads, text) == "certificate_refused", text[:40]


def make(
    authority: Authority,
    names: list[x509.GeneralName],
    usages: list[x509.ObjectIdentifier],
    ca_too: bool = False,
) -> str:
    key, signer = ec.generate_private_key(ec.SECP256R1()), authority.issuing
    builder = (
        ca._builder("", key.public_key(), signer, now(), now() + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca_too, path_length=None), critical=True)
        .add_extension(ca._usage(leaf=not ca_too), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return ca.pem_of(builder.sign(signer.key, hashes.SHA256()))


def test_names_and_usages(workloads: Workloads, authority: Authority) -> None:
    """Signed by our own authority, as if it had been tricked (Consul CVE-2022-40716)."""
    uri, other = (
        x509.UniformResourceIdentifier(str(SCORER)),
        x509.UniformResourceIdentifier(f"spiffe://{DOMAIN}/x"),
    )
    both = [ca.SERVER, ca.CLIENT]
    assert workloads.verify("SUCCESS", make(authority, [uri], both), time.time()).name == "scorer"
    for what, text in {
        "two URIs": make(authority, [uri, other], both),
        "the same URI twice": make(authority, [uri, uri], both),
        "no URI": make(authority, [x509.DNSName("scorer")], both),
        "for servers only": make(authority, [uri], [ca.SERVER]),
        "an authority": make(authority, [uri], both, ca_too=True),
        "another spelling": make(
            authority, [x509.UniformResourceIdentifier(f"SPIFFE://{DOMAIN}/ns/jobs/sa/scorer")], both
        ),
        "a dot": make(
            authority, [x509.UniformResourceIdentifier(f"spiffe://{DOMAIN}/ns/jobs/sa/./scorer")], both
        ),
    }.items():
        assert reason(workloads, text) == "certificate_refused", what


def test_a_new_intermediate_is_believed_at_once_and_the_old_one_until_its_end(
    tmp_path: Path, workloads: Workloads, authority: Authority
) -> None:
    old = leaf(authority)
    workloads.verify("SUCCESS", old, time.time())
    CaStore(tmp_path / "ca", DOMAIN).reissue(now())
    successor = load(tmp_path / "ca", DOMAIN)
    new = leaf(successor)
    assert reason(workloads, new) == "certificate_refused"
    replace_authorities(tmp_path, successor)
    for certificate in (new, old):
        assert workloads.verify("SUCCESS", certificate, time.time()).name == "scorer"


def test_while_a_root_is_replaced_both_are_believed_and_then_the_new_one_alone(
    tmp_path: Path, workloads: Workloads, authority: Authority
) -> None:
    keep, old = CaStore(tmp_path / "ca", DOMAIN), leaf(authority)
    keep.announce(now(), timedelta(hours=24))
    keep.use(now())
    both = load(tmp_path / "ca", DOMAIN)
    new = leaf(both)
    assert reason(workloads, new) == "certificate_refused"
    replace_authorities(tmp_path, both)
    for certificate in (new, old):
        assert workloads.verify("SUCCESS", certificate, time.time()).name == "scorer"
    keep.finish()
    replace_authorities(tmp_path, load(tmp_path / "ca", DOMAIN))
    assert workloads.verify("SUCCESS", new, time.time()).name == "scorer"
    assert reason(workloads, old) == "certificate_refused"


def replace_authorities(directory: Path, authority: Authority) -> None:
    beside = directory / "beside"
    beside.write_text(authority.authorities_pem)
    beside.rename(directory / AUTHORITIES)


@pytest.mark.parametrize("content", [None, "", "junk"])
def test_without_authorities_nobody_is_known(
    tmp_path: Path, workloads: Workloads, authority: Authority, content: str | None
) -> None:
    """Our fault, not the caller's: an error, which nginx answers with 503."""
    file = tmp_path / AUTHORITIES
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(OSError):
        workloads.verify("SUCCESS", leaf(authority), time.time())


def test_the_authorities_are_written_for_the_service_and_keep_the_earlier_ones(tmp_path: Path) -> None:
    run, owner = Run(tmp_path), Owner(starter())
    run.decide_given.mkdir(parents=True)
    file = run.decide_given / AUTHORITIES
    first = load_or_create(tmp_path / "ca", DOMAIN)
    write_authorities(first, run, owner)
    before = file.stat()
    assert stat.S_IMODE(before.st_mode) == 0o600 and file.read_text().count("BEGIN") == 2
    write_authorities(first, run, owner)
    assert file.stat().st_ino == before.st_ino, "written though nothing changed"
    CaStore(tmp_path / "ca", DOMAIN).reissue(now())
    write_authorities(load_or_create(tmp_path / "ca", DOMAIN), run, owner)
    assert file.read_text().count("BEGIN") == 3
    workloads = Workloads(file, DOMAIN, NAMED)
    assert workloads.verify("SUCCESS", leaf(first), time.time()).name == "scorer"
