"""The two servers as `meshward up` starts them: their sockets, their ends, what they refuse to do."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from meshward.demo import idp, model_server
from meshward.demo.accounts import load_accounts, token_for
from meshward.demo.serve import bind_loopback, bind_unix
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.testing.waiting import eventually


def start(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen([sys.executable, "-m", *arguments], stderr=file)


def wait_until(done: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    def is_done() -> bool:
        assert process.poll() is None, log.read_text()
        return done()

    eventually(is_done, what="the process")


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(60)


@pytest.mark.parametrize("module", [model_server, idp])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "192.0.2.1", "localhost", ""])
def test_other_than_loopback_is_refused(module, host: str, state: Path, capfd: pytest.CaptureFixture[str]):
    options = ["--port", "0", "--host", host] + (["--state", str(state)] if module is idp else [])
    with pytest.raises(MeshwardError, match="not a loopback address") as caught:
        module.main(options)
    assert caught.value.exit_code == Exit.UNSAFE


def test_a_port_in_use_is_named():
    taken = bind_loopback("127.0.0.1", 0)
    taken.listen()
    host, port = taken.getsockname()
    with pytest.raises(MeshwardError, match=f"{host}:{port}"):
        bind_loopback(host, port)
    taken.close()


def test_a_socket_is_for_its_group_whatever_the_umask(tmp_path: Path):
    for umask in (0, 0o077):
        before = os.umask(umask)
        bound = bind_unix(tmp_path / str(umask))
        assert os.umask(before) == umask, "the umask is put back"
        assert stat.S_IMODE((tmp_path / str(umask)).stat().st_mode) == 0o660
        bound.close()


def test_a_dead_server_s_socket_is_replaced_a_live_one_s_is_not(tmp_path: Path):
    path = tmp_path / "model.sock"
    bind_unix(path).close()
    alive = bind_unix(path)
    alive.listen()
    with pytest.raises(MeshwardError, match=re.escape(str(path))):
        bind_unix(path)
    alive.close()
    path.unlink()
    path.write_text("not a socket")
    with pytest.raises(MeshwardError):
        bind_unix(path)
    assert path.read_text() == "not a socket"


def test_the_model_server_is_ready_when_its_socket_accepts(tmp_path: Path):
    path, log = tmp_path / "model.sock", tmp_path / "log"
    process = start(log, "meshward.demo.model_server", "--uds", str(path), "--version-label", "v7")
    wait_until(lambda: answers(path), process, log)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with httpx2.Client(
        transport=httpx2.HTTPTransport(uds=str(path)), base_url="http://model", timeout=60
    ) as http:
        assert http.get("/info").json()["docker_label"] == "meshward-demo-v7"
        assert len(http.post("/embed", json={"inputs": "a sentinel prompt"}).json()[0]) == 384
    assert stop(process) == 0
    assert not path.exists()
    assert "sentinel" not in log.read_text() and "Traceback" not in log.read_text()


def test_weights_are_shared_between_servers(tmp_path: Path):
    """Two servers must stay far below the demo's 500 MB together: the weights' pages count once."""
    path, log = tmp_path / "model.sock", tmp_path / "log"
    process = start(log, "meshward.demo.model_server", "--uds", str(path))
    wait_until(lambda: answers(path), process, log)
    private = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    anonymous = re.search(r"^Anonymous:\s+(\d+) kB", private, re.MULTILINE)
    assert anonymous and int(anonymous[1]) < 80_000, private
    stop(process)


def test_the_identity_provider_warns_in_every_line(state: Path, tmp_path: Path):
    log = tmp_path / "log"
    process = start(log, "meshward.demo.idp", "--state", str(state), "--port", "0")
    wait_until(lambda: "startup complete" in log.read_text(), process, log)
    issuer = re.search(r"issuer (http://127\.0\.0\.1:\d+);", log.read_text())
    assert issuer
    token = token_for(issuer[1], "alice", state)
    httpx2.get(f"{issuer[1]}/device?user_code=SENTINEL", timeout=60)
    assert stop(process) == 0
    lines = log.read_text().splitlines()
    assert len(lines) > 5 and all("not for production" in line for line in lines), lines
    hidden = [token, *load_accounts(state).secrets.values()]
    assert not [secret for secret in hidden if secret.reveal() in log.read_text()]
    assert "Traceback" not in log.read_text() and "SENTINEL" not in log.read_text()
