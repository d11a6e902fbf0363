"""Docs cannot rot: generated pages are what they would be, codes mean one thing, commands and links exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def test_the_page_of_codes_is_what_the_code_says() -> None:
    done = subprocess.run([sys.executable, "scripts/codes.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "run `make docs`"


def test_a_code_is_said_by_one_package() -> None:
    """Numbers are never reused: two packages with one code would mean two things."""
    origins = re.findall(r"^\* Exit \d+, from (.*)$", (ROOT / "docs" / "codes.md").read_text(), re.MULTILINE)
    assert len(origins) > 60
    assert [origin for origin in origins if "," in origin or not origin] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = [link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert broken == []


def test_every_verb_that_the_docs_name_exists() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "meshward", "--help"], capture_output=True, text=True, check=True
    )
    text = (ROOT / "README.md").read_text() + (ROOT / "docs" / "cli.md").read_text()
    for verb in set(re.findall(r"`meshward ([a-z]+)", text)):
        assert re.search(rf"│ {verb}\b", listed.stdout), verb


def test_no_page_and_no_file_speaks_of_an_index_or_of_one_machine() -> None:
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in files:
        path = ROOT / name
        if (
            path.suffix in {".py", ".md", ".txt", ".in", ".toml", ".sh", ".yaml", ".json", ".js", ""}
            and path.is_file()
        ):
            text = path.read_text(errors="replace")
            assert not re.search(r"(?<![\w.])/(?:work|farm)/|files\.pythonhosted|registry\.npmjs", text), name
