"""The suite by the reader of Istio's semantics, over what we render: a mesh permits what `decide` does, and no more."""

from __future__ import annotations

import pytest

from tests.conformance.harness import Verdict, judge, must_be_refused
from tests.conformance.harness.reader import IstioReader
from tests.conformance.suite import Asked, asked, read

SUITE = asked(read())


@pytest.fixture(scope="module")
def reader() -> IstioReader:
    return IstioReader()


@pytest.mark.parametrize("each", SUITE, ids=lambda each: each.name)
def test_the_rendered_mesh_agrees(each: Asked, reader: IstioReader, verdicts: list[Verdict]) -> None:
    verdict = judge(reader, each)
    verdicts.append(verdict)
    assert verdict.differs == ()
    assert must_be_refused(each, verdict), verdict
    if verdict.not_run is not None:
        pytest.skip(f"not run: {verdict.not_run.why}")
