"""What a reviewer reads: everything that the cases give is what their goldens say, byte for byte."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import pytest

from meshward.kit.clock import system_clock
from tests.golden.case import CASES, GIVEN, SWITCH, Case, settle
from tests.golden.seams import NOW, SEAMS, rendered

ALL = [Case(path) for path in sorted(CASES.glob("*/*")) if path.is_dir()]


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One moment, one kind of terminal, nobody's home."""
    for name, module in list(sys.modules.items()):
        if name.startswith("meshward.") and getattr(module, "system_clock", None) is system_clock:
            monkeypatch.setattr(module, "system_clock", lambda: float(NOW))
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.seam}/{case.path.name}")
def test_what_comes_of_a_case_is_its_golden(
    case: Case, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    update = request.config.getoption("--update-goldens")
    wrong = [each for each in settle(case, rendered(case, tmp_path), update) if each]
    if wrong:
        pytest.fail(
            "\n".join([case.purpose or "", *wrong, "", f"Where it is meant: {SWITCH}"]), pytrace=False
        )


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.seam}/{case.path.name}")
def test_a_case_says_what_it_is_for(case: Case) -> None:
    assert case.purpose, f"the first line of {' or '.join(GIVEN)} must be `# ` and a sentence"


def test_every_file_below_cases_belongs_to_a_case() -> None:
    """A folder that no seam is called after would be looked at by nobody."""
    assert {path.name for path in CASES.iterdir()} == set(SEAMS)
    assert [path for path in CASES.glob("*/*") if not path.is_dir()] == []
    assert [path for path in CASES.glob("*/*/*") if path.is_dir()] == []


def test_a_changed_a_missing_and_an_orphaned_golden_are_told_and_mended(tmp_path: Path) -> None:
    case = Case(Path(shutil.copytree(CASES / "trace" / "permitted", tmp_path / "trace" / "permitted")))
    files = {"a.txt": "one\ntwo\n", "b.txt": "new\n"}
    for name, text in (("a.txt", "one\nold\n"), ("c.txt", "left\n"), ("said.txt", "left\n")):
        (case.path / name).write_text(text)

    told = "\n".join(settle(case, files, update=False))
    assert "-old\n+two" in told and "no golden trace/permitted/b.txt" in told
    assert "c.txt is an orphan" in told and (case.path / "c.txt").exists()

    assert settle(case, files, update=True) == []
    assert {path.name for path in case.path.iterdir()} == {"given.yaml", "a.txt", "b.txt"}
    assert not any(settle(case, files, update=False))
