from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.runtime.place import identities
from meshward.runtime.place.directories import State, open_state
from meshward.runtime.place.identities import (
    FIRST,
    LAST,
    ProcessIdentity,
    assign_identities,
    popen_user,
    starter,
)

PARTS = [
    "edge",
    "decide",
    *(f"guard-{slot:02d}" for slot in range(64)),
    *(f"model-{slot:02d}" for slot in range(64)),
]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the instances of this machine run: none yet."""
    monkeypatch.setattr(identities, "ROOT_RUN", made := tmp_path / "runs")
    return made


@pytest.fixture
def privileged(monkeypatch: pytest.MonkeyPatch, runs: Path) -> None:
    monkeypatch.setattr(identities, "can_change_uid", lambda: True)


def test_each_part_has_a_user_of_its_own(tmp_path: Path, privileged: None):
    given_out = assign_identities(open_state(tmp_path / "state"), PARTS)
    uids = {given_out.of(part).uid for part in PARTS}
    assert given_out.separate
    assert len(uids) == len(PARTS)
    assert all(FIRST <= uid <= LAST for uid in uids)
    assert all(given_out.of(part).uid == given_out.of(part).gid for part in PARTS)


def test_a_part_keeps_its_user_whatever_parts_come_and_go(tmp_path: Path, privileged: None):
    state = open_state(tmp_path / "state")
    before = assign_identities(state, PARTS[:20])
    after = assign_identities(state, PARTS[::-1])
    assert [after.of(part) for part in PARTS[:20]] == [before.of(part) for part in PARTS[:20]]


def test_the_numbers_follow_from_state_and_part(tmp_path: Path, privileged: None):
    state = open_state(tmp_path / "state")
    first = assign_identities(state, PARTS)
    (state.path / "identities.json").unlink()
    assert assign_identities(state, PARTS) == first
    assert assign_identities(open_state(tmp_path / "other"), PARTS) != first


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a directory to a part")
@pytest.mark.parametrize("place", ["edge", "decide", "guards/03", "models/m1-v1-12345678"])
def test_no_two_instances_of_a_machine_have_one_number(
    tmp_path: Path, privileged: None, runs: Path, place: str
):
    """Nothing would keep the part of one from that of the other, and what ends one would end both."""
    state = open_state(tmp_path / "state")
    first = assign_identities(state, PARTS[:3])
    directories = [runs / hex / place for hex in ("01234567", state.hex)]
    for directory, part in zip(directories, PARTS, strict=False):
        directory.mkdir(parents=True)
        os.chown(directory, first.of(part).uid, -1)
    again = assign_identities(state, PARTS[:3])
    assert again.of("edge") != first.of("edge"), "which the other one has"
    assert again.of("decide") == first.of("decide"), "which only we have"
    assert assign_identities(state, PARTS[:3]) == again, "and keep"


@given(taken=st.sets(st.integers(FIRST, LAST), max_size=50), part=st.text(max_size=20))
def test_a_number_that_is_taken_is_never_given_out(taken: set[int], part: str):
    state = State(Path("/state"))
    wanted = identities._free_number(state, part, set())
    number = identities._free_number(state, part, taken | {wanted})
    assert number not in taken | {wanted}
    assert FIRST <= number <= LAST


def test_numbers_that_only_killed_instances_left_are_given_out_last():
    state, every = State(Path("/state")), set(range(FIRST, LAST + 1))
    wanted = identities._free_number(state, "edge", set())
    assert identities._free_number(state, "edge", set(), every) == wanted
    assert identities._free_number(state, "edge", {wanted}, every - {LAST}) == LAST
    assert identities._free_number(state, "edge", {wanted}, every) not in (wanted, LAST + 1)


def test_a_number_that_passwd_knows_is_never_given_out(monkeypatch: pytest.MonkeyPatch):
    state = State(Path("/state"))
    wanted = identities._free_number(state, "edge", set())
    somebody = pwd.getpwuid(0)

    def getpwuid(uid: int) -> pwd.struct_passwd:
        if uid == wanted:
            return somebody
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    assert identities._free_number(state, "edge", set()) != wanted


def test_a_number_outside_the_range_is_not_believed(tmp_path: Path, privileged: None):
    state = open_state(tmp_path / "state")
    (state.path / "identities.json").write_text(json.dumps({"edge": 0, "decide": 1000}))
    given_out = assign_identities(state, ["edge", "decide"])
    assert given_out.of("edge").uid >= FIRST and given_out.of("decide").uid >= FIRST


def test_who_cannot_change_uids_runs_everything_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(identities, "can_change_uid", lambda: False)
    given_out = assign_identities(open_state(tmp_path / "state"), PARTS)
    assert {given_out.of(part) for part in PARTS} == {starter()}
    assert not given_out.separate
    assert f"runs as you (uid {os.geteuid()})" in given_out.sentence
    assert popen_user(given_out.of("edge").joining(os.getegid())) == {}


def test_a_part_never_keeps_the_starters_groups():
    assert popen_user(ProcessIdentity(61999, 61998)) == {
        "user": 61999,
        "group": 61998,
        "extra_groups": [61998],
    }
    assert popen_user(ProcessIdentity(61999, 61998).joining(61997))["extra_groups"] == [61997, 61998]


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root has capabilities to lose")
def test_a_root_that_cannot_undo_what_users_of_their_own_leave_gives_none_away() -> None:
    """Their directories would stay shut to it, and their processes alive."""
    told = {name: _told_without(name) for name in identities.CAPABILITIES}
    assert all(name in missing and not may for name, (may, *missing) in told.items()), told


def _told_without(name: str) -> list[object]:
    place = "meshward.runtime.place.identities"
    program = f"import json, {place} as i; print(json.dumps([i.can_change_uid(), *i.lacking()]))"
    bounding = f"--bounding-set=-{name.removeprefix('CAP_').lower()}"
    without = ["setpriv", bounding, sys.executable, "-c", program]
    told: list[object] = json.loads(subprocess.run(without, capture_output=True, check=True).stdout)
    return told
