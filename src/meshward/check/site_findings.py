"""How a problem of a site is told: by its line, or, of what holds by convention, without one."""

from __future__ import annotations

from dataclasses import dataclass

from meshward.kit.codes import Code
from meshward.kit.errors import Problem
from meshward.kit.text import quoted
from meshward.policy.positions import Positions, spell_path

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SiteFindings:
    """`positions`: of the site; None: there is none, and names hold by convention."""

    positions: Positions | None

    def told(
        self, code: Code, path: Path, message: str, remedy: str | None = None, severity: str = "error"
    ) -> Problem:
        """`message` continues the sentence that the path begins."""
        where = None if self.positions is None else self.positions.key(path)
        sentence = f"{self.spelled(path)} {message}"
        return Problem(code, sentence, code.remedy if remedy is None else remedy, where, severity)

    def says(self, path: Path) -> bool:
        """Whether the site has a key at `path`."""
        return self.positions is not None and self.positions.present(path) == path

    def spelled(self, path: Path) -> str:
        """The key at `path`, and whether it is said."""
        unsaid = " (by convention)" if self.positions is None else " (not said here)"
        return f"{quoted(spell_path(path))}{'' if self.says(path) else unsaid}"
