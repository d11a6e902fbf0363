"""What can go wrong, in one shape: a stable code, where, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from meshward.kit.codes.code import Code
from meshward.kit.exits import Exit


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
    """One finding about what a user wrote."""

    code: Code
    message: str
    remedy: str
    where: Where | None = None
    severity: str = "error"  # error | lint

    def as_json(self) -> dict[str, Any]:
        place = None
        if self.where:
            place = {"file": self.where.file, "line": self.where.line, "column": self.where.column}
        return {
            "code": self.code.number,
            "severity": self.severity,
            "message": self.message,
            "remedy": self.remedy,
            "where": place,
        }


class MeshwardError(Exception):
    """An expected failure: printed as cause and remedy, never as a traceback.

    What it says does not change on its way: who knows more raises another one.
    """

    def __init__(
        self, code: Code, message: str, remedy: str | None = None, *, exit_code: Exit | None = None
    ) -> None:
        """Without `remedy` and `exit_code` they are those of `code`; an empty remedy is none."""
        super().__init__(message)
        self.code: Final = code
        self.message: Final = message
        self.remedy: Final = code.remedy if remedy is None else remedy
        self.exit_code: Final = code.exit if exit_code is None else exit_code

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__dict__:
            raise AttributeError(f"`{name}` of an error is not changed on its way")
        super().__setattr__(name, value)


def run_all(steps: Iterable[Callable[[], object]]) -> None:
    """Take every step, whatever becomes of the others.

    Raises what the first MeshwardError says, with a message that names what was wrong with all; or else the first
    OSError.
    """
    faults: list[MeshwardError | OSError] = []
    for step in steps:
        try:
            step()
        except (MeshwardError, OSError) as fault:
            faults.append(fault)
    if not faults:
        return
    first = next((fault for fault in faults if isinstance(fault, MeshwardError)), None)
    if first is None or len(faults) == 1:
        raise faults[0]
    message = "; ".join(each.message if isinstance(each, MeshwardError) else str(each) for each in faults)
    raise MeshwardError(first.code, message, first.remedy, exit_code=first.exit_code) from first


class PolicyInvalid(MeshwardError):
    """A policy that cannot be used. Carries every problem found, in the file's order."""

    def __init__(self, problems: list[Problem], exit_code: Exit = Exit.USAGE) -> None:
        first = problems[0]
        super().__init__(first.code, first.message, first.remedy, exit_code=exit_code)
        self.problems: Final = problems
