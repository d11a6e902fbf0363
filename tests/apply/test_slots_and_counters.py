"""Slots stay where they are, and numbers only ever rise."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.apply.counters import Counters, load_counters
from meshward.apply.slots import SLOTS, assign_slots
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy

NAMES = st.lists(st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,8}\Z"), min_size=1, max_size=SLOTS, unique=True)
TAKEN = st.dictionaries(st.from_regex(r"\A[a-z]{1,3}/v1\Z"), st.integers(-2, 99), max_size=8)


def plan_of(names: list[str]) -> Plan:
    versions = {"v1": {"server": "tei", "url": "unix:/run/x.sock"}}
    policy = {"version": 1, "trust_domain": "t", "models": {name: {"versions": versions} for name in names}}
    return resolve(Policy.model_validate(policy))


@given(NAMES, TAKEN)
def test_every_version_has_a_slot_of_its_own(names: list[str], before: dict[str, int]) -> None:
    unique = dict(zip(before, dict.fromkeys(before.values()), strict=False))
    slots = assign_slots(plan_of(names), unique)
    assert set(slots) == {f"{name}/v1" for name in names}
    assert len(set(slots.values())) == len(slots)
    assert all(0 <= slot < SLOTS for slot in slots.values())
    kept = {name: slot for name, slot in unique.items() if name in slots and 0 <= slot < SLOTS}
    assert {name: slots[name] for name in kept} == kept


def test_more_versions_than_slots_are_refused() -> None:
    with pytest.raises(MeshwardError) as refused:
        assign_slots(plan_of([f"m{number}" for number in range(SLOTS + 1)]), {})
    assert refused.value.code.number == "MW3014" and refused.value.exit_code is Exit.UNSAFE


def test_the_same_policy_is_the_same_revision() -> None:
    first = Counters().after_start("a", {"m/v1": 0})
    again = first.after_start("a", {"m/v1": 0})
    other = again.after_start("b", {"m/v1": 0})
    assert (first.revision, again.revision, other.revision) == (1, 1, 2)
    assert first.epoch < again.epoch < other.epoch, "a start must end what an earlier one cached"
    assert other.generation < other.renewed().generation


def test_the_book_survives_and_damage_is_named(tmp_path: Path) -> None:
    assert load_counters(tmp_path) == Counters()
    counters = Counters().after_start("a", {"m/v1": 3})
    counters.save(tmp_path)
    assert load_counters(tmp_path) == counters
    assert (tmp_path / "counters.json").stat().st_mode & 0o777 == 0o600
    for broken in ("", "{", "[]", '{"revision": 1, "more": 2}'):
        (tmp_path / "counters.json").write_text(broken)
        with pytest.raises(MeshwardError, match="damaged"):
            load_counters(tmp_path)
