"""The model: an nginx that answers at once, on a unix socket and on a port. Its own CPU time is never counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import requests
from bench.nginx import conf, nginx
from bench.processes import accepts
from meshward.testing.recorder import SERVERS_GID
from meshward.testing.stand_ins import free_port


@dataclass(frozen=True)
class Mock:
    socket: Path
    port: int


@contextmanager
def mock_model(directory: Path) -> Iterator[Mock]:
    mock = Mock(directory / "model.sock", free_port())
    server = f"""server {{
        listen unix:{mock.socket}; listen 127.0.0.1:{mock.port};
        keepalive_requests 100000000; keepalive_timeout 3600s;
        default_type application/json;
        location = /embed {{ return 200 '{requests.embedding().decode()}'; }}
        location = /v1/chat/completions {{ return 200 '{requests.completion().decode()}'; }}
    }}"""
    with nginx(directory / "mock", conf(server), lambda: accepts(mock.port)):
        if os.geteuid() == 0:
            os.chown(mock.socket, -1, SERVERS_GID)
        mock.socket.chmod(0o660)
        yield mock
