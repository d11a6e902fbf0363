"""What a diagnostic code is."""

from __future__ import annotations

from dataclasses import dataclass

from meshward.kit.exits import Exit


@dataclass(frozen=True, slots=True)
class Code:
    """One thing that can go wrong. Whoever handles an error asks for this value, never for its number.

    `number` is for people and other programs: it keeps its meaning for ever. `remedy` is the general one; whoever
    raises it may know a more exact one, and, rarely, another exit code.
    """

    number: str
    title: str
    remedy: str
    exit: Exit = Exit.FAULT

    def __str__(self) -> str:
        return self.number
