"""What all tests share: the data that is not ours to ship, and the binaries that must be there."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from meshward.runtime.place.identities import FIRST, ProcessIdentity, can_change_uid
from meshward.runtime.place.reachable import hindrance
from tests.mesh import programs
from tests.oidc_provider import running as oidc_provider_running
from tests.oidc_provider.running import OidcProvider

pytest_plugins = ["tests.conformance.report"]

# No test depends on how fast the machine is (docs/testing.md): what an example costs is counted where it matters.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")

_BINARIES = {
    "nginx": lambda: shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin"),
    "envoy": lambda: (
        __import__("envoy") and str(Path(__import__("envoy").__file__).parent / "_bin" / "envoy")
    ),
    "oidc-provider": oidc_provider_running.installed,
    **{program.name: partial(programs.find, program) for program in programs.PROGRAMS},
}


def way() -> str:
    """How an instance starts here: docs/testing.md names the three ways."""
    if os.geteuid() != 0:
        return "user"
    reached = can_change_uid() and not hindrance(ProcessIdentity(FIRST, FIRST), ["meshward.edge"])
    return "own" if reached else "root"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        default="",
        help="comma-separated programs whose absence fails the run (nginx,envoy,oidc-provider,istioctl,...)",
    )
    parser.addoption(
        "--way",
        choices=("own", "root", "user"),
        help="fail unless instances start so here: as root with users of their own, as root without, as a user",
    )
    parser.addoption(
        "--long",
        action="store_true",
        help="kill an apply 200 times, not 12; rotate each key 20 times, not 6; cut 10,000 answers, not 3,000",
    )
    parser.addoption(
        "--update-goldens",
        action="store_true",
        help="tests/golden: take what comes of each case as its golden, delete what nothing makes",
    )
    parser.addoption(
        "--report", action="store_true", help="print the conformance table: role x model x action x route"
    )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what it runs in the background so, and those whom tests interrupt would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    wanted = config.getoption("--way")
    if wanted and wanted != (found := way()):
        raise pytest.UsageError(f"--way {wanted}: here it is `{found}` (scripts/ways.sh)")
    for name in filter(None, config.getoption("--require").split(",")):
        found = _BINARIES[name]()
        if not found or not Path(found).exists():
            raise pytest.UsageError(
                f"{name} is required (--require {name}) and was not found; `make setup` installs it"
            )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Third-party and hostile test data. In CI its absence fails; a user without it sees these tests as not run."""
    place = os.environ.get("MESHWARD_TEST_DATA")
    if place and (Path(place) / "vectors").is_dir():
        return Path(place)
    if os.environ.get("CI"):
        pytest.fail("MESHWARD_TEST_DATA must name the test data in CI")
    pytest.skip("not run: MESHWARD_TEST_DATA does not name the test data (vectors that are not ours to ship)")


@pytest.fixture(scope="session")
def oidc_provider() -> Iterator[OidcProvider]:
    """npm's certified OpenID provider. In CI its absence fails; a user without node sees these tests as not run."""
    if oidc_provider_running.installed() is None:
        if os.environ.get("CI"):
            pytest.fail("oidc-provider must be there in CI: `sh scripts/setup.sh --dev` installs it by npm")
        pytest.skip("not run: node, or npm's oidc-provider, is not here (`sh scripts/setup.sh --dev`)")
    with oidc_provider_running.running() as provider:
        yield provider


@pytest.fixture(scope="module")
def short_dir() -> Iterator[Path]:
    """A directory with a short path (a socket's may have 103 bytes) that other uids may pass."""
    with tempfile.TemporaryDirectory(prefix="mw") as made:
        Path(made).chmod(0o711)
        yield Path(made)


_TABLE = pytest.StashKey[list[dict[str, str]]]()


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> list[dict[str, str]]:
    """Rows of the conformance table; `--report` prints them."""
    return request.config.stash.setdefault(_TABLE, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(_TABLE, [])
    if not config.getoption("--report") or not rows:
        return
    merged: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        key = (row["person"], row["model"], row["action"], row["route"], row["expected"])
        merged.setdefault(key, {})[row["hop"]] = row["verdict"]
    terminalreporter.section("role x model x action x route")
    for key, hops in merged.items():
        person, model, action, route, expected = key
        verdicts = f"expected {expected:<6} edge {hops.get('edge', '-'):<6} guard {hops.get('guard', '-'):<6}"
        terminalreporter.write_line(f"{person:<9} {model:<11} {action:<9} {route:<36} {verdicts}")
