"""Who changed what: written down before it is done, or it is not done."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply.changes import Changes
from meshward.apply.mesh import Mesh
from meshward.apply.tally import MOST, TOLD
from meshward.apply.traffic.traffic import Traffic
from meshward.audit.changes import ChangeEntry, changes_of
from meshward.audit.lines import ChangeLine, parse
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit


@pytest.fixture
def changes(tmp_path: Path) -> Changes:
    return Changes(tmp_path / "changes.log")


def told(path: Path) -> list[ChangeEntry]:
    found = [line for raw in path.read_bytes().splitlines() for line in parse(raw, "control")]
    lines = [line for line in found if isinstance(line, ChangeLine)]
    assert len(lines) == len(found)
    return changes_of(lines)


def test_a_change_is_there_before_it_is_made_and_says_how_it_ended(changes: Changes, tmp_path: Path) -> None:
    log = tmp_path / "changes.log"
    with changes.change("test:op", "apply", {"reason": "why", "from": "192.0.2.1"}):
        (before,) = told(log)
        assert before.outcome == "unfinished" and before.author == "test:op"
        changes.note("test:op", "apply", {"revision": "7"})
    (after,) = told(log)
    assert (after.did, after.outcome, after.id) == ("apply", "done", before.id)
    assert after.facts == {"reason": "why", "from": "192.0.2.1", "revision": "7"}
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("error", "outcome", "why"),
    [
        (MeshwardError(codes.CONFLICT, "m", exit_code=Exit.CONFLICT), "refused", {"code": "MW3026"}),
        (MeshwardError(codes.HOP_REFUSED, "m", exit_code=Exit.HOP_REFUSED), "failed", {"code": "MW3021"}),
        (KeyError("a secret"), "failed", {"why": "KeyError"}),
    ],
)
def test_a_change_that_fails_says_so_and_no_more(
    changes: Changes, tmp_path: Path, error: Exception, outcome: str, why: dict[str, str]
) -> None:
    with pytest.raises(type(error)), changes.change("a", "apply", {}):
        raise error
    (change,) = told(tmp_path / "changes.log")
    assert (change.outcome, change.facts) == (outcome, why)


def test_what_cannot_be_written_down_is_not_done(
    changes: Changes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes half a line, and one that takes it and cannot promise it: nothing of it is left."""
    with changes.change("a", "apply", {}):
        pass
    before, written, done = (tmp_path / "changes.log").read_bytes(), os.write, list[str]()

    def half(descriptor: int, data: bytes) -> int:
        return written(descriptor, data[: len(data) // 2])

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "no")

    for name, fault in (("write", half), ("fsync", fail)):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, fault)
            with pytest.raises(MeshwardError) as refused, changes.change("a", "apply", {}):
                done.append(name)
        assert (refused.value.code.number, refused.value.exit_code) == ("MW3070", Exit.HOP_REFUSED)
        assert (tmp_path / "changes.log").read_bytes() == before
    assert done == []


def test_what_one_author_is_refused_is_few_lines_that_add_up(tmp_path: Path) -> None:
    now = [100.0]
    changes = Changes(tmp_path / "log", lambda: now[0])
    for n in range(1000):
        now[0] = 100 + n / 500  # in two seconds
        changes.note_refusal("test:eve", "apply", codes.NO_RIGHT, {"from": "192.0.2.1"})
        if n % 250 == 0:
            with pytest.raises(MeshwardError), changes.change("test:op", "apply", {}):
                raise MeshwardError(codes.CONFLICT, "m", exit_code=Exit.CONFLICT)
    changes.settle()
    assert sum(line.author == "test:eve" for line in told(tmp_path / "log")) == 2 * TOLD + 1, (
        "one second is over"
    )
    changes.settle(all_of_it=True)
    changes.settle(all_of_it=True)
    lines = [line for line in told(tmp_path / "log") if line.author == "test:eve"]
    counted = [line for line in lines if "count" in line.facts]
    assert sum(int(line.facts.get("count", 1)) for line in lines) == 1000 and len(lines) == 2 * TOLD + 2
    assert [int(line.at) for line in counted] == [100, 101]
    assert {line.facts["from"] for line in lines} == {"192.0.2.1"}
    assert len(told(tmp_path / "log")) == len(lines) + 4, "and each change that was begun"


def test_a_clock_that_goes_back_delays_no_count(tmp_path: Path) -> None:
    now = [5000.0]
    changes = Changes(tmp_path / "log", lambda: now[0])
    for at in (5000.0, 100.0):
        now[0] = at
        for _ in range(50):
            changes.note_refusal("test:eve", "apply", codes.NO_RIGHT, {})
    now[0] = 101.0
    changes.settle()
    lines = told(tmp_path / "log")
    assert sum(int(line.facts.get("count", 1)) for line in lines) == 100
    assert [int(line.at) for line in lines if "count" in line.facts] == [5000, 100]


def test_a_count_that_cannot_be_written_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    changes = Changes(log, lambda: 100.0)
    for _ in range(100):
        changes.note_refusal("test:eve", "apply", codes.NO_RIGHT, {})
    log.rename(tmp_path / "away")
    log.symlink_to(tmp_path / "nowhere")
    changes.settle(all_of_it=True)
    log.unlink()
    (tmp_path / "away").rename(log)
    changes.settle(all_of_it=True)
    assert sum(int(line.facts.get("count", 1)) for line in told(log)) == 100


