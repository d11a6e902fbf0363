"""What an earlier revision knew of a server, and the one that runs has forgotten: that a route of it was `manage`.

Two changes, of which one takes a route or a model away and the other gives it back as less, give together what one
change would need leave for. So where a revision opens a route that nobody can reach now, the newest of those before
that knew it is asked what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from meshward.apply.revisions import ACCEPTED, Revisions
from meshward.compare.places import Permission, Place, Places
from meshward.kit.errors import MeshwardError
from meshward.kit.text import join_words
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.schema import ACTIONS

MOST_REVISIONS = 50  # that are looked at, the newest first
_WELL_KNOWN = ("80", "443")  # ports that a URL need not name


def once_managed(revisions: Revisions, old: Plan, new: Plan) -> list[str]:
    """Who may use as less what was `manage` before `old`, by routes that `old` does not open: sentences."""
    opened = _opened(old, new)
    found: list[str] = []
    for number, plan in _earlier(revisions, opened):
        known = Places(plan)
        for place in [each for each in opened if known.at(each)]:
            managed = sorted(model for model, action in known.at(place) if action == "manage")
            for permission, roles in opened.pop(place) if managed else ():
                was = join_words((f"{model}.manage" for model in managed), "and")
                found.append(
                    f"{join_words(roles, 'and')} gains {'.'.join(permission)} "
                    f"(on {place.route} at {place.server}, which was {was} in revision {number})"
                )
            opened.pop(place, None)
    return list(dict.fromkeys(found))


def _opened(old: Plan, new: Plan) -> dict[Place, list[tuple[Permission, list[str]]]]:
    """The routes that nobody could reach and somebody can, as less than `manage`: by which permissions, and who."""
    before, after = Places(old), Places(new)
    opened: dict[Place, list[tuple[Permission, list[str]]]] = {}
    for model in sorted(new.models):
        for action in ACTIONS:
            roles = sorted({role for each in new.grants if each.gives(model, action) for role in each.roles})
            for place in sorted(after.of((model, action)), key=str) if roles and action != "manage" else ():
                if not before.by(place) and not before.at(place):
                    opened.setdefault(place, []).append(((model, action), roles))
    return opened


def _earlier(
    revisions: Revisions, opened: dict[Place, list[tuple[Permission, list[str]]]]
) -> Iterator[tuple[int, Plan]]:
    """Those that may know a place of `opened`, which shrinks; one that cannot be read tells nothing."""
    last = revisions.next_number(0) - 1
    for number in range(last, max(0, last - MOST_REVISIONS), -1) if opened else ():
        with suppress(MeshwardError):
            if revisions.record(number).status == ACCEPTED and revisions.may_mention(number, _words(opened)):
                yield number, resolve(revisions.policy(number))


def _words(places: Iterable[Place]) -> list[str]:
    """What a policy that names their servers has in it, however it spells them."""
    ports = [(place.server, place.server.rpartition(":")[2]) for place in places]
    return [
        "" if port in _WELL_KNOWN else port if server.startswith("unix:") else f":{port}"
        for server, port in ports
    ]
