"""The suite through a running instance: the real nginx, the real decision service, the real Envoy of our guards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshward.policy.parse import to_json
from tests.conformance.harness import Verdict, judge, must_be_refused
from tests.conformance.harness.instance import Instance, refusals, running
from tests.conformance.suite import Asked, asked, read

SUITE = sorted(asked(read()), key=lambda each: (to_json(each.policy), each.name))
"""In the order of their policies: each is put in force once."""


@pytest.fixture(scope="module")
def instance(short_dir: Path) -> Iterator[Instance]:
    first = next(each.policy for each in SUITE if not refusals(each.policy))
    with running(first, short_dir) as started:
        yield started


@pytest.fixture(scope="module")
def paid() -> dict[str, tuple[str, str]]:
    """By request id: the case, and the grant that must have paid."""
    return {}


@pytest.mark.parametrize("each", SUITE, ids=lambda each: each.name)
def test_the_instance_agrees(
    each: Asked, instance: Instance, verdicts: list[Verdict], paid: dict[str, tuple[str, str]]
) -> None:
    verdict = judge(instance, each)
    verdicts.append(verdict)
    assert verdict.differs == ()
    assert must_be_refused(each, verdict), verdict
    if verdict.not_run is not None:
        pytest.skip(f"not run: {verdict.not_run.why}")
    for step, rid in zip(each.case.steps, instance.rids, strict=True):
        if step.expect.grant is not None:
            paid[rid] = (each.name, step.expect.grant)


def test_the_records_name_the_grants_that_paid(instance: Instance, paid: dict[str, tuple[str, str]]) -> None:
    """Of all cases that ran before this one."""
    found = {rid: (name, instance.paid(rid)) for rid, (name, _) in paid.items()}
    assert found == paid
