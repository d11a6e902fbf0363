"""A walk's pure core: from what a step has seen to what is done next; the weights of a step; the guard's counters."""

from __future__ import annotations

import json
from dataclasses import replace
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.apply.traffic.canary import (
    GONE,
    Action,
    Back,
    Canary,
    CanaryState,
    Observation,
    Onward,
    Wait,
    add_reading,
    next_action,
    shares,
    weights_at,
)
from meshward.apply.traffic.canary_store import CanaryStore, load_canaries
from meshward.kit.errors import MeshwardError
from meshward.targets.envoy.counts import Counts, read_counts, read_illness

WALK = Canary("m", "v2", "alice", {"v1": 90, "v2": 0}, (5, 25, 100), 600, 1.0, 20, 0.0, step=1, applied=True)


def counts(requests: int, failed: int) -> Counts:
    return Counts(completed=requests - failed, errors=failed)


def action(requests: int, failed: int, passed: float, gone: float | None = None) -> Action:
    """After `passed` seconds of a step of 600 s, with a bound of 1% from 20 requests on."""
    since = None if gone is None else passed - gone
    seen = Observation(
        0.0, counts(requests, failed), gone_since=since, illness="" if gone is None else "gone"
    )
    return next_action(WALK, seen, passed)


@pytest.mark.parametrize(
    ("requests", "failed", "passed", "gone", "expected"),
    [
        (0, 0, 0, None, Wait),
        (10_000, 0, 599, None, Wait),  # its time is not over
        (10_000, 0, 600, None, Onward),
        (20, 0, 600, None, Onward),
        (19, 0, 600, None, Wait),  # too few to conclude anything
        (19, 0, 60_000, None, Wait),
        (19, 19, 600, None, Wait),
        (20, 1, 1, None, Back),  # 5%, at once
        (100, 1, 1, None, Wait),  # 1% is the bound, not above it
        (100, 1, 600, None, Onward),
        (100, 2, 1, None, Back),
        (100, 2, 600, None, Back),  # failures are looked at before the time
        (0, 0, 100, GONE, Back),
        (10_000, 0, 700, GONE, Back),
        (10_000, 0, 700, GONE - 1, Wait),  # no step is passed by a guard that is not there
        (0, 0, 100, 0.0, Wait),
    ],
)
def test_what_a_step_leads_to(
    requests: int, failed: int, passed: float, gone: float | None, expected: type[Action]
) -> None:
    assert isinstance(action(requests, failed, passed, gone), expected)


def test_the_reason_names_step_count_rate_and_bound() -> None:
    assert action(240, 12, 30) == Back("walked back at 25%: 12 of 240 requests failed (5.0%), bound 1%")
    assert action(0, 0, 30, GONE + 1) == Back("walked back at 25%: gone, for 6 s")
    assert action(3, 0, 700) == Wait("its time is over, but it has seen 3 of 20 requests")
    assert action(3, 0, 0) == Wait("10 min left")


@given(
    requests=st.integers(0, 10**6), share=st.floats(0, 1), passed=st.floats(0, 10**5),
    gone=st.none() | st.floats(0, 100),
)  # fmt: skip
def test_no_step_is_passed_that_should_not_be(
    requests: int, share: float, passed: float, gone: float | None
) -> None:
    failed = int(requests * share)
    found = action(requests, failed, passed, gone)
    too_many = requests >= 20 and failed * 100 > requests
    if isinstance(found, Onward):
        assert passed >= 600 and requests >= 20 and not too_many and gone is None
    if too_many or (gone is not None and passed - (passed - gone) >= GONE):
        assert isinstance(found, Back)
    if isinstance(found, Back):
        assert too_many or gone is not None


def test_what_is_seen_adds_up_over_a_restarted_guard() -> None:
    seen = add_reading(Observation(0.0), Counts(100, 0, 5, 0), None, 1.0)
    assert seen.counts == Counts(), "what was before the step does not count"
    seen = add_reading(seen, Counts(110, 0, 6, 1), None, 2.0)
    assert (seen.counts.requests, seen.counts.failed) == (11, 2)
    seen = add_reading(seen, None, "its guard does not answer", 3.0)
    assert seen.gone_since == 3.0
    seen = add_reading(seen, None, "its guard does not answer", 4.0)
    assert seen.gone_since == 3.0 and seen.counts.requests == 11
    seen = add_reading(seen, Counts(4, 0, 0, 0), None, 5.0)
    assert seen.gone_since is None and seen.counts.requests == 15, "a guard that began anew counts from 0"


# --- weights


