"""The suite's report, a pytest plugin: what each harness said of each case, one row a case (`--report -n 0`)."""

from __future__ import annotations

import pytest

from tests.conformance.harness import Verdict

_VERDICTS = pytest.StashKey[list[Verdict]]()


@pytest.fixture(scope="session")
def verdicts(request: pytest.FixtureRequest) -> list[Verdict]:
    """Where a harness's tests put what came of each case."""
    return request.config.stash.setdefault(_VERDICTS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(_VERDICTS, [])
    if not config.getoption("--report") or not found:
        return
    harnesses = list(dict.fromkeys(each.harness for each in found))
    said = {(each.case, each.harness): each for each in found}
    terminalreporter.section("case x harness")
    terminalreporter.write_line(f"{'':<48} {' '.join(f'{harness:<15}' for harness in harnesses)}".rstrip())
    for case in sorted({each.case for each in found}):
        cells = (said.get((case, harness)) for harness in harnesses)
        row = " ".join(f"{_cell(cell):<15}" for cell in cells)
        terminalreporter.write_line(f"{case:<48} {row}".rstrip())
    for verdict in found:
        if verdict.not_run is not None or verdict.differs:
            terminalreporter.write_line(f"{verdict.case} at {verdict.harness}: {verdict.text}")


def _cell(verdict: Verdict | None) -> str:
    if verdict is None:
        return "-"
    if verdict.not_run is not None:
        return ",".join(verdict.not_run.codes) or "cannot"
    return "DIFFERS" if verdict.differs else "agrees"
