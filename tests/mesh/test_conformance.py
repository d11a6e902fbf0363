"""The conformance suite under a real istiod and a real Envoy: what our Istio resources mean, there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from meshward.policy.parse import to_json
from tests.conformance.harness import Verdict, judge, must_be_refused
from tests.conformance.suite import Asked, asked, read
from tests.mesh.enforcer import Sidecars
from tests.mesh.lab import Lab

SUITE = sorted(asked(read()), key=lambda each: (str(each.site), to_json(each.policy), each.name))
"""In the order of their sites and policies: each is put in force once."""


@pytest.fixture(scope="module")
def sidecars(whole_lab: Lab) -> Iterator[Sidecars]:
    yield Sidecars(whole_lab)
    whole_lab.reset()


@pytest.mark.parametrize("each", SUITE, ids=lambda each: each.name)
def test_sidecars_agree(sidecars: Sidecars, each: Asked, verdicts: list[Verdict]) -> None:
    verdict = judge(sidecars, each)
    verdicts.append(verdict)
    assert verdict.differs == ()
    assert must_be_refused(each, verdict), verdict
    if verdict.not_run is not None:
        pytest.skip(f"not run: {verdict.not_run.why}")
