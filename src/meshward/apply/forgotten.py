"""What an earlier revision knew of a server, and the one that runs has forgotten: that a route of it was `manage`.

Two changes, of which one takes a route or a model away and the other gives it back as less, give together what one
change would need leave for. So where a revision opens a route that nobody can reach now, the newest of those before
that knew it is asked what it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import product

from meshward.apply.revisions import ACCEPTED, Revisions
from meshward.compare.places import Permission, Place, Places
from meshward.compare.words import opened_text
from meshward.kit.errors import MeshwardError
from meshward.kit.text import join_words
from meshward.plan.ir import Plan

MOST_REVISIONS = 50  # that are looked at, the newest first
_WELL_KNOWN = ("80", "443")  # ports that a URL need not name


def once_managed(revisions: Revisions, old: Plan, new: Plan) -> list[str]:
    """Who may use as less what was `manage` before `old`, by routes that `old` does not open: sentences."""
    opened = _opened(old, new)
    found: list[str] = []
    for number, plan in _earlier(revisions, opened):
        known, held = Places(plan), _holders(plan)
        for place in list(opened):
            managed = sorted(model for model, action in known.at(place) if action == "manage")
            if managed:
                was = join_words((f"{model}.manage" for model in managed), "and")
                where = f"on {place.route} at {place.server}, which was {was} in revision {number}"
                found += [_sentence(permission, roles, where) for permission, roles in opened.pop(place)]
            elif any(each in held for each in known.at(place)):
                del opened[place]
    return list(dict.fromkeys(found))


def _sentence(permission: Permission, roles: list[str], where: str) -> str:
    if not roles:
        return opened_text(permission, where)
    return f"{join_words(roles, 'and')} gains {'.'.join(permission)} ({where})"


def _holders(plan: Plan) -> Mapping[Permission, set[str]]:
    """The roles that some grant gives each permission to."""
    found: dict[Permission, set[str]] = defaultdict(set)
    for grant in plan.grants:
        for permission in product(grant.models.names, grant.actions) if not grant.shadow else ():
            found[permission].update(grant.roles)
    return found


def _opened(old: Plan, new: Plan) -> dict[Place, list[tuple[Permission, list[str]]]]:
    """The routes that were given to nobody and are opened as less than `manage`: by which permissions, and to whom."""
    before, after, had, holds = Places(old), Places(new), _holders(old), _holders(new)
    opened: dict[Place, list[tuple[Permission, list[str]]]] = {}
    for permission in after.permissions:
        roles = sorted(holds.get(permission, ()))
        for place in sorted(after.of(permission), key=str) if permission[1] != "manage" else ():
            known = before.by(place) | before.at(place)
            opens = bool(roles) or permission not in known
            if opens and not any(each in had for each in known):
                opened.setdefault(place, []).append((permission, roles))
    return opened


def _earlier(
    revisions: Revisions, opened: dict[Place, list[tuple[Permission, list[str]]]]
) -> Iterator[tuple[int, Plan]]:
    """Those that may know a place of `opened`, which shrinks; one that cannot be read tells nothing."""
    last = revisions.next_number(0) - 1
    for number in range(last, max(0, last - MOST_REVISIONS), -1) if opened else ():
        with suppress(MeshwardError):
            if revisions.record(number).status == ACCEPTED and revisions.may_mention(number, _words(opened)):
                yield number, revisions.plan(number)


def _words(places: Iterable[Place]) -> list[str]:
    """What a policy that names their servers has in it, however it spells them."""
    ports = [(place.server, place.server.rpartition(":")[2]) for place in places]
    return [
        "" if port in _WELL_KNOWN else port if server.startswith("unix:") else f":{port}"
        for server, port in ports
    ]
