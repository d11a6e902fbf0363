"""The record of revisions: numbers only rise, what was never accepted never runs, and damage is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from meshward.apply.counters import COUNTERS, Counters, load_counters
from meshward.apply.revisions import ACCEPTED, INTERRUPTED, RECORD, REFUSED, STAGED, Revision, Revisions
from meshward.cli import history
from meshward.cli.apply import base_of
from meshward.instance.prepare import followed_policy, revision_to_run
from meshward.instance.running_policy import load_running_policy
from meshward.instance.state_files import find_unusable, require_usable
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.policy.parse import to_json
from meshward.policy.schema import Policy
from meshward.runtime.place.directories import State
from tests.stack.accepted import accept

POLICY = Policy.model_validate(
    {
        "version": 1,
        "trust_domain": "t",
        "models": {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/x"}}}},
    }
)


def revision(number: int) -> Revision:
    return Revision(number, STAGED, POLICY.digest, number - 1, "ann", 1.5, "because")


def test_what_is_staged_does_not_run_until_it_is_accepted(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    assert revisions.current() is None and revisions.all() == [] and revisions.next_number(0) == 1
    revisions.stage(POLICY, revision(1))
    assert revisions.current() is None
    accepted = revisions.accept(revision(1))
    assert revisions.current() == accepted == replace(revision(1), status=ACCEPTED)
    revisions.stage(POLICY, revision(2))
    assert revisions.current() == accepted
    assert revisions.policy(2) == POLICY
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "revisions").iterdir()} == {0o600}


def test_a_start_refuses_what_was_interrupted(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    for number in (1, 2):
        revisions.stage(POLICY, revision(number))
    revisions.accept(revision(1))
    revisions.recover()
    assert [(each.status, each.why) for each in revisions.all()] == [(ACCEPTED, ""), (REFUSED, INTERRUPTED)]
    assert revisions.next_number(0) == 3, "its number is not used again"


def test_a_policy_without_a_record_still_takes_its_number(tmp_path: Path) -> None:
    """Killed between the two files."""
    revisions = Revisions(tmp_path)
    revisions.stage(POLICY, revision(1))
    (tmp_path / "revisions" / "0001.json").unlink()
    assert revisions.all() == [] and revisions.next_number(0) == 2 and revisions.next_number(7) == 8


def test_damage_is_named_and_nothing_is_guessed(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    revisions.stage(POLICY, revision(1))
    revisions.accept(revision(1))
    record = tmp_path / "revisions" / "0001.json"
    for broken in ("", "{", "[]", '{"number": 1}', "\0" * 40):
        record.write_text(broken)
        with pytest.raises(MeshwardError, match="damaged"):
            revisions.current()
    with pytest.raises(MeshwardError) as told:
        revisions.policy(9)
    assert told.value.exit_code is Exit.USAGE


def accepted(state: Path, *policies: Policy) -> Revisions:
    for policy in policies:
        accept(state, policy)
    return Revisions(state)


OTHER = POLICY.model_copy(update={"trust_domain": "u"})
ALTERED: dict[str, Callable[[Path], object]] = {
    "another policy": lambda file: file.write_text(to_json(OTHER)),
    "no policy": lambda file: file.write_text("{}"),
    "truncated": lambda file: os.truncate(file, 20),
    "empty": lambda file: os.truncate(file, 0),
    "gone": lambda file: file.unlink(),
    "endless": lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
    "a link to the same": lambda file: file.symlink_to(file.rename(file.with_name("elsewhere"))),
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "sparse": lambda file: os.truncate(file, 1 << 40),
}


@pytest.mark.parametrize("how", ALTERED)
def test_an_altered_policy_is_refused_by_the_number_of_its_revision(tmp_path: Path, how: str) -> None:
    revisions = accepted(tmp_path, OTHER, POLICY)
    ALTERED[how](tmp_path / "revisions" / "0002.policy.json")
    with pytest.raises(MeshwardError, match=r"revision 2 in .* is altered") as told:
        revisions.policy(2)
    assert told.value.code.number == "MW3031" and told.value.remedy
    assert revisions.policy(1) == OTHER, "the others can be used"
    with pytest.raises(MeshwardError, match="revision 2"):
        load_running_policy(State(tmp_path))
    assert [error.code.number for error in find_unusable(tmp_path)] == ["MW3031"]


def test_whoever_gives_the_policy_once_more_restores_it(tmp_path: Path) -> None:
    revisions = accepted(tmp_path, POLICY)
    revisions.restore(1, OTHER)
    assert revisions.policy(1) == POLICY, "another one restores nothing"
    (tmp_path / "revisions" / "0001.policy.json").write_text(to_json(OTHER))
    policy, found = revision_to_run(revisions, POLICY, "ann", Counters(), print)
    assert (policy, found.number, revisions.policy(1)) == (POLICY, 1, POLICY)


def _put_back_staged(state: Path) -> None:
    RECORD_2.write(state / "revisions", replace(revision(2), digest=POLICY.digest))


def _name_another(state: Path) -> None:
    """Policy and record, so that they fit."""
    (state / "revisions" / "0002.policy.json").write_text(to_json(OTHER))
    RECORD_2.write(state / "revisions", replace(revision(2), status=ACCEPTED, digest=OTHER.digest))


RECORD_2 = replace(RECORD, name="0002.json")
ROLLED_BACK: dict[str, Callable[[Path], object]] = {
    "its record is gone": lambda state: (state / "revisions" / "0002.json").unlink(),
    "an older record": _put_back_staged,
    "another record and policy": _name_another,
    "all records are gone": lambda state: shutil.rmtree(state / "revisions"),
}


@pytest.mark.parametrize("how", ROLLED_BACK)
def test_no_earlier_revision_runs_in_the_place_of_the_last_one(tmp_path: Path, how: str) -> None:
    revisions = accepted(tmp_path, OTHER, POLICY)
    ROLLED_BACK[how](tmp_path)
    revisions.recover()
    with pytest.raises(MeshwardError, match="revision 2") as told:
        revision_to_run(revisions, None, "ann", Counters(), print)
    assert told.value.code.number == "MW3031"
    assert next(find_unusable(tmp_path)).code.number == "MW3031"
    _, given = revision_to_run(revisions, OTHER, "ann", load_counters(tmp_path), print)
    assert given.status == STAGED and given.number > 2, "who names one knows; no number is given twice"
    with pytest.raises(MeshwardError, match="revision 2"):
        followed_policy(revisions, OTHER, print)


def _accept_refused(state: Path) -> None:
    RECORD_3.write(
        state / "revisions", replace(revision(3), status=ACCEPTED, digest=load_policy(state, 3).digest)
    )


def _copy_above(state: Path) -> None:
    """An earlier revision, once more, under a number that nobody had."""
    directory, ninth = state / "revisions", replace(RECORD, name="0009.json")
    shutil.copy(directory / "0001.policy.json", directory / "0009.policy.json")
    ninth.write(directory, replace(revision(9), status=ACCEPTED, digest=OTHER.digest))


def load_policy(state: Path, number: int) -> Policy:
    return Revisions(state).policy(number)


RECORD_3 = replace(RECORD, name="0003.json")
NEVER_ACCEPTED: dict[str, tuple[int, Callable[[Path], object]]] = {
    "one that was refused": (3, _accept_refused),
    "an earlier one above": (9, _copy_above),
}


@pytest.mark.parametrize("how", NEVER_ACCEPTED)
def test_no_revision_runs_that_was_never_accepted(
    tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its policy fits its record, and its number is the highest: only the counters know."""
    revisions = accepted(tmp_path, OTHER, POLICY)
    tried = replace(revision(3), digest=OTHER.digest)
    revisions.stage(OTHER, tried)
    revisions.refuse(tried, "a guard did not take it")
    assert revision_to_run(revisions, None, "ann", Counters(), print)[1].number == 2
    number, act = NEVER_ACCEPTED[how]
    act(tmp_path)
    for ask in (
        lambda: revision_to_run(revisions, None, "ann", Counters(), print),
        lambda: followed_policy(revisions, OTHER, print),
        lambda: load_running_policy(State(tmp_path)),
    ):
        with pytest.raises(MeshwardError, match=rf"revision {number} .*never accepted") as told:
            ask()
        assert told.value.code.number == "MW3031"
    assert base_of(tmp_path, None) is None, "an apply, which mends it, is planned on what runs"
    with pytest.raises(SystemExit) as ended:
        history.command(state=tmp_path)
    listed = capsys.readouterr()
    assert ended.value.code == Exit.FINDINGS and "*" not in listed.out and f"revision {number} " in listed.err
    _, given = revision_to_run(revisions, OTHER, "ann", load_counters(tmp_path), print)
    assert given.status == STAGED and given.number > number, "whoever gives a policy says so anew"


