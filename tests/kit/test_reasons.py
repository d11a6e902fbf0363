"""The list of reasons is closed: Python and nginx's Lua say no other word, and each of them is said."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from meshward.kit.reasons import Reason
from meshward.trace.reasons import REMEDIES

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "meshward"
LUA = "\n".join(file.read_text() for file in sorted((SOURCES / "targets" / "nginx" / "lua").rglob("*.lua")))
WORDS = {str(reason) for reason in Reason}
AMBIGUOUS = {"revoked", "refused", "fault"}  # plain words, which also mean other things


def nodes() -> Iterator[tuple[str, ast.AST]]:
    for file in sorted(SOURCES.rglob("*.py")):
        if file != SOURCES / "kit" / "reasons.py":
            for node in ast.walk(ast.parse(file.read_text())):
                yield str(file.relative_to(ROOT)), node


def of_nginx() -> set[str]:
    """What its Lua refuses with: by a status of nginx, at once, of a body, and in a stream that it ends."""
    at_once = re.findall(r'(?:refuse\(\d{3}|return nil), "(body_model_\w+|body_too_large)"', LUA)
    by_status = re.findall(r'\{ \d{3}, "(\w+)", ', LUA)
    in_streams = re.findall(r'(\w+) = \{ \d{3}, "[A-Z]', LUA)
    in_place_of_none = re.findall(r'\) or "(\w+)",', LUA)
    by_place = re.findall(r'\w+ = \{ "(\w+)", "[A-Z]', LUA)

    assert at_once and by_status and in_streams and in_place_of_none and by_place
    return {*at_once, *by_status, *in_streams, *in_place_of_none, *by_place}


def test_a_reason_is_called_as_it_is_spelled() -> None:
    assert [reason.name.lower() for reason in Reason] == [str(reason) for reason in Reason]


def test_nginx_says_no_other_word() -> None:
    assert of_nginx() - WORDS == set()


def test_each_word_is_said() -> None:
    values = {
        Reason[node.attr]
        for file, node in nodes()
        if file != "src/meshward/trace/reasons.py"  # which only tells what to do about them
        and isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Reason"
    }
    assert WORDS - values - of_nginx() == set()


def test_each_has_a_remedy() -> None:
    assert set(REMEDIES) == set(Reason)


def test_python_says_them_by_value() -> None:
    found = [
        f"{file}:{node.lineno} {node.value}"
        for file, node in nodes()
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in WORDS - AMBIGUOUS
    ]
    assert found == []


def test_the_docs_name_no_reason_that_there_is_not() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    rows = re.findall(r"^\| (?:\d{3}[\d, ]*|\(in a stream\)) \| ([^|]+) \|", page, re.MULTILINE)
    named = {word for row in rows for word in re.findall(r"`([a-z_]+)`", row)}
    assert len(named) > 20 and named <= WORDS
