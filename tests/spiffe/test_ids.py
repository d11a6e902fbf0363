"""SPIFFE IDs by the letter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.spiffe.ids import MAX_LENGTH, SpiffeId, SpiffeIdInvalid, parse


def test_every_row_of_the_shared_list(shared_data: Path) -> None:
    rows = json.loads((shared_data / "vectors/spiffe_ids_visible.json").read_text())
    for text in rows["valid_workload_ids"]:
        assert parse(text).is_workload and str(parse(text)) == text
    for text in rows["trust_domain_only_not_valid_for_a_leaf"]:
        assert not parse(text).is_workload
    wrong = [text for text in rows["invalid"] if _is_accepted(text)]
    assert wrong == []


def _is_accepted(text: str) -> bool:
    try:
        parse(text)
    except SpiffeIdInvalid:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        "SPIFFE://mesh.test/a",
        "spiffe://Mesh.test/a",
        "spiffe://mesh.test/%61",
        "spiffe://mesh.test/..",
        "spiffe://mesh.test/a/../b",
        "spiffe://mesh.test/a\n",
        "spiffe://mesh.test\n/a",
        "spiffe://mesh.test/\u0430",
        " spiffe://mesh.test/a",
        "spiffe://" + "a" * 256 + "/a",
        "spiffe://mesh.test/" + "a" * MAX_LENGTH,
    ],
)
def test_more_that_is_none(text: str) -> None:
    with pytest.raises(SpiffeIdInvalid) as refusal:
        parse(text)
    assert refusal.value.code.number == "MW2020"


@pytest.mark.parametrize("path", ["a", "/", "//", "/.", "/a/"])
def test_the_constructor_is_as_strict(path: str) -> None:
    with pytest.raises(SpiffeIdInvalid):
        SpiffeId("mesh.test", path)


@pytest.mark.parametrize("segment", ["...", "..a", ".a", "a..", "-", "_"])
def test_dots_that_are_a_name(segment: str) -> None:
    assert parse(f"spiffe://mesh.test/{segment}").path == f"/{segment}"


@given(st.text(alphabet="spife:/.-_aZ0%#?@ \n", max_size=40))
def test_what_is_accepted_has_one_spelling(text: str) -> None:
    for candidate in (text, f"spiffe://{text}", f"spiffe://td/{text}"):
        if _is_accepted(candidate):
            assert str(parse(candidate)) == candidate