@pytest.mark.parametrize("damaged", [1, 3], ids=["an old record", "the newest"])
def test_history_names_a_damaged_record_and_tells_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damaged: int
) -> None:
    accepted(tmp_path, OTHER, POLICY, OTHER)
    (tmp_path / "revisions" / f"000{damaged}.json").write_text("{")
    with pytest.raises(SystemExit) as ended:
        history.command(state=tmp_path)
    listed = capsys.readouterr()
    assert ended.value.code == Exit.FINDINGS and f"000{damaged}.json" in listed.err and "MW3011" in listed.err
    assert [line.split()[-1] for line in listed.out.splitlines()] == 2 * ["because"]
    assert ("*" in listed.out) is (damaged == 1), "what runs is told only where that is known"


def test_counters_that_are_gone_do_not_begin_anew(tmp_path: Path) -> None:
    accepted(tmp_path, POLICY)
    (tmp_path / COUNTERS.name).unlink()
    with pytest.raises(MeshwardError, match=r"counters\.json.* is gone"):
        require_usable(tmp_path, print)
    assert [error.code.number for error in find_unusable(tmp_path)] == ["MW3011"]


def test_a_start_that_was_refused_makes_no_fault_of_the_last_revision(tmp_path: Path) -> None:
    """`up` counts a number before it is accepted; and a crash may come between acceptance and counting."""
    revisions = accepted(tmp_path, OTHER)
    tried = replace(revision(2), digest=POLICY.digest)
    revisions.stage(POLICY, tried)
    counted = replace(load_counters(tmp_path), revision=2, digest=POLICY.digest)
    counted.also_running(2, POLICY.digest).save(tmp_path)
    revisions.refuse(tried, "a port is in use")
    assert revision_to_run(revisions, None, "ann", Counters(), print)[0] == OTHER
    revisions.accept(tried)
    assert revision_to_run(revisions, None, "ann", Counters(), print)[0] == POLICY
    assert not list(find_unusable(tmp_path))
