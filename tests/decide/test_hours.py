"""Weekly windows, also in the nights in which clocks change."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshward.decide.hours import next_change, within
from meshward.policy.values import Hours

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
YEAR = 366 * 86400
windows = st.builds(
    Hours,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.sampled_from(ZONES),
)


def at(zone: str, *clock: int) -> int:
    return int(datetime(*clock, tzinfo=ZoneInfo(zone)).timestamp())  # type: ignore[arg-type]


@settings(max_examples=300)
@given(windows, st.integers(1735689600, 1735689600 + 2 * YEAR), st.floats(0, 1, exclude_max=True))
def test_nothing_changes_before_the_next_change(hours, now, part):
    change = next_change(hours, now)
    assert now < change <= now + 2 * 86400 + 7200
    assert within(hours, now + int(part * (change - now))) is within(hours, now)
    assert within(hours, change - 1) is within(hours, now)


@pytest.mark.parametrize(
    ("clock", "inside"),
    [
        ((2026, 11, 20, 21, 59), False),  # Friday
        ((2026, 11, 20, 22, 0), True),
        ((2026, 11, 21, 5, 59), True),  # Friday's window runs into Saturday
        ((2026, 11, 21, 6, 0), False),
        ((2026, 11, 21, 22, 0), False),  # Saturday has none
        ((2026, 11, 20, 5, 0), False),  # and Thursday had none
    ],
)
def test_a_window_past_midnight_belongs_to_its_first_day(clock, inside):
    night = Hours(frozenset({4}), 22 * 60, 6 * 60, "Europe/Berlin")
    assert within(night, at("Europe/Berlin", *clock)) is inside


def test_the_hour_that_comes_twice_is_inside_twice_and_the_one_that_is_left_out_never():
    sunday = Hours(frozenset({6}), 150, 180, "Europe/Berlin")  # 02:30-03:00
    autumn = at("UTC", 2026, 10, 25, 0, 30)
    assert [within(sunday, autumn + minutes * 60) for minutes in (0, 29, 30, 60, 89, 90)] == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]
    spring = at("UTC", 2027, 3, 28, 0, 0)
    assert not any(within(sunday, spring + minutes * 60) for minutes in range(180))


@pytest.mark.parametrize(
    ("window", "now", "change"),
    [
        ((150, 240), (2027, 3, 28, 0, 30), (2027, 3, 28, 1, 0)),  # 02:30 is left out: 03:00 follows 01:59
        ((150, 210), (2026, 10, 25, 0, 45), (2026, 10, 25, 1, 0)),  # 02:45, and in a quarter of an hour 02:00
        ((150, 210), (2026, 10, 25, 1, 10), (2026, 10, 25, 1, 30)),  # 02:10 again, and then 02:30 again
    ],
)
def test_a_change_of_clocks_is_a_change(window, now, change):
    sunday = Hours(frozenset({6}), *window, "Europe/Berlin")
    moment, expected = at("UTC", *now), at("UTC", *change)
    assert next_change(sunday, moment) == expected
    assert within(sunday, expected) is not within(sunday, moment)
