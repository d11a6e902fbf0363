"""What can go wrong, in one shape: a stable code, where, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """Exit codes of every command (docs/cli.md)."""

    OK = 0
    FAULT = 1
    USAGE = 2
    CONFLICT = 3
    UNSAFE = 4
    HOP_REFUSED = 5
    DENIED = 10
    FINDINGS = 11


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file that a person wrote. Lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding about what a user wrote. `code` is stable and listed in docs/codes.md."""

    code: str
    message: str
    remedy: str
    where: Where | None = None
    severity: str = "error"  # error | lint

    def as_json(self) -> dict[str, Any]:
        place = None
        if self.where:
            place = {"file": self.where.file, "line": self.where.line, "column": self.where.column}
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "remedy": self.remedy,
            "where": place,
        }


class MeshwardError(Exception):
    """An expected failure: printed as cause and remedy, never as a traceback."""

    exit_code: Exit = Exit.FAULT

    def __init__(self, code: str, message: str, remedy: str = "", *, exit_code: Exit | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy
        if exit_code is not None:
            self.exit_code = exit_code


def run_all(steps: Iterable[Callable[[], object]]) -> None:
    """Take every step, whatever becomes of the others.

    Raises the first MeshwardError, whose message then names what was wrong with all, or else the first OSError.
    """
    faults: list[MeshwardError | OSError] = []
    for step in steps:
        try:
            step()
        except (MeshwardError, OSError) as fault:
            faults.append(fault)
    first = next((fault for fault in faults if isinstance(fault, MeshwardError)), None)
    if first is not None:
        first.message = "; ".join(
            each.message if isinstance(each, MeshwardError) else str(each) for each in faults
        )
        raise first
    if faults:
        raise faults[0]


class PolicyInvalid(MeshwardError):
    """A policy that cannot be used. Carries every problem found, in the file's order."""

    exit_code = Exit.USAGE

    def __init__(self, problems: list[Problem]) -> None:
        first = problems[0]
        super().__init__(first.code, first.message, first.remedy)
        self.problems = problems
