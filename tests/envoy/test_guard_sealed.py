"""A model on TCP, sealed with its guard: no port outside, and the pair lives and dies together."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from guard_harness import EDGE, Guard, Model, binary, place, view
from guard_pki import Authority, Signer

from meshward.kit.secret import Secret
from meshward.runtime.place import seal
from meshward.targets.envoy.files import GuardIdentity, command, render
from meshward.targets.envoy.listener import GuardSettings
from meshward.testing.stand_ins import free_port
from meshward.testing.waiting import eventually

PORT = free_port()  # of the sealed network, where nothing else can be; outside nobody has it
SERVER = """
import http.server, os
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = str(os.getuid()).encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", %d), H).serve_forever()
"""
# The venv's own interpreter may lie where another uid cannot go; seal.py needs none of the venv.
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
IDS = [None, 65534] if os.geteuid() == 0 else [None]


@dataclass
class Sealed:
    process: subprocess.Popen[bytes]
    guard: Guard

    def pids(self) -> list[int]:
        """Every process inside, as seen from outside: first process 1, then what it started."""
        init = eventually(lambda: seal.inner_pid(self.process.pid), what="process 1 is there")
        assert init is not None
        children = eventually(lambda: len(c := _children(init)) == 2 and c, what="server and guard are there")
        return [init, *(children or [])]


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@contextmanager
def sealed(uid: int | None) -> Iterator[Sealed]:
    directory = Path(tempfile.mkdtemp(prefix="mws-"))
    authority, signer = Authority(), Signer()
    guarded = view(f"http://127.0.0.1:{PORT}")
    own = authority.issue(guarded.spiffe_id, dns=guarded.dns_name)
    identity = GuardIdentity(own.chain, Secret(own.key), authority.bundle, (signer.jwk,))
    settings = GuardSettings(str(directory))
    files = render(guarded, settings, identity)
    place(directory, files)
    program = shutil.copy(seal.__file__, directory)
    envoy = binary()
    if uid is not None:
        if not _reachable(Path(envoy)):
            envoy = shutil.copy(envoy, directory)
        for path in (directory, *directory.rglob("*")):
            os.chown(path, uid, uid)
    argv = seal.sealed_command([PYTHON, "-c", SERVER % PORT], command(envoy, str(directory)), python=PYTHON)
    argv = [program if each == seal.__file__ else each for each in argv]
    drop: dict[str, Any] = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    process = subprocess.Popen(argv, umask=0o077, stdin=subprocess.DEVNULL, **drop)
    unused: Model = None  # type: ignore[assignment]
    guard = Guard(
        directory,
        guarded,
        settings,
        authority,
        signer,
        unused,
        files,
        process,
        authority.issue(EDGE),
        identity=identity,
    )
    try:
        eventually(lambda: process.poll() is not None or _answers(guard), what="the sealed pair answers")
        assert process.poll() is None
        yield Sealed(process, guard)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory)


def _reachable(path: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


def _answers(guard: Guard) -> bool:
    try:
        return guard.ask().status == 200
    except (OSError, EOFError):
        return False


@pytest.mark.parametrize("uid", IDS)
def test_the_only_door_is_the_guards_socket(uid: int | None) -> None:
    with sealed(uid) as pair:
        answer = pair.guard.ask()
        assert (answer.status, answer.body) == (200, b"0")  # uid 0 of its own namespace only
        assert pair.guard.ask(token=None).status == 401
        assert f":{PORT:04X} " not in Path("/proc/net/tcp").read_text()
        with socket.socket() as outside, pytest.raises(ConnectionRefusedError):
            outside.connect(("127.0.0.1", PORT))
        pids = pair.pids()
        real = [Path(f"/proc/{pid}").stat().st_uid for pid in pids]
        assert real == [os.geteuid() if uid is None else uid] * 3
        assert Path(f"/proc/{pids[1]}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


@pytest.mark.parametrize("uid", IDS)
def test_the_end_of_unshare_is_the_end_of_all(uid: int | None) -> None:
    with sealed(uid) as pair:
        pids = pair.pids()
        pair.process.kill()
        eventually(lambda: all(map(_gone, pids)), what="nothing is left")


@pytest.mark.parametrize("victim", [1, 2], ids=["server", "guard"])
def test_the_pair_dies_together(victim: int) -> None:
    with sealed(IDS[-1]) as pair:
        pids = pair.pids()
        os.kill(pids[victim], signal.SIGKILL)
        assert pair.process.wait(60) == 1
        eventually(lambda: all(map(_gone, pids)), what="nothing is left")


def test_term_inside_ends_both_in_peace() -> None:
    with sealed(IDS[-1]) as pair:
        pids = pair.pids()
        os.kill(pids[0], signal.SIGTERM)
        assert pair.process.wait(60) == 0
        eventually(lambda: all(map(_gone, pids)), what="nothing is left")


def test_orphans_are_buried_and_do_not_end_the_pair() -> None:
    """Process 1 inherits what its children leave behind."""
    with sealed(IDS[-1]) as pair:
        init = pair.pids()[0]
        argv = [
            "nsenter",
            "-t",
            str(init),
            "-U",
            "-n",
            "-p",
            "--preserve-credentials",
            "sh",
            "-c",
            "sleep 0.05 & exit 0",
        ]
        assert subprocess.run(argv, check=False).returncode == 0
        eventually(lambda: len(_children(init)) == 2, what="the orphan is buried")
        assert pair.guard.ask().status == 200


def test_a_command_that_does_not_exist_ends_at_once() -> None:
    argv = seal.sealed_command(["/nonexistent/server"], ["/nonexistent/guard"], python=PYTHON)
    assert subprocess.run(argv, stderr=subprocess.DEVNULL, timeout=60, check=False).returncode != 0


def test_no_inner_process_without_an_outer_one() -> None:
    assert seal.inner_pid(2**30) is None
