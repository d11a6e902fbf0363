"""Where the rules put what they find."""

from __future__ import annotations

from meshward.kit import codes
from meshward.kit.errors import Problem
from meshward.kit.text import quoted
from meshward.policy.positions import Path, Positions, spell_path

MOST_PROBLEMS = 200
"""How many problems one reading of a policy shows; beyond them nobody reads, and finding more takes time."""


class Findings:
    """Problems of one policy, each with the place of the value at its path; not many more than are shown."""

    def __init__(self, positions: Positions) -> None:
        self.problems: list[Problem] = []
        self._positions = positions

    def error(self, code: codes.Code, path: Path, message: str, remedy: str) -> None:
        """`message` continues the sentence that the path begins."""
        self._add(code, path, message, remedy, "error")

    def lint(self, code: codes.Code, path: Path, message: str, remedy: str) -> None:
        self._add(code, path, message, remedy, "lint")

    @property
    def are_enough(self) -> bool:
        return len(self.problems) > MOST_PROBLEMS

    def place(self, path: Path) -> str:
        return str(self._positions.at(path))

    def _add(self, code: codes.Code, path: Path, message: str, remedy: str, severity: str) -> None:
        if self.are_enough:
            return
        sentence = f"{quoted(spell_path(path))} {message}" if path else message
        self.problems.append(Problem(code, sentence, remedy, self._positions.at(path), severity))
