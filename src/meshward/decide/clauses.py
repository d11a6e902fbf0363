"""The conditions of grants and denies, one clause each: met, not met, or not to be known; and until when.

What cannot be known never opens: a grant needs every clause met, a deny applies unless one surely is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from meshward.decide.hours import next_change, within
from meshward.decide.persons import is_person
from meshward.decide.types import Identity, Request
from meshward.decide.wording import duration, weekly
from meshward.kit.text import join_words
from meshward.plan.ir import Condition, Grant, Model, Plan
from meshward.policy.values import Network


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing asked. `lack` says what is missing if it is not met; `until` when the answer can change."""

    met: bool | None  # None: the fact is not known
    lack: str
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One question put to a plan."""

    plan: Plan
    model: Model
    identity: Identity
    request: Request


def of_grant(grant: Grant, case: Case) -> Iterator[Clause]:
    """What `grant` asks beyond roles, models and actions."""
    if grant.expires is not None:
        yield _before(grant.expires, case.request.at)
    if grant.on_request is not None:
        yield Clause(False, "an activation: the grant sleeps until somebody asks for it")
    if case.request.via is not None and (grant.when is None or grant.when.via is None):
        yield Clause(False, f"`when: {{via: [{case.request.via}]}}`: it is for direct requests only")
    yield from same_clauses(grant.models.same, case)
    if grant.when is not None:
        yield from of_condition(grant.when, case)


def of_condition(when: Condition, case: Case) -> Iterator[Clause]:
    """The clauses of a `when`, in the order of the format."""
    request, identity = case.request, case.identity
    if when.sources is not None:
        yield _from(when.sources, request)
    if when.hours is not None:
        yield Clause(
            within(when.hours, request.at),
            f"a time within {weekly(when.hours)}",
            next_change(when.hours, request.at),
        )
    if when.fresh is not None:
        yield _fresh(when.fresh, identity, request.at)
    if when.via is not None:
        yield Clause(request.via in when.via, f"a call made by {join_words(when.via)} on the caller's behalf")
    if when.person is not None:
        wanted, person = when.person == "required", is_person(case.plan, identity)
        met = None if person is None else person is wanted
        yield Clause(met, f"a {'person' if wanted else 'program'} as subject")
    if when.actor is not None:
        wanted = when.actor == "present"
        yield Clause(
            bool(identity.actors) is wanted, f"{'an' if wanted else 'no'} agent acting for the caller"
        )


def all_met(clauses: Iterable[Clause]) -> bool:
    return all(clause.met is True for clause in clauses)


def none_failed(clauses: Iterable[Clause]) -> bool:
    return all(clause.met is not False for clause in clauses)


def earliest(*instants: int | None) -> int | None:
    """The first of some instants; None stands for never."""
    return min((instant for instant in instants if instant is not None), default=None)


def same_clauses(attributes: tuple[str, ...], case: Case) -> Iterator[Clause]:
    """A selector's `same`: the model's label and the caller's attribute of that name exist and are equal."""
    for name in attributes:
        label, attribute = case.model.labels.get(name), case.identity.attributes.get(name)
        met = False if label is None else None if attribute is None else label == attribute
        yield Clause(met, f"an attribute {name} that equals the model's label ({label or 'it has none'})")


def _before(expires: int, at: int) -> Clause:
    day = datetime.fromtimestamp(expires - 1, UTC).date()
    return Clause(at < expires, f"a later `expires`: it ended on {day}", expires if at < expires else None)


def _from(networks: tuple[Network, ...], request: Request) -> Clause:
    mapped = getattr(request.source, "ipv4_mapped", None)  # ::ffff:192.0.2.1 is 192.0.2.1
    source = mapped or request.source
    came = f"it came from {source}" if source is not None else "its address is not known"
    met = None if source is None else any(source in network for network in networks)
    return Clause(met, f"a request from {join_words([str(n) for n in networks])} ({came})")


def _fresh(seconds: int, identity: Identity, at: int) -> Clause:
    lack = f"a login less than {duration(seconds)} old"
    if identity.authenticated_at is None:
        return Clause(None, f"{lack} (when it was is not known)")
    ends = identity.authenticated_at + seconds
    return Clause(at < ends, lack, ends if at < ends else None)
