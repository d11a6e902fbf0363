"""The model: an nginx that answers at once, on a unix socket and on a port. Its own CPU time is never counted.

On /v1/embeddings it first reads the whole body; /v1/completions is a stream, from whoever listens on `streaming`.
"""

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

    @property
    def streaming(self) -> Path:
        """A socket that is here only while a scenario puts one there."""
        return self.socket.with_name("streaming.sock")


@contextmanager
def mock_model(directory: Path) -> Iterator[Mock]:
    mock = Mock(directory / "model.sock", free_port())
    server = f"""server {{
        listen unix:{mock.socket}; listen 127.0.0.1:{mock.port};
        keepalive_requests 100000000; keepalive_timeout 3600s;
        default_type application/json;
        location = /embed {{ return 200 '{requests.embedding().decode()}'; }}
        client_max_body_size 0; client_body_buffer_size 4m; proxy_http_version 1.1; proxy_buffering off;
        location = /v1/embeddings {{ proxy_pass http://unix:{mock.socket}:/embed; }}
        location = /v1/completions {{ proxy_pass http://unix:{mock.streaming}; }}
        location = /v1/chat/completions {{ return 200 '{requests.completion().decode()}'; }}
    }}"""
    with nginx(directory / "mock", conf(server), lambda: accepts(mock.port)):
        if os.geteuid() == 0:
            os.chown(mock.socket, -1, SERVERS_GID)
        mock.socket.chmod(0o660)
        yield mock
