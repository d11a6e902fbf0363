"""docs/testing-your-policy.md, done as it says, by somebody who has meshward installed and nothing of its tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "testing-your-policy.md").read_text()
(POLICY,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
DECISIONS, INSTANCE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SCIENCE = next(line for line in POLICY.splitlines(keepends=True) if "id: science" in line)
KEPT = next(line for line in POLICY.splitlines(keepends=True) if "expect: permit" in line)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "without-science.yaml").write_text(POLICY.replace(SCIENCE, "").replace(KEPT, ""))
    (tmp_path / "test_decisions.py").write_text(DECISIONS)
    (tmp_path / "test_instance.py").write_text(INSTANCE)
    return tmp_path


def python(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Isolated: neither this repository nor its environment's variables are on the path."""
    command = [sys.executable, "-I", "-m", *arguments]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300, check=False)


def pytest_of(place: Path, file: str) -> subprocess.CompletedProcess[str]:
    return python(place, "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(place), file)


def test_the_policy_is_good_and_its_sentences_guard_it(place: Path) -> None:
    assert python(place, "meshward", "check", "policy.yaml").returncode == 0
    (place / "policy.yaml").write_text(POLICY.replace(SCIENCE, ""))
    assert python(place, "meshward", "check", "policy.yaml").returncode == 2


def test_the_decisions_pass_and_would_not_under_other_rules(place: Path) -> None:
    done = pytest_of(place, "test_decisions.py")
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout
    (place / "policy.yaml").write_text(POLICY.replace("08:00-18:00", "08:00-20:00"))
    done = pytest_of(place, "test_decisions.py")
    assert done.returncode == 1 and "1 failed, 3 passed" in done.stdout, done.stdout


def test_the_instance_does_what_the_page_says(place: Path) -> None:
    done = pytest_of(place, "test_instance.py")
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout
