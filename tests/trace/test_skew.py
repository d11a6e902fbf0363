"""A guard works while the edge waits: where their lines have no moment in common, their clocks differ."""

from __future__ import annotations

import pytest

from meshward.audit.join import Record
from meshward.trace.skew import clock_skew
from meshward.trace.story import Story, record_json
from tests.audit.making import edge, guard, new_rid

REFUSED = {"status": "401", "details": "jwt_authn_access_denied{Jwt_is_expired}", "dur": "0"}


def record(edge_t: str, guard_t: str, edge_dur: str = "0.012", **of_guard: str) -> Record:
    """nginx tells when it ended, Envoy when it began."""
    rid = new_rid()
    return Record(rid, edge(rid, t=edge_t, dur=edge_dur), guard(rid, t=guard_t, **of_guard))


@pytest.mark.parametrize("details", ["jwt_authn_access_denied{Jwt_is_expired}", "jwt_authn_access_denied{x}"])
def test_a_guard_that_refused_our_token_for_its_clock_is_told_so_with_the_difference(details: str) -> None:
    ahead = record("1000.000", "1070.000", **REFUSED | {"details": details})
    behind = record("1000.000", "940.000", **REFUSED | {"details": details})
    for each, words in (
        (ahead, "at least 70 s ahead of the edge's"),
        (behind, "at least 59 s behind the edge's"),
    ):
        said = clock_skew(each)
        assert said and said.startswith("clock skew") and words in said and "NTP" in said
        assert f"  {said}" in Story(each.rid, (each,)).lines() and record_json(each)["clock_skew"] == said
        assert not each.agrees, "a name for it makes no refusal well"


def test_a_permitted_request_tells_of_it_too() -> None:
    each = record("1000.000", "1003.500")
    assert each.agrees and "at least 3 s ahead" in (clock_skew(each) or "")


@pytest.mark.parametrize(
    ("edge_t", "edge_dur", "guard_t", "guard_dur"),
    [
        ("1000.000", "0.012", "999.990", "8"),
        ("1000.000", "600.000", "400.100", "599000"),  # it ran for ten minutes
        ("1000.000", "600.000", "999.000", "8"),  # its body came slowly
        ("1000.000", "600.000", "400.000", "8"),  # its answer went slowly
        ("1000.000", "0.012", "1001.000", "8"),  # within the leeway, either side
        ("1000.000", "0.000", "998.995", "8"),
        ("1000.000", "0.012", "990.000", "20000"),  # the guard's work outlived the edge's: they meet
        ("nonsense", "0.012", "1000.000", "8"),
        ("1000.000", "0.012", "", "8"),
    ],
)
def test_what_good_clocks_may_write_is_no_skew(
    edge_t: str, edge_dur: str, guard_t: str, guard_dur: str
) -> None:
    assert clock_skew(record(edge_t, guard_t, edge_dur, dur=guard_dur)) is None


def test_half_a_record_and_one_of_many_tell_nothing_of_clocks() -> None:
    each = record("1000.000", "2000.000")
    assert (
        clock_skew(Record(each.rid, each.edge, None))
        is clock_skew(Record(each.rid, None, each.guard))
        is None
    )
    assert clock_skew(Record(each.rid, each.edge, each.guard, reused=True)) is None


def test_hostile_times_end_in_a_short_sentence() -> None:
    said = clock_skew(record("1000.000", "99999999999.9"))
    assert said and "more than a day" in said and len(said) < 150
