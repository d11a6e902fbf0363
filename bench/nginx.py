"""An nginx of the bench's own, beside the instance's: one worker, in a directory of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.processes import descendants, running, title, wait_for
from meshward.runtime.place.components import find_components


def conf(http: str) -> str:
    """A whole nginx.conf around what stands in `http`: no log, one worker, paths relative to its directory."""
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "\n".join(
        f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""{user} daemon off; worker_processes 1; pid pid; error_log error.log warn;
events {{ worker_connections 4096; }}
http {{ access_log off; {temporary}
{http}
}}
"""


@contextmanager
def nginx(directory: Path, text: str, ready: Callable[[], object]) -> Iterator[subprocess.Popen[bytes]]:
    """nginx with `text` as its configuration."""
    directory.mkdir(exist_ok=True)
    (directory / "nginx.conf").write_text(text)
    argv = [
        str(find_components().nginx),
        "-p",
        f"{directory}/",
        "-c",
        f"{directory}/nginx.conf",
        "-e",
        "error.log",
    ]
    with running(argv, ready, directory / "nginx.log") as process:
        wait_for(lambda: workers(process.pid), "nginx's worker")  # the port is open before there is one
        yield process


def workers(pid: int) -> int:
    """How many worker processes the nginx with master `pid` has."""
    return sum("worker process" in title(each) for each in descendants(pid))
