"""The suite's report: what each harness said of each case. `pytest tests/conformance --report -n 0` prints it."""

from __future__ import annotations

import pytest

from tests.conformance.harness import Verdict

_VERDICTS = pytest.StashKey[list[Verdict]]()


@pytest.fixture(scope="session")
def verdicts(request: pytest.FixtureRequest) -> list[Verdict]:
    return request.config.stash.setdefault(_VERDICTS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(_VERDICTS, [])
    if not config.getoption("--report") or not found:
        return
    terminalreporter.section("case x harness")
    for verdict in sorted(found, key=lambda each: (each.case, each.harness)):
        terminalreporter.write_line(f"{verdict.case:<52} {verdict.harness:<12} {verdict.text}")
    for harness in sorted({each.harness for each in found}):
        own = [each for each in found if each.harness == harness]
        run = [each for each in own if each.not_run is None]
        agreed = sum(not each.differs for each in run)
        terminalreporter.write_line(f"{harness}: {len(run)} of {len(own)} run, {agreed} agree")
