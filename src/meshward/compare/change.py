"""What one plan changes against another: who gains and who loses, and what else differs. Pure.

Who may do what is compared by what it means: whoever is permitted what was not permitted, at whichever server, gains
it, whatever the names are that changed (`gains`).

A change is *widening* where somebody could come to hold `manage` or an operators' right, where a new authority is
trusted, where a secret is sent to a server that did not get it before, or where less is recorded (`authority`). What
nobody can tell counts as a gain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from meshward.compare.authority import widened_authority
from meshward.compare.edits import Edit, edits
from meshward.compare.gains import Holds, gains
from meshward.compare.places import Places, manages, moved
from meshward.compare.words import STOPS, opened_text, place_text, some_text
from meshward.kit.canonical import digest
from meshward.plan.ir import Plan


@dataclass(frozen=True, slots=True)
class Change:
    """From the plan with digest `before` to the one with digest `after`. Sequences are in a fixed order."""

    before: str
    after: str
    gained: tuple[Holds, ...]
    lost: tuple[Holds, ...]
    edits: tuple[Edit, ...]
    widening: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Names exactly this change: what was reviewed, on top of what was running."""
        return digest(asdict(self))

    @property
    def is_empty(self) -> bool:
        return self.before == self.after

    def lines(self) -> list[str]:
        """For people."""
        return list(_lines(self))


def compare(old: Plan | None, new: Plan) -> Change:
    """What `new` changes against `old`; None: nothing was accepted yet."""
    if old is not None and old.digest == new.digest:
        return Change(old.digest, new.digest, (), (), (), ())
    led = (Places(old), Places(new)) if old else None
    gained = tuple(gains(old, new, led))
    lost = tuple(gains(new, old, stopped=STOPS)) if old else ()
    told = tuple(sorted(edits(old, new))) if old else ()
    widening = (
        *_managers(gained),
        *(_opened(*led, gained) if led else ()),
        *(widened_authority(old, new) if old else ()),
    )
    return Change(old.digest if old else "", new.digest, gained, lost, told, tuple(dict.fromkeys(widening)))


def _managers(gained: Iterable[Holds]) -> Iterator[str]:
    for each in gained:
        if each.widens:
            yield f"{some_text(each.who)} gains {each.permission}{_how(each)}, by {each.role}"


def _opened(before: Places, after: Places, gained: Iterable[Holds]) -> Iterator[str]:
    """Routes that were `manage` and mean less now, though nobody gains them yet: by the next change somebody might."""
    told = {each.permission for each in gained if each.widens}
    for permission in after.permissions:
        name = ".".join(permission)
        led = moved(before, after, permission) if permission[1] != "manage" and name not in told else {}
        for held, places in led.items():
            if manages(held):
                yield opened_text(permission, place_text(permission, sorted(held), places))


def _how(each: Holds) -> str:
    return f" ({each.how})" if each.how else ""


def _lines(change: Change) -> Iterator[str]:
    if change.is_empty and not change.widening:
        yield "Nothing changes."
        return
    for sign, verb, each in (
        *(("+", "gains", each) for each in change.gained),
        *(("-", "loses", each) for each in change.lost),
    ):
        who = f" ({', '.join(each.who)})"
        how = f": {each.how}" if each.how else ""
        yield f"{sign} {each.role} {verb} {each.permission}, by {', '.join(each.grants)}{who}{how}"
    if not (change.gained or change.lost or change.widening):
        yield "Nobody gains and nobody loses a permission."
    yield from (f"~ {edit.what} {edit.name}: {edit.sentence}" for edit in change.edits)
    yield from (f"! widening: {sentence}" for sentence in change.widening)
