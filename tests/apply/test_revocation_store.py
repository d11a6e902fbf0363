"""A list of the revoked that is gone, older or altered is never taken for the last one; what a crash left is."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply import revocation_store
from meshward.apply.counters import COUNTERS, Counters, load_counters
from meshward.apply.mesh import Mesh, Running
from meshward.apply.revocation_store import (
    REVOCATIONS,
    Revocation,
    Revocations,
    begin_list,
    load_as_found,
    load_revocations,
)
from meshward.instance.state_files import find_unusable
from meshward.kit.canonical import digest
from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import StateFile

FIRST = Revocations({"test:alice": Revocation(reason="left", author="root", since=1)})
SECOND = Revocations({"test:alice": Revocation(), "test:bob": Revocation(until=10**10)})
UNKNOWN: Any = None


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    """One that has started, with `FIRST`."""
    begin_list(tmp_path, Counters(), FIRST).save(tmp_path)
    counters = load_counters(tmp_path)
    place: Any = SimpleNamespace(
        state=SimpleNamespace(path=tmp_path), run=SimpleNamespace(changes=tmp_path / "changes.log")
    )
    made: Any = Mesh(place, Running(UNKNOWN, UNKNOWN, counters, FIRST))
    made.attach(SimpleNamespace(stopping=False))
    return made  # type: ignore[no-any-return]


def keep(mesh: Mesh, revocations: Revocations) -> None:
    with mesh.turn():
        mesh.keep(revocations)


def lost(state: Path) -> bool:
    try:
        load_revocations(state)
    except MeshwardError as error:
        assert error.code.number == "MW2033" and "--accept-revocations" in error.remedy
        assert any(each.code.number == "MW2033" for each in find_unusable(state)), "status does not name it"
        return True
    return False


def test_what_is_gone_or_older_or_altered_is_a_fault_and_never_nobody(tmp_path: Path, mesh: Mesh) -> None:
    file = tmp_path / REVOCATIONS.name
    older = file.read_bytes()
    keep(mesh, SECOND)
    newest = file.read_bytes()
    assert load_revocations(tmp_path) == SECOND and not lost(tmp_path)
    file.write_bytes(older)
    assert lost(tmp_path), "an older one was put back"
    file.unlink()
    assert lost(tmp_path), "gone"
    shorter = json.loads(newest)
    del shorter["subjects"]["test:bob"]
    file.write_text(json.dumps(shorter))
    assert lost(tmp_path), "somebody was taken out by hand"
    later = json.loads(newest)
    later["subjects"]["test:bob"]["until"] = 5
    file.write_text(json.dumps(later))
    assert lost(tmp_path), "somebody's end was changed"
    file.write_bytes(newest)
    assert not lost(tmp_path)
    file.write_text(json.dumps(json.loads(newest)))
    assert not lost(tmp_path), "white space is nothing that it says"
    keep(mesh, Revocations())
    file.unlink()
    assert lost(tmp_path), "an empty one, too: nobody can tell that it was"
    assert load_as_found(tmp_path) == Revocations()


def test_counters_of_before_do_not_make_the_list_of_then_the_last_one(tmp_path: Path, mesh: Mesh) -> None:
    counters = (tmp_path / COUNTERS.name).read_bytes()
    keep(mesh, SECOND)
    (tmp_path / COUNTERS.name).write_bytes(counters)
    assert lost(tmp_path)


def test_before_a_first_start_and_after_an_older_release_any_list_stands(tmp_path: Path) -> None:
    assert load_revocations(tmp_path) == Revocations()
    (tmp_path / REVOCATIONS.name).write_text(
        '{"format": 1, "subjects": {"test:olga": null}, "tokens": {}, "agents": {}}'
    )
    assert load_revocations(tmp_path).revoked.subjects == {"test:olga": None}
    begin_list(tmp_path, Counters(), load_revocations(tmp_path)).save(tmp_path)
    assert not lost(tmp_path) and load_counters(tmp_path).revocations


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, write: int, *, persists: bool) -> Iterator[list[str]]:
    """The `write`th file of state is refused; with `persists` it is there all the same."""
    real, seen = StateFile.write, list[str]()

    def refuse(self: Any, directory: Path, value: Any, *more: Any) -> None:
        seen.append(self.name)
        if len(seen) != write or persists:
            real(self, directory, value, *more)
        if len(seen) == write:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(StateFile, "write", refuse)
        yield seen


@pytest.mark.parametrize("persists", [False, True], ids=["failed", "failed but persisted"])
@pytest.mark.parametrize("write", [1, 2, 3])
def test_a_write_that_fails_anywhere_leaves_a_list_that_a_start_takes(
    tmp_path: Path, mesh: Mesh, monkeypatch: pytest.MonkeyPatch, write: int, persists: bool
) -> None:
    """Each step, failed and failed-but-persisted; then a crash; then on with the same instance."""
    with failing(monkeypatch, write, persists=persists) as seen:
        try:
            keep(mesh, SECOND)
        except OSError:
            assert write < 3, "the list stands: what only names it is no reason to say that it does not"
    assert seen[:write] == ["counters.json", "revocations.json", "counters.json"][:write]
    stands = load_revocations(tmp_path)
    assert stands == (SECOND if (write, persists) in ((2, True), (3, False), (3, True)) else FIRST)
    mesh.running.counters.save(tmp_path)  # as each change of policy does
    assert load_revocations(tmp_path) == stands, "what the instance writes beside it made a fault of it"
    keep(mesh, SECOND)
    assert load_revocations(tmp_path) == SECOND and len(load_counters(tmp_path).revocations) == 1


@pytest.mark.parametrize("write", [1, 2, 3])
def test_a_start_that_is_cut_short_leaves_what_the_next_one_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    for counters in (Counters(), begin_list(tmp_path, Counters(), FIRST)):
        if counters.revocations:
            counters.save(tmp_path)
        with failing(monkeypatch, write, persists=False), pytest.raises(OSError):
            begin_list(tmp_path, counters, SECOND).save(tmp_path)
            raise OSError("it is killed")
        assert load_revocations(tmp_path) in (Revocations(), FIRST, SECOND)


def test_a_look_while_it_is_written_is_no_fault(
    tmp_path: Path, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading the one file and the other, a whole revocation."""
    between = [lambda: keep(mesh, SECOND)]

    def late(state: Path) -> Counters:
        while between:
            between.pop()()
        return load_counters(state)

    monkeypatch.setattr(revocation_store, "load_counters", late)
    assert load_revocations(tmp_path) == SECOND


def test_names_of_any_letters_are_read_as_they_were_written(tmp_path: Path) -> None:
    for text in ("é", "e\u0301", "\u202e", "a\nb", "\U0001f600"):
        given = Revocations(tokens={text: Revocation(reason=text, author=text)})
        begin_list(tmp_path, Counters(), given).save(tmp_path)
        assert load_revocations(tmp_path) == given, ascii(text)


def test_so_many_that_have_ended_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation_store, "MOST_ENDED", 3)
    many = Revocations(tokens={f"{n}": Revocation(until=n) for n in range(10, 17)} | {"x": Revocation()})
    now = many.standing(100.0)
    assert set(now.tokens) == {"x"} and set(now.ended["token"]) == {"14", "15", "16"}
    assert now.standing(100.0) == now and set(now.standing(15.0).tokens) == {"x", "16"}
    assert set(now.standing(15.0).ended["token"]) == {"14", "15"}


def test_a_list_of_which_nothing_ended_has_the_digest_that_earlier_releases_wrote() -> None:
    said = asdict(FIRST)
    del said["ended"]
    assert FIRST.digest == digest(said) != replace(FIRST, ended={"token": {"t": Revocation()}}).digest
