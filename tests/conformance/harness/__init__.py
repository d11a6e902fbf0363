"""What runs the suite: a harness says what it can do, runs a case's steps, and tells what came of each.

A case that a harness cannot run has a reason, which is a value: `why_not`. Nothing is skipped without one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from meshward.kit.errors import Problem
from tests.conformance.format import Ability, Decision, Expect, Hop, Step, Trait
from tests.conformance.suite import Asked


@dataclass(frozen=True, slots=True)
class Features:
    """What a harness can do, and in what its last hop differs from ours (`format.Trait`)."""

    able: frozenset[Ability]
    lacks: Mapping[Ability, str]
    """Why it cannot do the others, one by one."""
    traits: frozenset[Trait] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a step; None: this harness cannot tell. `sees` has the headers that the server got, lower case."""

    decision: Decision
    grant: str | None = None
    reason: str | None = None
    hop: Hop | None = None
    version: str | None = None
    arrived: str | None = None
    sees: Mapping[str, str] | None = None
    permission: str | None = None
    """That the token of the decision says."""
    said: str = ""
    """For people."""


class Harness(Protocol):
    """`refusals`: why this one's compiler refuses a policy of the case, or says that what the case is about is lost;
    empty: it takes it. `run` gives an answer for each step."""

    name: str
    features: Features

    def refusals(self, asked: Asked, /) -> Sequence[Problem]: ...

    def run(self, asked: Asked) -> Sequence[Answer]: ...


@dataclass(frozen=True, slots=True)
class NotRun:
    """Why a case was not run: `codes` are those by which the compiler refused its policy, if it did."""

    why: str
    codes: tuple[str, ...] = ()


def why_not(harness: Harness, asked: Asked) -> NotRun | None:
    """Why `harness` does not run the case, or None: it does."""
    missing = [each for each in asked.case.needs if each not in harness.features.able]
    if missing:
        return NotRun("; ".join(harness.features.lacks[each] for each in missing))
    refused = harness.refusals(asked)
    if not refused:
        return None
    codes = tuple(sorted({problem.code.number for problem in refused}))
    return NotRun(f"refused, or told as lost, when it is compiled: {', '.join(codes)}", codes)


def expected(step: Step, traits: frozenset[Trait]) -> Expect:
    """What must come of `step` where the last hop has `traits`."""
    other = next((other for trait, other in step.expect.where.items() if trait in traits), None)
    if other is None:
        return step.expect
    if other.decision == "deny":
        return Expect(decision="deny", refused_by="guard")
    return Expect(decision="permit", arrives=other.arrives)


def differences(step: Step, answer: Answer, traits: frozenset[Trait] = frozenset()) -> list[str]:
    """In what `answer` is not what must come of `step`; what the harness cannot tell is no difference."""
    wanted = expected(step, traits)
    told: list[tuple[str, object, object]] = [
        ("decision", wanted.decision, answer.decision),
        ("grant", wanted.grant, answer.grant),
        ("reason", wanted.reason, answer.reason),
        ("refused by", wanted.refused_by, answer.hop),
        ("version", wanted.version, answer.version),
    ]
    if wanted.decision == "permit":
        told.append(("arrived", wanted.arrives or step.request.target, answer.arrived))
    if answer.sees is not None:
        told += [
            (name, value or "", answer.sees.get(name.lower(), "")) for name, value in wanted.sees.items()
        ]
    return [
        f"{what}: {was}, expected {should}"
        for what, should, was in told
        if should is not None and was is not None and should != was
    ]


def is_wider(step: Step, answer: Answer) -> bool:
    """The law is broken: something is permitted on a whole path that must not be."""
    whole = step.request.way == "client"
    return whole and answer.decision == "permit" and step.expect.decision == "deny"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A case at a harness: `not_run`, or in what it differed from what must come of it; neither: it agrees."""

    case: str
    harness: str
    not_run: NotRun | None
    differs: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        if self.not_run is not None:
            return f"not run: {self.not_run.why}"
        return "DIFFERS: " + "; ".join(self.differs) if self.differs else "agrees"


def judge(harness: Harness, asked: Asked) -> Verdict:
    """Run the case there, if it can be run, and compare."""
    if (reason := why_not(harness, asked)) is not None:
        return Verdict(asked.name, harness.name, reason)
    found = [
        f"step {number} ({step.request.way} {step.request.method} {step.request.target}): "
        f"{'WIDER: ' if is_wider(step, answer) else ''}{difference} [{answer.said}]"
        for number, (step, answer) in enumerate(zip(asked.case.steps, harness.run(asked), strict=True), 1)
        for difference in differences(step, answer, harness.features.traits)
    ]
    return Verdict(asked.name, harness.name, None, tuple(found))


def must_be_refused(asked: Asked, verdict: Verdict) -> bool:
    """Whether a refusal by the compiler is one of those that the suite's own `asks` name."""
    allowed = {code for entry in asked.entries.values() for code in entry.asks.values()}
    return verdict.not_run is None or set(verdict.not_run.codes) <= allowed
