"""What all tests share: the data that is not ours to ship, and the binaries that must be there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

_BINARIES = {
    "nginx": lambda: shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin"),
    "envoy": lambda: __import__("envoy") and str(Path(__import__("envoy").__file__).parent / "_bin" / "envoy"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require", default="", help="comma-separated binaries whose absence fails the run (nginx,envoy)")


def pytest_configure(config: pytest.Config) -> None:
    for name in filter(None, config.getoption("--require").split(",")):
        found = _BINARIES[name]()
        if not found or not Path(found).exists():
            raise pytest.UsageError(f"{name} is required (--require {name}) and was not found; `make setup` installs it")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Third-party and hostile test data. In CI its absence fails; a user without it sees these tests as not run."""
    place = os.environ.get("MESHWARD_TEST_DATA")
    if place and (Path(place) / "vectors").is_dir():
        return Path(place)
    if os.environ.get("CI"):
        pytest.fail("MESHWARD_TEST_DATA must name the test data in CI")
    pytest.skip("not run: MESHWARD_TEST_DATA does not name the test data (vectors that are not ours to ship)")
