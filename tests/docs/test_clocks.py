"""No test compares seconds: machines are shared, and what is shown by a clock fails on a busy one (docs/testing.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLOCKS = {"monotonic", "perf_counter", "process_time", "monotonic_ns", "perf_counter_ns", "process_time_ns"}


def test_no_test_compares_what_a_clock_says() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in sorted((ROOT / "tests").glob("*/*.py"))
        for line in _comparisons(ast.parse(file.read_text()))
    ]
    assert found == []


def _comparisons(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(_asks_a_clock(part) for part in ast.walk(node)):
            yield node.lineno


def _asks_a_clock(node: ast.AST) -> bool:
    name = node.func if isinstance(node, ast.Call) else None
    return isinstance(name, ast.Attribute | ast.Name) and (getattr(name, "attr", None) or name.id) in CLOCKS  # type: ignore[union-attr]
