"""The suite as data: it is what the cases compile to, keeps its own rules, and the definition agrees with it."""

from __future__ import annotations

import pytest

from meshward.plan.features import ON_PATHS
from meshward.policy.reference import schema_text
from tests.conformance.cases.requests import SPELLINGS
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


TRAPS = {
    "no certificate, plaintext, other CA, other trust domain": (
        "peers/no-certificate",
        "peers/plaintext",
        "peers/another-authority",
        "peers/another-trust-domain",
    ),
    "other SVID": ("peers/another-workload", "peers/the-model-itself", "peers/a-sibling"),
    "no token": ("tokens/none",),
    "other permission, a sibling's": ("tokens/another-permission", "tokens/another-models"),
    "number or boolean for a string": ("tokens/permission-of-another-type",),
    "no sub": ("tokens/no-subject",),
    "token in Authorization or the query": ("tokens/in-another-header", "tokens/in-the-query"),
    "expired, just expired, without an end, not yet": (
        "tokens/expired",
        "tokens/expired-just-now",
        "tokens/without-an-end",
        "tokens/not-yet",
    ),
    "issuer, signature, key, kid, garbage, alg none": (
        "tokens/another-issuer",
        "tokens/broken-signature",
        "tokens/another-key",
        "tokens/garbage",
    ),
    "two headers": ("tokens/two-of-them", "credentials/two-headers"),
    "wrong or missing audience": ("tokens/audience-missing-or-another",),
    "other method": ("requests/another-method", "requests/another-method-inside"),
    "spellings": tuple(f"requests/{each[0]}{way}" for each in SPELLINGS for way in ("", "-inside")),
    "a way to another path": ("requests/no-way-to-another-path",),
    "spoofed headers": ("requests/identity-headers-stay-outside", "peers/a-told-certificate"),
    "two versions": ("features/the-weights",),
    "split enforcement": ("split/address-of-one-action-of-another", "split/tenant-of-one-model-of-another"),
    "revoked": ("changes/a-revoked-subject", "changes/a-revoked-subjects-token", "changes/a-revoked-token"),
}
"""What real control planes and proxies let through, or nearly did: each has cases, whatever else goes."""


@pytest.mark.parametrize("trap", TRAPS)
def test_every_trap_has_its_cases(trap: str) -> None:
    assert set(TRAPS[trap]) <= {each.name for each in SUITE}


@pytest.mark.parametrize("each", SUITE, ids=lambda each: each.name)
def test_the_definition_agrees(each: Asked, verdicts: list[Verdict]) -> None:
    verdict = judge(Definition(), each)
    verdicts.append(verdict)
    assert verdict.differs == ()
    if verdict.not_run is not None:
        assert {"inside", "limits"} & set(each.case.needs), verdict
        pytest.skip(f"not run: {verdict.not_run.why}")


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
