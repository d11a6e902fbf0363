"""`meshward svid`: which files, for whom, and how a workload keeps a valid one."""

from __future__ import annotations

import json
import os
import signal
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from meshward.spiffe.ca import load_or_create
from meshward.spiffe.chain import verify_chain
from meshward.testing.waiting import eventually
from tests.stack.accepted import accept

POLICY = {
    "version": 1,
    "trust_domain": "td.test",
    "edge": {},
    "workloads": {"scorer": {"id": "/ns/jobs/sa/scorer"}},
    "roles": {"batch": [{"workload": "scorer"}]},
    "models": {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/run/m.sock"}}}},
    "grants": [{"id": "g", "roles": ["batch"], "models": "all", "actions": ["infer"]}],
}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """What `up` leaves of an instance, as far as it matters here."""
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    load_or_create(path / "ca", "td.test")
    accept(path, POLICY)
    return path


def command(state: Path, out: Path, *options: str, name: str = "scorer") -> list[str]:
    return [
        sys.executable,
        "-m",
        "meshward",
        "svid",
        name,
        "--out",
        str(out),
        "--state",
        str(state),
        *options,
    ]


def svid(state: Path, out: Path, *options: str, name: str = "scorer") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(state, out, *options, name=name), capture_output=True, text=True, check=False, timeout=60
    )


def leaf(out: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((out / "chain.pem").read_bytes())


def test_the_files_are_whole_private_and_prove_the_workload(state: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = svid(state, out, "--json", "--ttl", "10m")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["workload"] == "scorer"
    assert {file.name for file in out.iterdir()} == {"svid.pem", "key.pem", "chain.pem", "bundle.pem"}
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in out.iterdir())
    chain, bundle = (out / "chain.pem").read_text(), (out / "bundle.pem").read_text()
    assert (out / "svid.pem").read_text() == (out / "key.pem").read_text() + chain
    assert (
        str(verify_chain(chain, bundle, "td.test", datetime.now(UTC))) == "spiffe://td.test/ns/jobs/sa/scorer"
    )
    left = leaf(out).not_valid_after_utc - datetime.now(UTC)
    assert 590 < left.total_seconds() <= 600
    ssl.create_default_context(cafile=str(out / "bundle.pem")).load_cert_chain(out / "svid.pem")
    key = (out / "key.pem").read_text().splitlines()[1]
    assert key not in done.stdout + done.stderr


def test_again_in_place_is_another_one(state: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        assert svid(state, out).returncode == 0
    first = leaf(out)
    assert svid(state, out).returncode == 0
    assert leaf(out).serial_number != first.serial_number
    assert first.public_key() != leaf(out).public_key()


@pytest.mark.parametrize(
    ("name", "options", "code", "exit_code"),
    [
        ("nobody", (), "MW2042", 2),
        ("edge", (), "MW2042", 2),
        ("scorer", ("--ttl", "25h"), "MW0905", 2),
        ("scorer", ("--ttl", "1s"), "MW0905", 2),
        ("scorer", ("--ttl", "soon"), "MW0905", 2),
    ],
)
def test_refusals(
    state: Path, tmp_path: Path, name: str, options: tuple[str, ...], code: str, exit_code: int
) -> None:
    done = svid(state, tmp_path / "out", *options, name=name)
    assert done.returncode == exit_code and code in done.stderr, done.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_part_of_meshward_is_never_issued(state: Path, tmp_path: Path) -> None:
    """Not even where a policy that `check` would refuse lies in the state."""
    for path in ("/edge", "/model/m"):
        accept(state, POLICY | {"workloads": {"scorer": {"id": path}}})
        done = svid(state, tmp_path / "out")
        assert done.returncode in (2, 4) and not (tmp_path / "out").exists(), done


def test_without_an_instance_nothing_is_made(state: Path, tmp_path: Path) -> None:
    assert "MW2040" in svid(tmp_path / "none", tmp_path / "out").stderr
    (state / "ca" / "issuing.pem").unlink()
    done = svid(state, tmp_path / "out")
    assert done.returncode != 0 and "MW2021" in done.stderr
    assert not (state / "ca" / "issuing.pem").exists()


def test_a_directory_that_others_can_write_to(state: Path, tmp_path: Path) -> None:
    shared, link = tmp_path / "shared", tmp_path / "link"
    shared.mkdir()
    shared.chmod(0o770)
    link.symlink_to(tmp_path / "state")
    for out in (shared, link):
        done = svid(state, out)
        assert done.returncode == 4 and "MW2044" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root may be somebody else")
def test_only_the_owner_of_the_instance_may(state: Path, tmp_path: Path) -> None:
    """Root included: nobody reaches for another user's authority by mistake."""
    os.chown(state, 65533, 65533)
    done = svid(state, tmp_path / "out")
    assert done.returncode == 4 and "MW2041" in done.stderr


@contextmanager
def renewing(state: Path, out: Path) -> Iterator[subprocess.Popen[str]]:
    """A workload's companion whose pauses are short; how long they should have been is written to `out`.pauses."""
    code = (
        "import meshward.cli.svid as svid, time, sys\n"
        "from types import SimpleNamespace\n"
        "pauses = sys.argv[1]\n"
        "def sleep(seconds):\n"
        "    print(seconds, file=open(pauses, 'a'))\n"
        "    time.sleep(0.1)\n"
        "svid.time = SimpleNamespace(sleep=sleep)\n"
        "from meshward.cli.main import main\n"
        "sys.argv[1:2] = []\n"
        "main()"
    )
    argv = [sys.executable, "-c", code, f"{out}.pauses", *command(state, out, "--renew", "--ttl", "1m")[3:]]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_renew_replaces_the_files_before_the_end_and_ends_with_the_workload(
    state: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with renewing(state, out) as process:
        eventually((out / "chain.pem").exists)
        first = leaf(out)
        eventually(lambda: leaf(out).serial_number != first.serial_number)
        assert set(Path(f"{out}.pauses").read_text().split()) == {"30.0"}, "at half of its life"
        accept(state, POLICY | {"workloads": {}, "roles": {"batch": []}})
        eventually(lambda: process.poll() is not None)
        assert process.returncode == 2
