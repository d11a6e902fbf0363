"""STATE/revocations.json: who and what was revoked, until when, by whom and why.

It is there from the first start on. `Counters.revocations` names the digests that it may have: the one that stands,
and while it is being replaced also the next one. So a list that is gone, or is not the last one, is seen, and never
reads as nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from meshward.apply.counters import Counters, load_counters
from meshward.callers.bindings import Kind, spread
from meshward.callers.revocations import FILE, REFUSED, Revoked, later
from meshward.kit import codes
from meshward.kit.canonical import digest
from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import StateFile, unchanged
from meshward.plan.ir import Plan

KINDS: tuple[Kind, ...] = ("subject", "token", "agent")
MOST_ENDED = 1_000  # of each kind


@dataclass(frozen=True, slots=True)
class Revocation:
    """`until`, `since`: seconds since the epoch; without `until` for ever. 0 and empty: of a release that kept less.

    `names` are further ones of whoever it is, `known` what policies knew them by (`callers.bindings`).
    """

    until: int | None = None
    since: int = 0
    author: str = ""
    reason: str = ""
    names: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Revocations:
    """By the name that was given: subjects as `<issuer's name>:<subject>`, tokens by `jti`, agents by their name.

    `ended`: by kind, those that hold no longer; and do again if the clock that ended them is put right.
    """

    subjects: Mapping[str, Revocation] = field(default_factory=dict)
    tokens: Mapping[str, Revocation] = field(default_factory=dict)
    agents: Mapping[str, Revocation] = field(default_factory=dict)
    ended: Mapping[Kind, Mapping[str, Revocation]] = field(default_factory=dict)

    def of(self, kind: Kind) -> Mapping[str, Revocation]:
        return {"subject": self.subjects, "token": self.tokens, "agent": self.agents}[kind]

    def key(self, kind: Kind, name: str) -> str | None:
        """Under which name whoever is called `name` was revoked; None: they were not."""
        return next((key for key, each in self.of(kind).items() if name in (key, *each.names)), None)

    def put(self, kind: Kind, name: str, revocation: Revocation) -> Revocations:
        key = self.key(kind, name) or name
        kept = self.of(kind).get(key, revocation)
        return self._with(
            kind, {**self.of(kind), key: replace(revocation, names=kept.names, known=kept.known)}
        )

    def without(self, kind: Kind, name: str) -> Revocations:
        key = self.key(kind, name)
        return self._with(kind, {other: each for other, each in self.of(kind).items() if other != key})

    def standing(self, now: float) -> Revocations:
        """Those that hold at `now`; the others are set aside."""
        known = {kind: {**self.ended.get(kind, {}), **self.of(kind)} for kind in KINDS}
        ended = {kind: found for kind in KINDS if (found := _ended(known[kind], now))}
        return _of({kind: _standing(known[kind], now) for kind in KINDS}, ended)

    def spread(self, plan: Plan) -> Revocations:
        """With every name that `plan` has for those who are revoked."""
        spread = {kind: _spread_all(plan, kind, self.of(kind)) for kind in KINDS}
        ended = {kind: _spread_all(plan, kind, table) for kind, table in self.ended.items()}
        return _of(spread, ended)

    @property
    def revoked(self) -> Revoked:
        """As the hops are told."""
        tables = [dict[str, int | None](), dict[str, int | None](), dict[str, int | None]()]
        for table, kind in zip(tables, KINDS, strict=True):
            for key, each in self.of(kind).items():
                for name in (key, *each.names):
                    table[name] = later(table[name], each.until) if name in table else each.until
        return Revoked(*tables)

    @property
    def digest(self) -> str:
        said = asdict(self)
        if not self.ended:  # as it was before they were kept
            del said["ended"]
        return digest(said)

    def _with(self, kind: Kind, table: Mapping[str, Revocation]) -> Revocations:
        return _of({each: table if each == kind else self.of(each) for each in KINDS}, self.ended)


_Tables = Mapping[Kind, Mapping[str, Revocation]]


def _of(tables: _Tables, ended: _Tables) -> Revocations:
    return Revocations(tables["subject"], tables["token"], tables["agent"], ended)


def _standing(table: Mapping[str, Revocation], now: float) -> dict[str, Revocation]:
    return {name: each for name, each in table.items() if each.until is None or now < each.until}


def _ended(table: Mapping[str, Revocation], now: float) -> dict[str, Revocation]:
    """The last of them: no clock says for how long one is to be remembered."""
    found = [
        (each.until, name) for name, each in table.items() if each.until is not None and now >= each.until
    ]
    return {name: table[name] for _, name in sorted(found)[-MOST_ENDED:]}


def _spread_all(plan: Plan, kind: Kind, table: Mapping[str, Revocation]) -> dict[str, Revocation]:
    return {name: _spread(plan, kind, name, each) for name, each in table.items()}


def _spread(plan: Plan, kind: Kind, name: str, each: Revocation) -> Revocation:
    names, known = spread(plan, kind, frozenset((name, *each.names)), frozenset(each.known))
    return replace(each, names=tuple(sorted(names - {name})), known=tuple(sorted(known)))


def _with_reasons(value: Any) -> Any:
    """Format 1 kept names and ends alone."""
    plain = {"since": 0, "author": "", "reason": "", "names": [], "known": []}
    return {
        kind: {name: {"until": until, **plain} for name, until in table.items()}
        for kind, table in value.items()
    }


REVOCATIONS = StateFile(
    FILE,
    Revocations,
    place="STATE",
    what="which subjects, tokens and agents are refused, until when, by whom and why",
    remedy=REFUSED.code.remedy,
    code=REFUSED.code,
    limit=64_000_000,
    may_lack=frozenset({"agents", "ended"}),  # before they could be revoked, and before they were kept
    migrations=(unchanged, _with_reasons, unchanged),
)


def load_revocations(state: Path) -> Revocations:
    """The last list that was written, as the counters name it. Raises MeshwardError (MW2032, MW2033)."""
    for _ in range(2):  # between one file and the other, it may be written
        found = REVOCATIONS.read(state)
        why = _fault(found, load_counters(state).revocations)
        if why is None:
            return found or Revocations()
    raise MeshwardError(codes.REVOCATIONS_LOST, f"`{state / FILE}` {why}")


def is_lost(error: MeshwardError) -> bool:
    """Whether the list is gone, or is not the last one."""
    return error.code is codes.REVOCATIONS_LOST


def load_as_found(state: Path) -> Revocations:
    """Whatever list there is, or nobody: an operator said that this is to be. Raises MeshwardError (MW2032)."""
    return REVOCATIONS.read(state) or Revocations()


def save_revocations(state: Path, revocations: Revocations) -> None:
    """Raises OSError."""
    REVOCATIONS.write(state, revocations)


def begin_list(state: Path, counters: Counters, revocations: Revocations) -> Counters:
    """At a start: write the list, and name it in the counters, which are returned. Raises OSError."""
    if counters.revocations:  # else there is none yet, or one of an older release: any may stand there
        counters.also_naming(revocations.digest).save(state)
    save_revocations(state, revocations)
    return counters.naming(revocations.digest)


def _fault(found: Revocations | None, may_be: tuple[str, ...]) -> str | None:
    """`may_be` is empty before the first start, and in what an older release left."""
    if not may_be:
        return None
    if found is None:
        return "is gone: nobody can tell who was revoked"
    return (
        None
        if found.digest in may_be
        else "is not the last list of who was revoked: it is an older one, or was altered"
    )
