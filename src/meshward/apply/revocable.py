"""Who can be revoked: a name that a caller here can have, and that somebody is known to have.

What no token and no certificate can ever be called is refused whatever is insisted on, for it would refuse nobody:

1. A subject is `<issuer's name>:<id>`, or `workload:<name>`; an agent is a name; a token's `jti` is any text.
2. An id is as the verifier lets it be (`oidc.verify.subject_of`): printable ASCII, and of its profile's form.

Whoever is named is known from the policy, the records of requests, or because they are revoked already. A token's
`jti` is kept nowhere, so nobody can say whether there is one: white space around it was copied by mistake.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from meshward.apply.revocation_store import Revocations
from meshward.audit.records import FILE, Records
from meshward.callers.bindings import WORKLOAD, Kind
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.names import is_name
from meshward.kit.secret import holds_token
from meshward.kit.text import nearest, quoted, quoted_list
from meshward.oidc.profiles import load_profile
from meshward.oidc.verify import is_subject
from meshward.plan.ir import Plan
from meshward.spiffe.ids import agent_id

PATIENCE = 2.0  # seconds for the record of a request that was just answered
_POLL = 0.25
_SHOWN = 5  # names that an error lists

Known = Callable[[], list[str]]
"""Subjects that were seen, whoever was last first."""


def seen_here(state: Path, met: Callable[[], Iterable[str]]) -> Known:
    """Whoever the records tell of, and who was `met` and has none yet, as while an answer runs.

    Raises MeshwardError for records that cannot be read.
    """

    def seen() -> list[str]:
        return list(dict.fromkeys((*met(), *_callers(state))))

    return seen


def _callers(state: Path) -> list[str]:
    if not (state / FILE).exists():
        return []
    records = Records(state)
    try:
        return [name for name in records.subjects() if ":" in name]
    finally:
        records.close()


def require_revocable(
    plan: Plan, revocations: Revocations, seen: Known, kind: Kind, name: str, patience: float = PATIENCE
) -> None:
    """Raises MeshwardError: MW0904 for what nobody can be called, MW0903 for what nobody is known to be called."""
    require_spelling(plan, seen, kind, name)
    if kind == "token" and name != name.strip():
        raise _unknown_error("that `jti` has white space before or after it", ())
    if kind == "token" or revocations.key(kind, name) is not None or name in _named(plan, kind):
        return
    if kind == "agent":
        raise _unknown_error(f"the policy has no agent {quoted(name)}", _near_names(name, plan.agents))
    owner = name.partition(":")[0]
    if owner == WORKLOAD:
        raise _unknown_error(
            f"the policy has no workload {quoted(name)}", _near_names(name, _named(plan, kind))
        )
    if owner not in plan.issuers:
        hint = _near_subjects(plan, seen, name)
        raise _unknown_error(
            f"the policy has no issuer {quoted(owner)} (it has {_listed(plan.issuers)})", hint
        )
    _require_seen(plan, seen, name, patience)


def _require_seen(plan: Plan, seen: Known, name: str, patience: float) -> None:
    deadline = time.monotonic() + patience
    while name not in (names := _read(seen)):
        if time.monotonic() >= deadline:
            issuer = plan.issuers[name.partition(":")[0]]
            claim = load_profile(issuer.profile).subject.text
            what = f"no request of {quoted(name)} was seen; {quoted(issuer.name)} names people by {quoted(claim)}"
            raise _unknown_error(what, _near_names(name, (*names, *_named(plan, "subject"))))
        time.sleep(_POLL)


def require_spelling(plan: Plan, seen: Known, kind: Kind, name: str) -> None:
    """Steps 1 and 2 of this module's head. Raises MeshwardError (MW0904)."""
    if kind == "token":
        _require_token(name)
    elif kind == "agent":
        if not is_name(name):
            own = next((each for each in plan.agents if str(agent_id(plan.trust_domain, each)) == name), None)
            raise _misspelled_error(
                f"{quoted(name)} is no agent's name", f"name one of the policy: {own or _listed(plan.agents)}"
            )
    else:
        _require_subject(plan, seen, name)


def _require_token(name: str) -> None:
    """Never repeats what may be the token itself."""
    if name == "" or name != name.encode("utf-8", "replace").decode():
        raise _misspelled_error("no token has that `jti`", "copy the claim `jti` of the token")
    if holds_token(name):
        raise _misspelled_error(
            "that is a token", "give its claim `jti`, and treat it as one that was seen by others"
        )


