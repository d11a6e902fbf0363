"""Servers of the demo, in this process, on a port of the system's choice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from starlette.types import ASGIApp

from meshward.demo.embedder import Embedder, model_directory
from meshward.demo.model_server import ModelServer
from meshward.demo.serve import bind_loopback


@contextmanager
def listening(make: Callable[[str, int], ASGIApp]) -> Iterator[str]:
    """The app that `make(host, port)` returns, served until the block ends; gives its URL."""
    bound: socket.socket = bind_loopback("127.0.0.1", 0)
    host, port = bound.getsockname()
    server = uvicorn.Server(uvicorn.Config(make(host, port), log_config=None, access_log=False))
    bound.listen()  # so that a client's first connection waits for the loop instead of being refused
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(60)


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return Embedder(model_directory())


@pytest.fixture(scope="session")
def model_url(embedder: Embedder) -> Iterator[str]:
    with listening(lambda _host, _port: ModelServer(embedder, "minilm", "v1").app()) as url:
        yield url


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"
