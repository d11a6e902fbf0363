"""What documents and docstrings name is there: files, modules, functions, tests."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "meshward"
PLACES = (ROOT, SOURCE, ROOT / "src", ROOT / "tests", ROOT / "docs")
PACKAGES = {each.parent.name for each in SOURCE.glob("*/__init__.py")}
PAGES = sorted(
    page for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if page.name != "CHANGELOG.md"
)
MODULES = sorted([*SOURCE.rglob("*.py"), *(ROOT / "tests").glob("*/*.py"), *(ROOT / "bench").glob("*.py")])

_QUOTED = re.compile(r"`([^`\n]+)`")
_FILE = re.compile(r"([A-Za-z_][\w./-]*\.(?:py|js|lua))(?:(?:::|: )(.+))?")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_OF_FILES = (".json", ".yaml", ".pem", ".log", ".sock", ".conf", ".sqlite")
_COMMAND = re.compile(r"`meshward ([a-z]+)\b")
_NAME = re.compile(r"[A-Za-z_]\w*")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_exists(page: Path) -> None:
    assert list(_missing(page.read_text(), page.parent)) == []


def test_what_docstrings_name_exists() -> None:
    missing = [
        f"{file.relative_to(ROOT)}: {each}"
        for file in MODULES
        for text in _docstrings(file)
        for each in _missing(text, file.parent)
    ]
    assert missing == []


def test_what_docstrings_name_of_a_module_or_class_is_there() -> None:
    missing = [
        f"{file.relative_to(ROOT)}: {word}"
        for file in SOURCE.rglob("*.py")
        for text in _docstrings(file)
        for word in _QUOTED.findall(text)
        if _is_dotted(word) and word.split(".")[0] not in PACKAGES and not _is_somewhere(word)
    ]
    assert missing == []


def test_every_command_that_is_named_is_there() -> None:
    verbs = {file.stem for file in (SOURCE / "cli").glob("*.py")}
    places = [*PAGES, *SOURCE.rglob("*.py")]
    named = {
        (str(place.relative_to(ROOT)), verb)
        for place in places
        for verb in _COMMAND.findall(place.read_text())
    }
    assert named and sorted(each for each in named if each[1] not in verbs) == []


def _docstrings(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def _missing(text: str, beside: Path) -> Iterator[str]:
    """Of the words in backticks those that look like a file or a dotted name of ours and are none."""
    last: Path | None = None  # `…::test` speaks of the file named before
    for word in _QUOTED.findall(text):
        if named := _FILE.fullmatch(word):
            last = _file(named[1], beside)
            if last is None:
                yield word
            elif named[2] and (lacking := [each for each in _names(named[2]) if each not in _defined(last)]):
                yield f"{word} ({', '.join(lacking)})"
        elif word.startswith("…::"):
            if last is None or not set(_names(word[3:])) <= _defined(last):
                yield word
        elif _is_dotted(word) and word.split(".")[0] in PACKAGES and not _resolves(word):
            yield word


def _is_dotted(word: str) -> bool:
    return bool(_DOTTED.fullmatch(word)) and not word.endswith(_OF_FILES)


def _names(text: str) -> list[str]:
    """`a, b` or `test_x[case]`."""
    return [each[0] for part in text.split(", ") if (each := _NAME.match(part))]


@cache
def _file(name: str, beside: Path) -> Path | None:
    whole = next((place / name for place in (beside, *PLACES) if (place / name).is_file()), None)
    if whole is not None or "/" in name:
        return whole
    return next(
        (found for place in (SOURCE, ROOT / "tests", ROOT / "bench") for found in place.rglob(name)), None
    )


@cache
def _defined(file: Path) -> frozenset[str]:
    if file.suffix != ".py":
        return frozenset(re.findall(r"function (?:\w+[.:])?(\w+)", file.read_text()))
    nodes = list(ast.walk(ast.parse(file.read_text())))
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    assigned = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return frozenset({node.name for node in nodes if isinstance(node, kinds)} | assigned)


@cache
def _resolves(dotted: str) -> bool:
    """Whether it is a module of ours, or something in one. A policy's own keys (`audit.capture`) are dotted, too."""
    return _is_key(dotted) or _is_ours(dotted)


def _is_somewhere(dotted: str) -> bool:
    """Of a name that does not begin with a package: whether a module or class so called has what is named of it.

    Or our code says just this, as of an argument. A library's names are its own affair.
    """
    first, second, *_ = dotted.split(".")
    if any(second in _defined(home) for home in _homes().get(first, ())) or dotted in _said():
        return True
    return first not in _homes() and (hasattr(builtins, first) or find_spec(first) is not None)


@cache
def _homes() -> dict[str, list[Path]]:
    """The files in which a module or class of that name is."""
    homes: dict[str, list[Path]] = defaultdict(list)
    for file in SOURCE.rglob("*.py"):
        homes[file.stem].append(file)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(file)
    return homes


@cache
def _said() -> frozenset[str]:
    """Every `name.attribute` of our code."""
    nodes = (node for file in SOURCE.rglob("*.py") for node in ast.walk(ast.parse(file.read_text())))
    return frozenset(
        f"{node.value.id}.{node.attr}"
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    )


def _is_ours(dotted: str) -> bool:
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(["meshward", *parts[:cut]]))
        except ImportError:
            continue
        for name in parts[cut:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


def _is_key(dotted: str) -> bool:
    from meshward.policy.schema import Policy

    model: object = Policy
    for name in dotted.split("."):
        fields = getattr(model, "model_fields", None)
        if fields is None or name not in fields:
            return False
        model = fields[name].annotation
    return True
