"""docs/hardening.md says of every known attack where it is tried: no row is missing, and no test is made up."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hardening.md").read_text()
_NUMBERS = {
    "A": "01 02 03 05 06 08 10 11 12 13 14 16",
    "B": "01 02 04 06 07 11",
    "C": "01 02 03 04 05 06 07 08 09 14 15 18",
    "D": "01 03 04 06 08",
    "G": "01 02 03 05 06 09 10",
    "K": "10 11 12 13 14 27 28 29 30",
    "P": "14",
}
ROWS = [letter + number for letter, numbers in _NUMBERS.items() for number in numbers.split()]
_ROW = re.compile(r"^\| ([A-Z][0-9]{2}) \|.*\| (.*) \|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_row_stands_there_once_and_says_something() -> None:
    rows = _ROW.findall(PAGE)
    assert [row for row, _ in rows] == ROWS
    assert [row for row, where in rows if not _TEST.search(where) and not where.startswith("measured")] == []


def test_the_catalogue_has_no_row_that_we_have_not(shared_data: Path) -> None:
    text = (shared_data / "reference" / "threats.md").read_text()
    known = set(re.findall(r"^\| ([ABCDG][0-9]{2}) \|", text, re.MULTILINE))
    assert len(known) > 40 and known <= set(ROWS)


def test_every_test_that_is_named_exists() -> None:
    named = set(_TEST.findall(PAGE))
    assert len(named) > 50
    assert {(file, name) for file, name in named if name not in _functions(ROOT / file)} == set()


def test_every_test_of_ours_is_named() -> None:
    """What is tried and stands on no row would be missed by nobody when it goes."""
    ours = {
        ("tests/hardening/test_rows.py", name) for name in _functions(ROOT / "tests/hardening/test_rows.py")
    }
    assert {test for test in ours if test[1].startswith("test_")} <= set(_TEST.findall(PAGE))


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
