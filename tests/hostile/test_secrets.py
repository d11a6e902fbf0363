"""Invariant 6: after a whole run no planted secret is in any file, argument list or log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from bench.processes import descendants

from tests.hostile.conftest import write_hostile
from tests.stack.running import Stack, eventually, running

PROMPT = b"canary-prompt-7f3a9"
QUERY = "canary-query-51bd2"
COOKIE = "canary-cookie-c0ffee"
JWS = re.compile(rb"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}")
PRIVATE_KEY = b"PRIVATE KEY-----"


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    """An instance of this module's own: it is stopped here."""
    with running(short_dir, write_hostile) as started:
        yield started


def _provoke(stack: Stack, token: str) -> None:
    """Every way in which a request's text could end up in a log: permitted, refused, malformed, failing upstream."""
    body = b'{"model":"m1","inputs":"' + PROMPT + b'"}'
    headers = {"Cookie": COOKIE, "X-Api-Key": COOKIE}
    assert stack.call("POST", f"/m/m1/v1/public?q={QUERY}", token, body, headers).status == 200
    assert stack.call("POST", "/v1/public", token, body, headers).status == 200
    assert stack.call("POST", f"/m/m1/v1/public?access_token={QUERY}", token, body, headers).status == 401
    for path in (f"/m/m1/v1/secret?q={QUERY}", f"/m/none/v1/public?q={QUERY}", f"/m/m1/%2e{QUERY}?q={QUERY}"):
        stack.call("POST", path, token, body, headers)
    for bad in (f"hf_{COOKIE}", f"{token}{COOKIE}", COOKIE, token.replace(".", f".{COOKIE}", 1)):
        stack.call("POST", f"/m/m1/v1/public?q={QUERY}", bad, body, headers)
    stack.raw(
        f"GET /m/m1/v1/public?q={QUERY} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    stack.raw(f"GARBAGE {QUERY} {token}\r\n\r\n".encode())
    stack.models["m1/v1"].close()  # the guard's upstream fails
    stack.call("POST", f"/m/m1/v1/public?q={QUERY}", token, body, headers)
    guard = next(pid for name, pid in stack.processes().items() if name.startswith("guard-00"))
    os.kill(guard, signal.SIGSTOP)  # the edge's upstream closes on it
    try:
        os.kill(guard, signal.SIGKILL)
        stack.call("POST", f"/m/m1/v1/public?q={QUERY}", token, body, headers)
    finally:
        eventually(lambda: _guard(stack) != guard, what="the guard's restart")


def _guard(stack: Stack) -> int | None:
    return next((pid for name, pid in stack.processes().items() if name.startswith("guard-00")), None)


def _commands(pids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for pid in pids:
        with suppress(OSError):
            yield pid, Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_whole_run_leaves_nothing_secret(stack: Stack) -> None:
    token = stack.issuer.token("alice", ["users"], jti="canary-jti-99")
    _provoke(stack, token)
    signature = token.rsplit(".", 1)[1].encode()
    canaries = {"prompt": PROMPT, "query": QUERY.encode(), "cookie": COOKIE.encode(), "token": signature}
    for path, data in stack.files():
        for what, canary in canaries.items():
            assert canary not in data, f"the {what} is in {path}"
        assert not JWS.search(data), f"a token is in {path}"
        if PRIVATE_KEY in data:
            assert path.suffix == ".pem" or path.name == "svid.json", f"a private key is in {path}"
    for pid, command in _commands(each.name for each in Path("/proc").glob("[0-9]*")):
        if str(os.getpid()) != pid:
            assert not any(canary in command for canary in canaries.values()), (pid, command[:200])
    for pid, command in _commands(map(str, descendants(stack.process.pid))):
        assert not JWS.search(command), (pid, command[:200])
    log = (stack.policy.parent / "up.log").read_bytes()
    assert not [what for what, canary in canaries.items() if canary in log]


def test_private_files_are_private(stack: Stack) -> None:
    """Secrets: nobody but the owner, or the one part that reads them, may open the file."""
    assert stack.state.stat().st_mode & 0o777 == 0o700
    for path, data in stack.files():
        private = PRIVATE_KEY in data or path.name in ("access.log", "records.sqlite")
        if private:
            with suppress(FileNotFoundError):
                assert path.stat().st_mode & 0o037 == 0, path


def test_down_leaves_no_decision_and_no_process(stack: Stack) -> None:
    pids = list(stack.processes().values())
    done = subprocess.run(
        [sys.executable, "-m", "meshward", "down", "--state", str(stack.state)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert not list(Path("/dev/shm").glob(f"meshward-{stack.run.name}*"))
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