def _require_subject(plan: Plan, seen: Known, name: str) -> None:
    owner, colon, own = name.partition(":")
    url = own.startswith("//") and owner not in plan.issuers
    if own and colon and is_name(owner) and not url and is_subject(own):
        if owner == WORKLOAD and not is_name(own):
            raise _misspelled_error(
                f"{quoted(own)} is no workload's name", f"name one of the policy: {_listed(plan.workloads)}"
            )
        if owner in plan.issuers and not is_subject(own, load_profile(plan.issuers[owner].profile)):
            form = load_profile(plan.issuers[owner].profile).subject
            what = (
                f"{quoted(own)} is no id of {quoted(owner)}, whose tokens name people by {quoted(form.text)}"
            )
            raise _misspelled_error(what, _did_you_mean(_near_subjects(plan, seen, name)))
        return
    why = "a subject is spelled `<issuer's name>:<id>`, as records name it"
    raise _misspelled_error(
        f"{quoted(name)} is nobody's name: {why}", _did_you_mean(_near_subjects(plan, seen, name))
    )


def _near_subjects(plan: Plan, seen: Known, name: str) -> list[str]:
    """What was meant by a name without an issuer, with its URL, a SPIFFE ID, or an id in another spelling."""
    known = [*_read(seen), *_named(plan, "subject")]
    workloads = [f"{WORKLOAD}:{each}" for each, spiffe_id in plan.workloads.items() if spiffe_id == name]
    own = name.strip()
    for issuer in plan.issuers.values():
        if own.startswith(issuer.url):
            own = own[len(issuer.url) :].lstrip("/:|# ")
    ends = [each for each in known if each.partition(":")[2].casefold() == own.casefold()]
    return list(dict.fromkeys([*workloads, *ends, *_near_names(name, known)]))


def _near_names(name: str, known: Iterable[str]) -> list[str]:
    """The nearest of `known`, then whoever of the same issuer was seen last."""
    names = list(dict.fromkeys(known))
    folded = [each for each in names if each.casefold() == name.casefold()]
    close = nearest(name, names)
    same = [each for each in names if each.partition(":")[0] == name.partition(":")[0] and ":" in name]
    return list(dict.fromkeys([*folded, *([close] if close else []), *same]))[:_SHOWN]


def _named(plan: Plan, kind: Kind) -> set[str]:
    """Whom the policy itself names."""
    if kind == "agent":
        return set(plan.agents)
    return set(_subjects_of(plan))


def _subjects_of(plan: Plan) -> Iterator[str]:
    yield from (f"{WORKLOAD}:{name}" for name in plan.workloads)
    for members in plan.roles.values():
        yield from (f"{each.issuer}:{each.subject}" for each in members if each.issuer and each.subject)
    for deny in plan.denies:
        yield from (f"{issuer}:{subject}" for issuer, subject in deny.subjects or ())
    yield from (
        f"{each.issuer}:{each.subject}" for each in plan.agents.values() if each.issuer and each.subject
    )


def _read(seen: Known) -> list[str]:
    """Raises MeshwardError (MW0903) where records cannot be read: then nobody can say who is known."""
    try:
        return seen()
    except MeshwardError as error:
        raise _unknown_error(f"nobody can tell who is known: {error.message}", ()) from None


def _listed(names: Collection[str]) -> str:
    return quoted_list(sorted(names)) or "none"


def _did_you_mean(names: Collection[str]) -> str:
    return (
        f"the nearest known: {quoted_list(names, _SHOWN)}"
        if names
        else "see `meshward trace` of a request of theirs"
    )


def _misspelled_error(what: str, remedy: str) -> MeshwardError:
    return MeshwardError(codes.REVOKE_MISSPELLED, what, f"{remedy[0].upper()}{remedy[1:]}.")


def not_revoked_error(
    revocations: Revocations, kind: Kind, name: str, *, past: bool = False
) -> MeshwardError:
    """For an undo of what was not done; `past`: because the end that was given lies there."""
    names = [each for key, found in revocations.of(kind).items() for each in (key, *found.names)]
    remedy = (
        f"Revoked are {quoted_list(_near_names(name, names) or names, _SHOWN)}." if names else "Nobody is."
    )
    why = "that end is past, which ends a revocation, and " if past else ""
    return MeshwardError(codes.REVOKE_UNKNOWN, f"{why}the {kind} {quoted(name)} is not revoked", remedy)


def _unknown_error(what: str, near: Collection[str]) -> MeshwardError:
    message = f"{what}; the nearest known: {quoted_list(near, _SHOWN)}" if near else what
    return MeshwardError(codes.REVOKE_UNKNOWN, message)
