"""Steps carried out at an API server: each taken, or known not to be.

An answer that does not come is asked for again, for a while: what was written meanwhile is looked at first. Each write
names the version that it was planned on, so that whoever changed it meanwhile is not overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from meshward.cluster.connection import Object, Query, Server
from meshward.cluster.inventory import Inventory
from meshward.cluster.lease import Turn
from meshward.cluster.manifest import Key, manifest
from meshward.cluster.order import Phase, Step
from meshward.cluster.ownership import MANAGER, adopters, is_same
from meshward.cluster.refusals import Refused, refused_error
from meshward.kit import codes
from meshward.kit.errors import MeshwardError

ATTEMPTS = 8
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0  # seconds; together about half a minute
_BUSY = (429, 502, 503, 504)
SETTLE = 1.0
"""Seconds between phases that touch different kinds: a control plane reads each kind by a stream of its own."""
_APART = (Phase.TIGHTEN, Phase.CONTRACT, Phase.SWITCH, Phase.TAKE)

Say = Callable[[str], None]
Pause = Callable[[float], None]


@dataclass(slots=True)
class Writer:
    """Writes for whoever has the turn. `takeover`: also fields that somebody else owns."""

    server: Server
    stock: Inventory
    turn: Turn
    pause: Pause
    takeover: bool = False
    _now: dict[Key, Object | None] = field(default_factory=dict)

    def try_out(self, bodies: Sequence[Object], gone: Sequence[Key], keys: Sequence[Key]) -> None:
        """Have the server judge each write and removal without doing it. Raises MeshwardError for the first refused."""
        dry = {"dryRun": "All"}
        for key, body in zip(keys, bodies, strict=True):
            self._repeat(key, lambda key=key, body=body: self._apply(key, body, dry))  # type: ignore[misc]
        for key in gone:
            self._repeat(key, lambda key=key: self._delete(key, dry))  # type: ignore[misc]

    def carry_out(self, steps: Sequence[Step], say: Say) -> None:
        """Take each step. Raises MeshwardError for the first that was refused, or of which no answer came."""
        before: Phase | None = None
        for step in steps:
            if before is not None and _apart(before, step.phase, steps):
                self.pause(SETTLE)
            before = step.phase
            say(f"{'removing' if step.body is None else 'writing'} {step.key}")
            self._take(step)

    def _take(self, step: Step) -> None:
        if step.body is None:
            self._repeat(step.key, lambda: self._delete(step.key, {}))
            self._now[step.key] = None
        else:
            body = step.body
            self._now[step.key] = self._repeat(step.key, lambda: self._apply(step.key, body, {}))

    def _there(self, key: Key) -> Object | None:
        return self._now[key] if key in self._now else self.stock.raw.get(key)

    def _apply(self, key: Key, body: Object, more: Query) -> Object:
        there, meta = self._there(key), dict(body["metadata"])
        if there is not None:
            meta["resourceVersion"] = there["metadata"]["resourceVersion"]
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict", **more}
        if self.takeover:
            query["force"] = "true"
        kind = self.stock.kinds[key.group, key.kind]
        said = {**body, "apiVersion": kind.api_version, "metadata": meta}
        try:
            return self.server.apply(self.stock.path(key), said, query)
        except Refused as refused:
            if refused.refusal.status != 409 or refused.refusal.conflicts:
                raise
            return self._found_as_wanted(key, body, more)

    def _found_as_wanted(self, key: Key, body: Object, more: Query) -> Object:
        """What an answer that did not come was about. Raises MeshwardError (MW5069) where it is not that."""
        found = self.server.get(self.stock.path(key))
        if not is_same(found, body):
            if self._says_what_it_said(key, found):
                return self._apply(key, body, more)
            raise MeshwardError(codes.CHANGED_MEANWHILE, f"{key} was changed by somebody else meanwhile")
        return found

    def _says_what_it_said(self, key: Key, found: Object) -> bool:
        """Whether only its status became another: a controller's word is no change by somebody else."""
        there = self._there(key)
        if there is None or there["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]:
            return False
        same = there["metadata"]["uid"] == found["metadata"]["uid"] and _said(there) == _said(found)
        if same:
            self._now[key] = found
        return same

    def _delete(self, key: Key, more: Query) -> Object:
        there = self._there(key)
        if there is None:
            return {}
        meta = there["metadata"]
        demanded = {"preconditions": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}}
        try:
            return self.server.delete(self.stock.path(key), demanded, more)
        except Refused as refused:
            if refused.refusal.status == 404:
                return {}
            if refused.refusal.status == 409:
                if self._says_what_it_said(key, self.server.get(self.stock.path(key))):
                    return self._delete(key, more)
                message = f"{key} was changed by somebody else meanwhile"
                raise MeshwardError(codes.CHANGED_MEANWHILE, message) from None
            raise

    def _repeat(self, key: Key, act: Callable[[], Object]) -> Object:
        return repeated(self.server, str(key), act, self.pause, self.turn.keep)


def _said(body: Object) -> object:
    """All of it that is no status, and by whom."""
    said = manifest({**body, "apiVersion": "", "kind": ""})
    return said, adopters(body), bool(body["metadata"].get("deletionTimestamp"))


def repeated(
    server: Server, what: str, act: Callable[[], Object], pause: Pause, keep: Callable[[], None]
) -> Object:
    """What `act` returns, once the server answers. Raises MeshwardError for what it refuses, or where it never does."""
    wait = _FIRST_PAUSE
    for _ in range(ATTEMPTS - 1):
        try:
            keep()
            return act()
        except MeshwardError as error:
            if error.code is not codes.CLUSTER_UNREACHABLE:
                raise
        except Refused as refused:
            if refused.refusal.status not in _BUSY:
                raise refused_error(refused.refusal, what, server.name) from None
        pause(wait)
        wait = min(wait * 2, _LONGEST_PAUSE)
    try:
        keep()
        return act()
    except Refused as refused:
        raise refused_error(refused.refusal, what, server.name) from None


def _apart(before: Phase, after: Phase, steps: Sequence[Step]) -> bool:
    """Whether a control plane could see what comes after before what came before it, and that would matter."""
    if before is after or (before not in _APART and after is not Phase.LOOSEN):
        return False
    kinds = {phase: {step.key.kind for step in steps if step.phase is phase} for phase in (before, after)}
    return kinds[before] | kinds[after] != kinds[before] & kinds[after]