@pytest.mark.parametrize(
    ("before", "share", "weights"),
    [
        ({"v1": 90, "v2": 0}, 25, {"v1": 75, "v2": 25}),
        ({"v1": 90, "v2": 10}, 25, {"v1": 75, "v2": 25}),
        ({"v1": 1}, 100, {"v1": 0, "v2": 100}),
        ({"v1": 1, "v3": 1}, 50, {"v1": 25, "v3": 25, "v2": 50}),
        ({"v1": 2, "v3": 1}, 10, {"v1": 60, "v3": 30, "v2": 10}),
        ({"v1": 2, "v3": 1}, 5, {"v1": 38, "v3": 19, "v2": 3}),  # parts of 60
    ],
)
def test_the_others_keep_their_proportion(
    before: dict[str, int], share: int, weights: dict[str, int]
) -> None:
    assert weights_at(before, "v2", share) == weights


WEIGHTS = st.dictionaries(st.sampled_from(["a", "b", "c", "v2"]), st.integers(0, 100_000), min_size=1)


@given(before=WEIGHTS, share=st.integers(1, 99))
def test_shares_are_right_and_none_is_lost(before: dict[str, int], share: int) -> None:
    others = {name: weight for name, weight in before.items() if name != "v2" and weight}
    if not others:
        with pytest.raises(ValueError, match="no other"):
            weights_at(before, "v2", share)
        return
    found = weights_at(before, "v2", share)
    assert found.keys() == {*others, "v2"} and all(0 < weight <= 100_000 for weight in found.values())
    assert isclose(shares(found)["v2"], share, abs_tol=0.05)
    total = sum(others.values())
    for name, weight in others.items():
        assert isclose(shares(found)[name], weight / total * (100 - share), abs_tol=0.05)


# --- what is kept


def test_walks_survive_and_a_damaged_file_is_named(tmp_path) -> None:
    walks = CanaryStore(tmp_path)
    walks.put(WALK)
    walks.put(replace(WALK, model="n", state=CanaryState.DONE))
    again = CanaryStore(tmp_path)
    assert again.of("m") == WALK and [walk.model for walk in again.running()] == ["m"]
    assert load_canaries(tmp_path / "nowhere") == {}
    text = json.loads((tmp_path / "walks.json").read_text())["walks"]
    for broken in ("", "[]", "{", json.dumps({"m": {**text["m"], "steps": ["x"]}}), json.dumps({"m": {}})):
        (tmp_path / "walks.json").write_text(broken)
        with pytest.raises(MeshwardError) as told:
            load_canaries(tmp_path)
        assert told.value.code.number == "MW3054", broken


# --- what a guard says

STATS = """cluster.model.upstream_rq_5xx: 3
cluster.model.upstream_rq_completed: 30
http.guard.downstream_rq_5xx: 5
http.guard.downstream_rq_tx_reset: 2
"""


def test_counters_are_read_and_a_missing_one_is_no_zero() -> None:
    found = read_counts(STATS)
    assert (found.requests, found.failed) == (32, 7)
    assert read_counts("\n".join(STATS.splitlines()[2:])).requests == 5, "nobody was answered yet"
    for line in STATS.splitlines()[2:]:
        with pytest.raises(ValueError, match="does not count"):
            read_counts(STATS.replace(line, ""))


@pytest.mark.parametrize(
    "count", ["-3", "3.5", "1e3", "NaN", "inf", "0x3", "\u0663", "1" * 21, str(2**64), "9" * 5000, ""]
)
def test_what_is_no_count_is_none(count: str) -> None:
    """A share is reckoned from it: a guard that counts like this is one that does not answer."""
    for line in STATS.splitlines():
        with pytest.raises(ValueError):
            read_counts(STATS.replace(line, f"{line.split(':')[0]}: {count}"))
    assert read_counts(STATS.replace(": 30", f": {2**64 - 1}")).requests > 2**63


def clusters(*servers: dict[str, object]) -> str:
    hosts = [{"health_status": each} for each in servers]
    return json.dumps({"cluster_statuses": [{"name": "model", "host_statuses": hosts}, {"name": "other"}]})


ILL: dict[str, object] = {"failed_active_health_check": True, "eds_health_status": "HEALTHY"}
OUT: dict[str, object] = {"failed_outlier_check": True, "eds_health_status": "HEALTHY"}


def test_one_healthy_server_is_enough() -> None:
    assert read_illness(clusters({"eds_health_status": "HEALTHY"})) is None
    assert read_illness(clusters(ILL, {"eds_health_status": "HEALTHY"})) is None
    assert "its health check fails" in (read_illness(clusters(ILL)) or "")
    assert "its health check fails, it was ejected" in (read_illness(clusters(ILL, OUT, ILL)) or "")
    assert "knows no server" in (read_illness(clusters()) or "")
    for broken in (
        "",
        "{}",
        "[]",
        '{"cluster_statuses": [{}]}',
        "null",
        "[" * 200_000,
        '{"a":' * 100_000,
        "NaN",
    ):
        with pytest.raises(ValueError):
            read_illness(broken)
