"""The lines that the instance wrote about changes of itself, put together: one change, and what became of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from meshward.audit.join import seconds
from meshward.audit.lines import BEGUN, ChangeLine

UNFINISHED = "unfinished"
"""What is begun and has no end: it is under way, or the instance ended meanwhile."""


@dataclass(frozen=True, slots=True)
class ChangeEntry:
    """Who did what, or tried to. `at`: when it began, in seconds since the epoch."""

    id: str
    at: float
    author: str
    did: str
    outcome: str  # done | refused | failed | unfinished
    facts: Mapping[str, str]


def changes_of(lines: Iterable[ChangeLine]) -> list[ChangeEntry]:
    """The changes that `lines` tell of, oldest first."""
    found: dict[str, ChangeEntry] = {}
    for line in lines:
        known = found.get(line.id)
        at = known.at if known else seconds(line.t)
        facts = {**(known.facts if known else {}), **_facts(line.facts)}
        outcome = UNFINISHED if line.outcome == BEGUN else line.outcome
        found[line.id] = ChangeEntry(line.id, at, line.author, line.did, outcome, facts)
    return list(found.values())


def _facts(text: str) -> dict[str, str]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return {str(name): str(each) for name, each in value.items()} if isinstance(value, dict) else {}
