"""The lab that all tests here share; where it cannot be, each is named as not run, and why."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh import network
from tests.mesh.lab import Lab, running
from tests.mesh.programs import PROGRAMS, find

TRUST_DOMAIN = "cluster.local"


@pytest.fixture(scope="session")
def whole_lab(shared_data: Path) -> Iterator[Lab]:
    """Of the whole run: whoever uses it resets it."""
    if not network.is_own():
        pytest.skip("not run: a mesh needs a network of its own (`make test-mesh`)")
    if missing := [program.name for program in PROGRAMS if find(program) is None]:
        pytest.skip(
            f"not run: {', '.join(missing)} not here (`make test-mesh` builds what Go 1.26 can build)"
        )
    with (
        tempfile.TemporaryDirectory(prefix="mwlab") as made,
        running(Path(made), shared_data / "schemas", TRUST_DOMAIN) as lab,
    ):
        yield lab


@pytest.fixture
def lab(whole_lab: Lab) -> Iterator[Lab]:
    """The one lab of this run, with nothing in it but what the mesh itself has."""
    yield whole_lab
    whole_lab.reset()
