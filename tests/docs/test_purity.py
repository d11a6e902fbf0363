"""What `.importlinter` calls pure opens no file and reads no clock either where that takes no import of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILTINS = {"open", "input", "print", "exec", "eval", "compile", "__import__", "breakpoint"}
CLOCKS = {
    "now",
    "utcnow",
    "today",
    "uuid1",
}  # uuid4 is none: a minted token has a random number, as its signature


def pure_modules() -> list[str]:
    rules = ConfigParser()
    rules.read(ROOT / ".importlinter")
    names = rules["importlinter:contract:pure"]["source_modules"].split()
    paths = [ROOT / "src" / Path(*name.split(".")) for name in names]
    files = [
        each
        for path in paths
        for each in (path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")])
    ]
    return sorted(str(file.relative_to(ROOT)) for file in files)


def impurities(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name) if name in BUILTINS | CLOCKS:
                    yield f"{node.lineno}: {name}()"
                case ast.Attribute(attr=name) if name in CLOCKS:
                    yield f"{node.lineno}: .{name}()"


@pytest.mark.parametrize("module", pure_modules())
def test_it_opens_nothing_and_asks_no_clock(module: str) -> None:
    assert list(impurities((ROOT / module).read_text())) == []


@pytest.mark.parametrize("text", ["open('x')", "datetime.now(UTC)", "a = [date.today()]", "uuid.uuid1()"])
def test_an_impurity_is_found(text: str) -> None:
    assert list(impurities(text))