def test_an_author_waits_for_the_second_to_end_and_no_other_does(tmp_path: Path) -> None:
    now = [100.0]
    changes = Changes(tmp_path / "log", lambda: now[0])
    for _ in range(MOST):
        assert not changes.refused_too_often("eve")
        changes.note_refusal("eve", "apply", codes.NO_RIGHT, {})
    assert changes.refused_too_often("eve") and not changes.refused_too_often("olga")
    now[0] = 101.0
    assert not changes.refused_too_often("eve")


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MeshwardError), Changes(tmp_path / "log").change("a", "apply", {}):
        raise AssertionError("done")
    assert not (tmp_path / "elsewhere").exists()


def test_no_text_of_anybody_can_end_a_line_or_begin_another(changes: Changes, tmp_path: Path) -> None:
    evil = 'x\n{"v":"1","hop":"control","id":"f","author":"root","did":"apply","outcome":"done"}\n\ud800'
    with changes.change(evil, "apply", {"reason": evil, evil: "1", "long": "y" * 10_000}):
        pass
    assert (tmp_path / "changes.log").read_bytes().count(b"\n") == 2
    (change,) = told(tmp_path / "changes.log")
    assert change.author.startswith("x\n{") and len(change.facts["long"]) == 200


def test_whoever_lost_the_right_while_waiting_changes_nothing(tmp_path: Path) -> None:
    mesh: Any = object.__new__(Mesh)
    mesh.changes, mesh._turn = Changes(tmp_path / "changes.log"), threading.Lock()
    mesh._supervisor = SimpleNamespace(stopping=False)
    allowed, done = [True], list[int]()

    def still() -> None:
        if not allowed[0]:
            raise MeshwardError(codes.NO_RIGHT, "no more", exit_code=Exit.DENIED)

    def ask() -> None:
        with mesh.changes.change("a", "apply", {}, still):
            started.set()
            with mesh.turn():
                done.append(1)

    started, ended = threading.Event(), list[BaseException]()
    waiting = threading.Thread(target=lambda: _run(ask, ended))
    with mesh.turn():
        waiting.start()
        started.wait(60)
        allowed[0] = False
    waiting.join(60)
    assert done == [] and isinstance(ended[0], MeshwardError)
    assert not mesh._turn.locked()
    (change,) = told(tmp_path / "changes.log")
    assert (change.outcome, change.facts) == ("refused", {"code": "MW3072"})


@pytest.mark.parametrize(("parts", "why"), [(None, "starting"), (SimpleNamespace(stopping=True), "stopped")])
def test_nothing_is_changed_while_the_instance_starts_or_stops(tmp_path: Path, parts: Any, why: str) -> None:
    """A revocation then, say, would stand in STATE and at no hop, or be written to a STATE that is another's."""
    mesh: Any = object.__new__(Mesh)
    mesh.changes, mesh._turn, mesh._supervisor = Changes(tmp_path / "changes.log"), threading.Lock(), parts
    with pytest.raises(MeshwardError, match=why) as told, mesh.turn():
        raise AssertionError("changed")
    assert told.value.exit_code is Exit.CONFLICT and not mesh._turn.locked()


def test_a_stop_waits_for_the_change_that_is_under_way(tmp_path: Path) -> None:
    mesh: Any = object.__new__(Mesh)
    mesh.changes, mesh._turn = Changes(tmp_path / "changes.log"), threading.Lock()
    mesh._supervisor, mesh.machine = SimpleNamespace(stopping=False), _machine(tmp_path)
    stopping = threading.Thread(target=Traffic(mesh).wait_for_last, args=(60,))
    with mesh.turn():
        mesh._supervisor.stopping = True
        stopping.start()
        stopping.join(0.1)
        assert stopping.is_alive()
    stopping.join(60)
    assert not stopping.is_alive() and not mesh._turn.locked()


def test_a_stop_waits_for_the_look_at_a_walk_that_is_under_way(tmp_path: Path) -> None:
    """It may yet take its turn: the mesh alone does not know of it."""
    mesh: Any = object.__new__(Mesh)
    mesh.changes, mesh._turn, mesh.machine = (
        Changes(tmp_path / "changes.log"),
        threading.Lock(),
        _machine(tmp_path),
    )
    traffic = Traffic(mesh)
    stopping = threading.Thread(target=traffic.wait_for_last, args=(60,))
    with traffic.canaries.lock:
        stopping.start()
        stopping.join(0.1)
        assert stopping.is_alive()
    stopping.join(60)
    assert not stopping.is_alive()


def _machine(state: Path) -> Any:
    return SimpleNamespace(state=SimpleNamespace(path=state))


def _run(work: Any, ended: list[BaseException]) -> None:
    try:
        work()
    except BaseException as error:
        ended.append(error)


def test_what_the_instance_does_by_itself_is_a_change_of_its_own(changes: Changes, tmp_path: Path) -> None:
    changes.note("the instance", "renew", {"generation": "3"})
    changes.note_refusal("test:bob", "apply", codes.NO_RIGHT, {"from": "192.0.2.1"})
    first, second = told(tmp_path / "changes.log")
    assert (first.did, first.outcome, first.facts) == ("renew", "done", {"generation": "3"})
    assert (second.outcome, second.facts["code"]) == ("refused", "MW3072")
    assert json.loads((tmp_path / "changes.log").read_bytes().splitlines()[0])["v"] == "1"


def test_a_change_inside_another_is_a_part_of_it(changes: Changes, tmp_path: Path) -> None:
    with (
        changes.change("test:op", "rollback", {"revision": "3"}),
        changes.change("x", "apply", {"reason": "r"}),
    ):
        changes.note("test:op", "apply", {"digest": "d"})
    (change,) = told(tmp_path / "changes.log")
    assert (change.did, change.author, change.facts) == (
        "rollback",
        "test:op",
        {"revision": "3", "digest": "d"},
    )
