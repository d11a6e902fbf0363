"""The catalogue of codes: each number once, said by value, and an error that nobody changes on its way."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshward.control.replies import ToldRefusal
from meshward.kit import codes
from meshward.kit.codes import Code
from meshward.kit.errors import MeshwardError, PolicyInvalid, Problem
from meshward.kit.exits import Exit

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "meshward"
CATALOGUE = SOURCES / "kit" / "codes"
NAMED = {name: value for name, value in vars(codes).items() if isinstance(value, Code)}
NUMBER = re.compile(r"MW\d{4}")


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for file in sorted(SOURCES.rglob("*.py")):
        if CATALOGUE not in file.parents:
            yield file, ast.parse(file.read_text())


def comments(tree: ast.Module) -> set[ast.expr]:
    """Docstrings, which may name a number for the reader."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def written() -> list[str]:
    """Every number in the catalogue's own text, as often as it stands there."""
    nodes = (node for file in CATALOGUE.glob("*.py") for node in ast.walk(ast.parse(file.read_text())))
    texts = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return sorted(text for text in texts if NUMBER.fullmatch(text))


def test_a_number_has_one_entry_and_an_entry_one_name() -> None:
    assert written() == sorted(codes.CATALOGUE) == sorted(code.number for code in NAMED.values())
    assert len(codes.CATALOGUE) > 180


@pytest.mark.parametrize("name", NAMED)
def test_an_entry_says_what_is_wrong_and_what_to_do(name: str) -> None:
    code = NAMED[name]
    assert re.fullmatch(r"[A-Z][A-Z0-9_]+", name)
    assert code.title.endswith(".") and code.title != "."
    assert code.remedy.strip() == code.remedy != ""
    assert codes.CATALOGUE[code.number] is code


def test_each_code_is_said_somewhere() -> None:
    said = {
        node.attr
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "codes"
    }
    assert sorted(NAMED.keys() - said) == []


def test_no_number_stands_outside_the_catalogue() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno} {node.value}"
        for file, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and NUMBER.search(node.value)
        and node not in comments(tree)
    ]
    assert found == []


def test_nothing_sets_what_an_error_says() -> None:
    names = {"code", "message", "remedy", "exit_code", "problems"}
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and node.attr in names
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    ]
    assert found == []


@pytest.mark.parametrize("name", ["code", "message", "remedy", "exit_code"])
def test_an_error_stays_what_it_was(name: str) -> None:
    error = MeshwardError(codes.CONFLICT, "m")
    with pytest.raises(AttributeError, match=name):
        setattr(error, name, getattr(error, name))
    with pytest.raises(MeshwardError) as caught:
        raise error from OSError("full")
    assert caught.value is error and str(error.__cause__) == "full"


def test_an_error_has_the_remedy_and_exit_code_of_its_code_or_better_ones() -> None:
    general = MeshwardError(codes.CONFLICT, "m")
    assert (general.remedy, general.exit_code) == (codes.CONFLICT.remedy, Exit.CONFLICT)
    exact = MeshwardError(codes.CONFLICT, "m", "", exit_code=Exit.HOP_REFUSED)
    assert (exact.remedy, exact.exit_code) == ("", Exit.HOP_REFUSED)
    problems = [Problem(codes.UNKNOWN_KEY, "a", "b")]
    assert PolicyInvalid(problems).exit_code is Exit.USAGE
    assert PolicyInvalid(problems, Exit.UNSAFE).exit_code is Exit.UNSAFE


@pytest.mark.parametrize("number", ["MW9999", "mw3026", "", "x\x1b[2J", None, 3026, ["MW3026"]])
def test_a_number_that_this_version_does_not_know_is_one_value(number: object) -> None:
    assert codes.decode(number) is codes.UNKNOWN_CODE
    assert codes.decode("MW3026") is codes.CONFLICT


def test_what_an_instance_refused_comes_back_as_the_value() -> None:
    told = {"code": "MW3026", "message": "m", "remedy": "r", "exit": 3, "problems": []}
    assert ToldRefusal.model_validate_json(json.dumps(told)).error().code is codes.CONFLICT
    newer = ToldRefusal.model_validate_json(json.dumps({**told, "code": "MW9999"})).error()
    assert (newer.code, newer.message, newer.remedy) == (codes.UNKNOWN_CODE, "m (MW9999)", "r")
    assert newer.exit_code is Exit.CONFLICT


def test_each_code_has_its_heading_in_the_docs() -> None:
    page = (ROOT / "docs" / "codes.md").read_text()
    assert re.findall(r"^### (.+)$", page, re.MULTILINE) == list(codes.CATALOGUE)


def test_the_docs_name_no_code_that_there_is_not() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    assert {number for page in pages for number in NUMBER.findall(page.read_text())} <= set(codes.CATALOGUE)
