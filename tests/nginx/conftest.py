"""One nginx for all tests of a worker; each test finds it as new."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from edge_harness import Edge, running


@pytest.fixture(scope="session")
def _edge() -> Iterator[Edge]:
    with running() as edge:
        yield edge


@pytest.fixture
def edge(_edge: Edge) -> Edge:
    _edge.reset()
    return _edge
