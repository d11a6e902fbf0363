"""The table of spellings says what a sidecar answers, with the EnvoyFilter and without."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshward.targets.istio.inputs import ENVOYFILTER
from meshward.targets.istio.spellings import SPELLINGS, Spelling
from tests.targets.istio.placed import at, placed
from tests.targets.istio.reading import GIVEN, ask, read_back, sidecar, token


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling.name)
@pytest.mark.parametrize("filtered", [False, True])
def test_a_sidecar_answers_what_the_table_says(spelling: Spelling, filtered: bool) -> None:
    given = placed()
    asked = replace(GIVEN, allow=frozenset({ENVOYFILTER})) if filtered else GIVEN
    guarded = sidecar(read_back(given, asked), at(given, "m"))
    answer = ask(given, guarded, "POST", spelling.written, [token(given, "m.infer")])
    assert answer.status == (spelling.filtered if filtered else spelling.sidecar), answer
