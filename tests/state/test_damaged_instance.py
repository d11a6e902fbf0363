"""A whole instance whose every file of state is damaged while it runs, and what a start makes of them then."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshward.apply.revisions import Revisions
from meshward.audit.anchor import ANCHOR
from meshward.instance.state_files import FILES, directory_of
from meshward.kit.exits import Exit
from meshward.testing.instance import START
from tests.hostile.conftest import write_hostile
from tests.stack.command import meshward
from tests.stack.running import Stack, eventually, running

PATH = "/m/m1/v1/public"


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile) as started:
        yield started


def up(stack: Stack) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "meshward", *START, str(stack.policy), "--state", str(stack.state)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def asked(stack: Stack, token: str) -> int:
    """As a client that knows the root certificate, and nothing else of STATE."""
    context = ssl.create_default_context(cafile=str(stack.state / "root.pem"))
    context.check_hostname = False
    with stack.connection(context) as opened:
        opened.request(
            "GET",
            PATH,
            headers={"Authorization": f"Bearer {token}", "Host": f"{stack.hostname}:{stack.port}"},
        )
        return opened.getresponse().status


def test_what_runs_goes_on_and_a_start_refuses_what_it_cannot_do_without(stack: Stack) -> None:
    """
    1. All are damaged: requests are answered, `status` names each (but the records' anchor, which the next record
       writes anew), and `down` stops it.
    2. A start names what it needs, one after the other, until each is restored.
    3. A policy that was edited does not run under the number of the accepted one; whoever has that one runs it.
    4. What it makes anew hinders none: it says so, and runs.
    """
    alice, kept = stack.issuer.token("alice", ["users"]), dict[Path, bytes]()
    files = {file: path for file in FILES if (path := directory_of(file, stack.state) / file.name).exists()}
    assert sum(not file.renewed for file in files) >= 3, "counters, identities and keys at least"
    for path in files.values():
        kept[path] = path.read_bytes()
        path.write_text("{")
    assert asked(stack, alice) == 200  # 1
    seen = meshward("status", "--state", str(stack.state))
    assert seen.returncode == Exit.FINDINGS and all(
        f"STATE: `{path}` is" in seen.stdout for file, path in files.items() if file is not ANCHOR
    )
    assert meshward("down", "--state", str(stack.state)).returncode == Exit.OK
    assert stack.process.wait(60) == 0
    for path in files.values():  # it wrote some anew while it stopped
        path.write_text("{")
    for file, path in files.items():  # 2
        if not file.renewed:
            started = up(stack)
            said = started.communicate(timeout=120)[0]
            assert started.returncode == Exit.FAULT and f"{file.code}: `{path}` is damaged" in said, said
            assert file.remedy in said and "Traceback" not in said
            path.write_bytes(kept[path])
    edited = stack.state / "revisions" / "0001.policy.json"  # 3
    edited.write_text(edited.read_text().replace('"infer"', '"infer","manage"', 1))
    assert "manage" in edited.read_text()
    for argv in ([*START], ["history", "1"], ["plan", str(stack.policy)]):
        told = meshward(*argv, "--state", str(stack.state))
        assert told.returncode == Exit.FAULT and "MW3031" in told.stderr + told.stdout, told
    for file, path in files.items():  # 4
        if file.renewed:
            path.write_text("{")
    stack.process = up(stack)
    try:
        eventually(lambda: asked(stack, alice) == 200, what="the instance")
        assert [each.number for each in Revisions(stack.state).all()] == [1]
        eventually(lambda: all(file.read(path.parent) for file, path in files.items()), what="whole files")
    finally:
        os.kill(stack.process.pid, signal.SIGTERM)
        said = stack.process.communicate(timeout=120)[0]
    for file, path in files.items():
        assert (f"warning: `{path}` is damaged" in said) == file.renewed, said
