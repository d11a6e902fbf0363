from __future__ import annotations

import os
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.runtime.place.identities import ProcessIdentity
from meshward.runtime.supervise.parts import nginx_command
from meshward.testing.stand_ins import free_port
from meshward.testing.waiting import eventually
from tests.runtime.conftest import Start, alive

CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "$pid"; }} }}
}}
"""


@pytest.fixture
def nginx() -> str:
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert found, "nginx is missing: apt-get install nginx"
    return found


def answers(port: int) -> int:
    """The pid of the worker that answers, or 0."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1) as answer:
            return int(answer.read())
    except OSError:
        return 0


def part(nginx: str, folder: Path, port: int) -> dict[str, object]:
    folder.mkdir()
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, port=port))
    argv = [nginx, "-c", str(file), "-e", "stderr"]
    return {
        "name": "edge",
        "argv": argv,
        "ready": str(folder / "pid"),
        "stop_signal": signal.SIGQUIT,
        "death_signal": signal.SIGTERM,
    }


def test_nginx_is_back_by_itself_of_kill_9_of_its_master(start: Start, tmp_path: Path, nginx: str):
    port = free_port()
    run = start(part(nginx, tmp_path / "edge", port)).until_ready()
    old = eventually(lambda: answers(port), what="first answer")

    os.kill(run.report("edge").pid, signal.SIGKILL)

    eventually(lambda: answers(port) not in (0, old), what="an answer of a new worker")
    assert not alive(old)
    assert run.until_restarted("edge").restarts == 1
    assert run.stop() == 0
    assert answers(port) == 0


def test_nginx_and_its_workers_end_with_kill_9_of_the_supervisor(start: Start, tmp_path: Path, nginx: str):
    port = free_port()
    run = start(part(nginx, tmp_path / "edge", port)).until_ready()
    worker = eventually(lambda: answers(port), what="first answer")

    run.stop(signal.SIGKILL)

    eventually(lambda: not alive(worker), what="worker dead")
    assert answers(port) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root has capabilities to lose")
def test_roots_nginx_takes_no_capability(tmp_path: Path, nginx: str) -> None:
    """By `--allow-root-parts` it starts where root has none: its workers are root's, not `nobody`'s."""
    program = tmp_path / "nginx.conf"
    program.write_text(CONFIGURATION.format(folder=tmp_path, port=free_port()))
    layout: Any = SimpleNamespace(
        components=SimpleNamespace(nginx=Path(nginx)),
        run=SimpleNamespace(edge_dir=tmp_path),
        identities={"edge": ProcessIdentity(0, 0)},
    )
    argv = ["setpriv", "--bounding-set=-all", *nginx_command(layout, program), "-t"]
    tested = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested
    assert {each.stat().st_uid for each in tmp_path.iterdir()} == {0}
