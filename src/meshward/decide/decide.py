"""The definition: what a plan says about one request. Every layer is tested against this function.

Default deny; a deny beats every grant; what is not known never opens; an error while deciding is a denial.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshward.decide import agents, reasons
from meshward.decide.clauses import (
    Case,
    Clause,
    all_met,
    earliest,
    none_failed,
    of_condition,
    of_grant,
    same_clauses,
)
from meshward.decide.index import DecisionIndex, Subject
from meshward.decide.misses import nearest
from meshward.decide.reasons import Refusal
from meshward.decide.roles import Membership
from meshward.decide.types import Decision, Denial, Identity, Miss, Permit, Request
from meshward.decide.wording import caller
from meshward.kit.names import is_name
from meshward.kit.text import join_words
from meshward.plan.ir import Deny, Grant, Plan


def decide(plan: Plan, identity: Identity, request: Request) -> Decision:
    """`Decider.decide`, for one question. Whoever asks more of one plan keeps its decider."""
    try:
        decider = Decider(plan)
    except Exception:
        return _fault(request)
    return decider.decide(identity, request)


class Decider:
    """What one plan says, its rules arranged so that a decision reads few of them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._index = DecisionIndex(plan)

    def decide(self, identity: Identity, request: Request) -> Decision:
        """Whether `identity` may do what `request` asks.

        `request.model` and `request.via` are models' names, not aliases. Until the answer's `holds_until` the
        same question has the same answer. Never raises: a fault is a denial that holds for no time at all.
        """
        try:
            return _decide(self._index, identity, request)
        except Exception:
            return _fault(request)

    def roles(self, identity: Identity, at: int) -> frozenset[str]:
        """The roles that `identity` holds at `at`."""
        return self._index.roles.held_roles(identity, at).roles

    def memberships(self, identity: Identity) -> tuple[Membership, ...]:
        """By which lines it holds them, those whose time is over included."""
        return tuple(self._index.roles.memberships(identity))


def _fault(request: Request) -> Denial:
    fault = reasons.FAULT
    return Denial(_permission(request), fault.reason, fault.sentence, fault.remedy, (), (), request.at)


def _decide(index: DecisionIndex, identity: Identity, request: Request) -> Decision:
    plan = index.plan
    # 1. The model. Its name comes from outside, so it is repeated only if it could be one.
    model = plan.models.get(request.model)
    if model is None:
        unknown = reasons.MODEL_UNKNOWN
        return Denial(_permission(request), unknown.reason, unknown.sentence, unknown.remedy, (), (), None)
    case = Case(plan, model, identity, request)
    # 2. The roles.
    held = index.roles.held_roles(identity, request.at)
    times = [held.until]
    # 3. Denies, with all roles: an agent between does not hide one.
    if (deny := _find_deny(index, case, held.roles, times)) is not None:
        return _make_denial(reasons.DENIED_BY_RULE, case, held.roles, times, rule=deny.id)
    # 4. A call on somebody's behalf must be declared by the model that makes it.
    if request.via is not None:
        calling = plan.models.get(request.via)
        if calling is None or model.name not in calling.calls:
            via = request.via if calling else "an unknown model"
            return _make_denial(reasons.CALL_NOT_DECLARED, case, held.roles, times, via=via, model=model.name)
    # 5. Agents: no more than each may.
    if (refusal := agents.refusal(held.roles, case)) is not None:
        actor, lack = refusal
        return _make_denial(reasons.ACTOR_UNAUTHORIZED, case, held.roles, times, actor=actor, lack=lack)
    roles = agents.narrow_roles(held.roles, case)
    # 6. Grants: all that hold; the first pays.
    holding = _find_grants(index, case, roles, times)
    if not holding:
        return _not_granted(case, roles, times)
    names = tuple(grant.id for grant in holding)
    first = holding[0]
    return Permit(_permission(request), names, first.id, first.limits, tuple(sorted(roles)), earliest(*times))


def _find_deny(
    index: DecisionIndex, case: Case, roles: frozenset[str], times: list[int | None]
) -> Deny | None:
    request = case.request
    for deny in index.denies(request.model, request.action, _subjects(case)):
        if _concerns(deny, case, roles) and (deny.expires is None or request.at < deny.expires):
            times.append(deny.expires)
            if deny.when is None or none_failed(_note_times(of_condition(deny.when, case), times)):
                return deny
    return None


def _concerns(deny: Deny, case: Case, roles: frozenset[str]) -> bool:
    """Whether a deny that speaks of this permission and these subjects speaks of these roles and attributes."""
    if deny.roles is not None and roles.isdisjoint(deny.roles):
        return False
    return deny.models is None or none_failed(same_clauses(deny.models.same, case))


def _subjects(case: Case) -> list[Subject]:
    """The caller and the agents that act for it, as a deny's `subjects` name them."""
    chain = (case.plan.agents.get(name) for name in case.identity.actors)
    asking = (case.identity.issuer, case.identity.subject)
    return [asking, *((agent.issuer, agent.subject) for agent in chain if agent)]


def _find_grants(
    index: DecisionIndex, case: Case, roles: frozenset[str], times: list[int | None]
) -> list[Grant]:
    candidates = index.candidates(case.model.name, case.request.action, roles)
    return [grant for grant in candidates if all_met(_note_times(of_grant(grant, case), times))]


def _note_times(clauses: Iterable[Clause], times: list[int | None]) -> list[Clause]:
    """All of `clauses`, their times noted: even one that is met may end what another only begins."""
    weighed = list(clauses)
    times.extend(clause.until for clause in weighed)
    return weighed


def _not_granted(case: Case, roles: frozenset[str], times: list[int | None]) -> Denial:
    misses = nearest(case, roles)
    if not misses:
        return _make_denial(reasons.NOTHING_NEAR, case, roles, times)
    own = next((miss for miss in misses if _only_conditions(miss, case, roles)), None)
    refusal = (
        reasons.IDENTITY_WITHOUT_ROLE if not roles else reasons.CONDITION_NOT_MET if own else reasons.NO_GRANT
    )
    miss = own or misses[0]
    lack = join_words(miss.lacks, "and")
    return _make_denial(refusal, case, roles, times, misses, grant=miss.grant, lack=lack, roles=_roles(roles))


def _only_conditions(miss: Miss, case: Case, roles: frozenset[str]) -> bool:
    grant = next(grant for grant in case.plan.grants if grant.id == miss.grant)
    return grant.gives(case.model.name, case.request.action) and not roles.isdisjoint(grant.roles)


def _make_denial(
    refusal: Refusal,
    case: Case,
    held: frozenset[str],
    times: list[int | None],
    misses: tuple[Miss, ...] = (),
    **words: str,
) -> Denial:
    permission = _permission(case.request)
    words |= {"permission": permission, "who": caller(case.identity)}
    sentence, remedy = refusal.sentence.format_map(words), refusal.remedy.format_map(words)
    return Denial(permission, refusal.reason, sentence, remedy, misses, tuple(sorted(held)), earliest(*times))


def _permission(request: Request) -> str:
    return f"{request.model if is_name(str(request.model)) else '?'}.{request.action}"


def _roles(roles: frozenset[str]) -> str:
    return f"the role{'s' if len(roles) > 1 else ''} {join_words(sorted(roles), 'and')}"
