"""The suite as data: it is what the cases compile to, keeps its own rules, and the definition agrees with it."""

from __future__ import annotations

import pytest

from meshward.plan.features import ON_PATHS
from meshward.policy.reference import schema_text
from tests.conformance.format import CONFORMANCE_FORMAT
from tests.conformance.harness import Answer, Verdict, differences, is_wider, judge
from tests.conformance.harness.definition import Definition
from tests.conformance.suite import DIRECTORY, SCHEMA, Asked, asked, compiled, read, text_of

SUITE = asked(read())
REMAKE = "`python -m tests.conformance.suite` makes conformance/ anew"


def test_the_files_are_what_the_cases_compile_to() -> None:
    committed = {path.stem: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.json")}
    assert committed == {name: text_of(file) for name, file in compiled().items()}, REMAKE


def test_the_schema_is_that_of_the_format() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(CONFORMANCE_FORMAT), REMAKE


def test_no_two_cases_have_one_name() -> None:
    names = [each.name for each in SUITE]
    assert len(names) == len(set(names))


def test_every_row_of_the_support_matrix_has_a_case() -> None:
    rows = {feature.title for feature in ON_PATHS}
    covered = {row for each in SUITE for row in each.case.covers}
    assert covered - rows == set(), "no such row"
    assert rows - covered == set(), "no case"


@pytest.mark.parametrize("each", SUITE, ids=lambda each: each.name)
def test_the_definition_agrees(each: Asked, verdicts: list[Verdict]) -> None:
    verdict = judge(Definition(), each)
    verdicts.append(verdict)
    assert verdict.differs == ()
    assert verdict.not_run is None or {"inside", "limits"} & set(each.case.needs), verdict


def test_a_wrong_answer_is_seen() -> None:
    """What compares must be able to fail: each thing that a step says, said otherwise."""
    step = next(step for each in SUITE for step in each.case.steps if step.expect.decision == "permit")
    right = Answer("permit", grant=step.expect.grant)
    assert differences(step, right) == [] and not is_wider(step, right)
    for wrong in (Answer("deny"), Answer("permit", grant="other"), Answer("permit", arrived="/other")):
        assert differences(step, wrong) != []
    refused = next(
        step
        for each in SUITE
        for step in each.case.steps
        if step.expect.decision == "deny" and step.request.way == "client"
    )
    assert is_wider(refused, Answer("permit"))
    assert differences(refused, Answer("deny", hop="guard")) != []
