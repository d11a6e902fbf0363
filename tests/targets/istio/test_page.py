"""docs/istio.md says what the values say."""

from __future__ import annotations

from pathlib import Path

from meshward.targets.istio.spellings import SPELLINGS, spellings_table

PAGE = Path(__file__).parents[3] / "docs" / "istio.md"


def test_the_page_has_the_table_of_spellings() -> None:
    assert spellings_table() in PAGE.read_text()
    assert len({each.name for each in SPELLINGS}) == len(SPELLINGS)
