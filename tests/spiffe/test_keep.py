"""Intermediates and roots are replaced by one rename each: killed anywhere, one whole authority stands."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from meshward.kit.errors import MeshwardError
from meshward.spiffe import ca_store as module
from meshward.spiffe.ca import Authority, load, load_or_create
from meshward.spiffe.ca_store import EARLIER_FOR, POINTER, CaStore
from meshward.spiffe.chain import ChainRefused, verify_chain
from meshward.spiffe.ids import SpiffeId

DOMAIN = "mesh.test"
NOW = datetime(2026, 11, 25, tzinfo=UTC)
EDGE = SpiffeId(DOMAIN, "/edge")
DAY = timedelta(hours=24)


@pytest.fixture
def keep(tmp_path: Path) -> CaStore:
    load_or_create(tmp_path, DOMAIN, NOW)
    return CaStore(tmp_path, DOMAIN)


def authority(directory: Path) -> Authority:
    return load(directory, DOMAIN)


def chain(directory: Path, at: datetime = NOW) -> str:
    return authority(directory).issue(EDGE, None, at).chain


def proves(text: str, bundle: str, at: datetime = NOW) -> bool:
    try:
        return verify_chain(text, bundle, DOMAIN, at) == EDGE
    except ChainRefused:
        return False


def test_another_intermediate_below_the_same_root(tmp_path: Path, keep: CaStore) -> None:
    before, old = authority(tmp_path), chain(tmp_path)
    keep.reissue(NOW)
    after, new = authority(tmp_path), chain(tmp_path)
    assert after.root_pem == before.root_pem and after.issuing.certificate != before.issuing.certificate
    assert proves(old, after.root_pem) and proves(new, before.root_pem)
    assert after.authorities_pem.count("BEGIN") == 3
    assert sorted(file.name for file in tmp_path.glob("*.key.pem")) == ["issuing.2.key.pem", "root.key.pem"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


def test_of_many_intermediates_those_stay_whose_leaves_may_live(tmp_path: Path, keep: CaStore) -> None:
    for hour in range(60):
        keep.reissue(NOW + timedelta(hours=hour))
    least = int(EARLIER_FOR.total_seconds() / 3600)
    assert authority(tmp_path).authorities_pem.count("BEGIN") == 2 + least
    assert len(list(tmp_path.glob("*.key.pem"))) == 2


def test_a_root_is_trusted_before_it_issues_and_after_it_has(tmp_path: Path, keep: CaStore) -> None:
    first = authority(tmp_path)
    old_leaf = chain(tmp_path)
    keep.announce(NOW, DAY)
    announced = authority(tmp_path)
    assert announced.root_pem.startswith(first.root_pem) and announced.root_pem.count("BEGIN") == 2
    assert proves(chain(tmp_path), first.root_pem), "nobody has the new root yet"
    keep.use(NOW)
    used = authority(tmp_path)
    new_leaf, web = chain(tmp_path), used.issue_web("models.test", NOW).chain
    assert not proves(new_leaf, first.root_pem)
    assert all(
        proves(each, announced.root_pem) and proves(each, used.root_pem) for each in (old_leaf, new_leaf)
    )
    assert issuer(web) == first.issuing.certificate, "clients may not have the new root"
    keep.reissue(NOW)
    assert issuer(authority(tmp_path).issue_web("models.test", NOW).chain) == first.issuing.certificate
    keep.finish()
    after = authority(tmp_path)
    assert after.root_pem.count("BEGIN") == 1 and after.root == used.root
    assert proves(new_leaf, after.root_pem) and not proves(old_leaf, after.root_pem)
    assert first.root not in x509.load_pem_x509_certificates(after.authorities_pem.encode())
    assert not (tmp_path / "root.key.pem").exists(), "the old root's key is still there"


def issuer(text: str) -> x509.Certificate:
    return x509.load_pem_x509_certificates(text.encode())[1]


def test_steps_are_done_once_and_in_order(tmp_path: Path, keep: CaStore) -> None:
    keep.finish()
    keep.use(NOW)
    before = authority(tmp_path).root_pem
    keep.announce(NOW, DAY)
    announced = authority(tmp_path).root_pem
    keep.announce(NOW, DAY)
    keep.finish()
    assert authority(tmp_path).root_pem == announced != before
    keep.use(NOW)
    until = keep.old_root_may_go()
    keep.use(NOW + DAY)
    assert keep.old_root_may_go() == until == (NOW + DAY).timestamp()


def test_an_old_root_stays_as_long_as_a_workload_is_below_it(tmp_path: Path, keep: CaStore) -> None:
    root = authority(tmp_path).root
    assert keep.workloads_end(root) == 0
    for hours in (30, 2):
        keep.note_workload(root, authority(tmp_path).issue(EDGE, None, NOW, timedelta(hours=hours)))
    keep.announce(NOW, DAY)
    keep.use(NOW)
    assert keep.old_root_may_go() == (NOW + timedelta(hours=30)).timestamp()
    assert keep.workloads_end(authority(tmp_path).root) == 0, "the new root's are others"


class Killed(Exception):
    pass


STEPS: dict[str, Callable[[CaStore], None]] = {
    "reissue": lambda keep: keep.reissue(NOW),
    "announce": lambda keep: keep.announce(NOW, DAY),
    "use": lambda keep: keep.use(NOW),
    "finish": lambda keep: keep.finish(),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("write", range(6))
def test_killed_at_any_write_one_whole_authority_stands(
    tmp_path: Path, keep: CaStore, monkeypatch: pytest.MonkeyPatch, step: str, write: int
) -> None:
    for name in list(STEPS)[: list(STEPS).index(step)]:
        STEPS[name](keep)
    before = authority(tmp_path)
    left, real = iter(range(write)), module.write_atomic

    def dying(*arguments: object) -> None:
        if next(left, None) is None:
            raise Killed
        real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_atomic", dying)
        try:
            STEPS[step](keep)
            survived = True
        except Killed:
            survived = False
    found = load_or_create(tmp_path, DOMAIN, NOW)
    assert proves(found.issue(EDGE, None, NOW).chain, found.root_pem)
    if not survived:
        assert found.authorities_pem == before.authorities_pem and found.root_pem == before.root_pem
        STEPS[step](keep)
    assert proves(chain(tmp_path), authority(tmp_path).root_pem)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"root": "x"}', '{"overlap": null, "earlier": [], "more": 1}']
)
def test_a_damaged_pointer_is_refused(tmp_path: Path, keep: CaStore, content: str) -> None:
    (tmp_path / POINTER).write_text(content)
    with pytest.raises(MeshwardError) as refusal:
        load_or_create(tmp_path, DOMAIN, NOW)
    assert refusal.value.code.number == "MW2021"
