"""Whether a revocation holds and is kept is said as it is; what is open is tried again until nothing is, and noted."""

from __future__ import annotations

import copy
import errno
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply import revoke as revoking
from meshward.apply import settle
from meshward.apply.counters import Counters, load_counters
from meshward.apply.guards import Issue
from meshward.apply.live_revision import LiveRevision
from meshward.apply.mesh import Mesh, Running
from meshward.apply.revocation_store import Revocation, Revocations, begin_list, load_revocations
from meshward.apply.revoke import keep_known, revoke, take_back_ended
from meshward.apply.switching import Rendering, Switch, Switcher
from meshward.apply.unsettled import UNSETTLED, Unsettled, load_unsettled, save_unsettled
from meshward.callers.revocations import Revoked
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.plan.resolve import resolve
from tests.edge.mesh import POLICY
from tests.stack.live import policy_of
from tests.stack.running import eventually

UNKNOWN: Any = None
ALICE, BOB = "corp:alice", "corp:bob"
FAR = 10**10
FIRST = Revocations({ALICE: Revocation()})


class Hops:
    """What the hops were given, and whether they take it."""

    def __init__(self) -> None:
        self.refused: Revoked | None = None
        self.fault: Exception | None = None
        self.lacking: list[str] = []
        self.ways_back: list[Switch] = []

    def revoke(self, revoked: Revoked) -> None:
        if self.fault is not None:
            raise self.fault
        self.refused = revoked

    def back(self, switch: Switch) -> list[str]:
        self.ways_back.append(switch)
        return list(self.lacking)


@pytest.fixture
def hops() -> Hops:
    return Hops()


@pytest.fixture
def mesh(tmp_path: Path, hops: Hops, monkeypatch: pytest.MonkeyPatch) -> Mesh:
    policy = policy_of(copy.deepcopy(POLICY))
    live = LiveRevision(policy, resolve(policy), 3, {})
    first = FIRST.spread(live.plan)
    begin_list(tmp_path, Counters(revision=3), first).save(tmp_path)
    place: Any = SimpleNamespace(
        state=SimpleNamespace(path=tmp_path), run=SimpleNamespace(changes=tmp_path / "changes.log")
    )
    made = Mesh(place, Running(live, UNKNOWN, load_counters(tmp_path), first))
    supervisor: Any = SimpleNamespace(stopping=False)
    made.attach(supervisor)
    monkeypatch.setattr(made, "switcher", lambda: hops)
    monkeypatch.setattr(made, "issue", lambda: Issue(UNKNOWN, UNKNOWN, made.revoked))
    return made


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Whether STATE is full."""
    real = Mesh.keep

    def fill(is_full: bool) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Mesh, "keep", refuse if is_full else real)

    return fill


def put(name: str, **more: Any) -> Callable[[Revocations], Revocations]:
    return lambda now: now.put("subject", name, Revocation(**more))


def refusal(mesh: Mesh, change: Callable[[Revocations], Revocations]) -> MeshwardError:
    with pytest.raises(MeshwardError) as told:
        revoke(mesh, change, "root")
    assert told.value.exit_code is Exit.HOP_REFUSED
    return told.value


def changes(mesh: Mesh) -> list[dict[str, Any]]:
    lines = (mesh.machine.state.path / "changes.log").read_text().splitlines()
    return [{**line, **json.loads(line["facts"])} for line in map(json.loads, lines)]


def try_again(mesh: Mesh) -> Unsettled | None:
    """At the moment of the next try."""
    unsettled = mesh.running.unsettled
    at = unsettled.next_try if unsettled else 0.0
    settle.try_again(mesh, lambda: at)
    return mesh.running.unsettled


def test_a_full_disk_refuses_them_now_and_says_that_a_restart_would_not(
    mesh: Mesh, hops: Hops, tmp_path: Path, full: Callable[[bool], None]
) -> None:
    full(True)
    error = refusal(mesh, put(BOB))
    assert error.code is codes.REVOCATION_NOT_KEPT and "holds at every hop" in error.message
    assert "not kept" in error.message and "No space left" in error.message
    assert hops.refused is not None and set(hops.refused.subjects) == {ALICE, BOB} == set(
        mesh.revoked.subjects
    )
    assert BOB not in load_revocations(tmp_path).subjects, "as it was said"
    assert load_unsettled(tmp_path) is not None
    assert (again := try_again(mesh)) is not None and again.tries == 1 and "No space left" in again.why
    full(False)
    assert try_again(mesh) is None and load_unsettled(tmp_path) is None
    assert BOB in load_revocations(tmp_path).subjects, "written by itself once there was room"
    last = changes(mesh)[-1]
    assert (last["did"], last["author"], last["outcome"], last["tries"]) == (
        "settle",
        "the instance",
        "done",
        "2",
    )


@pytest.mark.parametrize(
    "change",
    [lambda now: now.without("subject", ALICE), put(ALICE, until=4_000_000_000)],
    ids=["undone", "ends sooner"],
)
def test_a_full_disk_lets_nobody_in_who_a_restart_would_refuse(
    mesh: Mesh, hops: Hops, full: Callable[[bool], None], change: Callable[[Revocations], Revocations]
) -> None:
    full(True)
    error = refusal(mesh, change)
    assert error.code is codes.REVOCATION_NOT_ENDED and "nothing was changed" in error.message
    assert hops.refused is None and mesh.revoked.subjects == {ALICE: None} and mesh.running.unsettled is None


def test_a_hop_that_does_not_take_it_is_named_and_tried_again(mesh: Mesh, hops: Hops, tmp_path: Path) -> None:
    for fault, says in (
        (MeshwardError(codes.HOP_REFUSED, "the decision service refused: it hangs"), "it hangs"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left"),  # of RUN: no fault of ours
    ):
        hops.fault = fault
        error = refusal(mesh, put(BOB))
        assert says in error.message and BOB in load_revocations(tmp_path).subjects, "kept all the same"
        assert says in str(try_again(mesh))
        hops.fault = None
        assert try_again(mesh) is None and hops.refused is not None and BOB in hops.refused.subjects


def test_where_it_neither_holds_nor_is_kept_both_are_said(
    mesh: Mesh, hops: Hops, full: Callable[[bool], None]
) -> None:
    full(True)
    hops.fault = MeshwardError(codes.HOP_REFUSED, "the decision service refused: it hangs")
    error = refusal(mesh, put(BOB))
    assert error.code is codes.HOP_REFUSED and "it hangs" in error.message and "not kept" in error.message
    assert "holds at every hop" not in error.message


def test_the_pause_grows_and_is_bounded_and_nothing_is_tried_before(mesh: Mesh, hops: Hops) -> None:
    hops.lacking = ["the guard of m/v1 hangs"]
    with mesh.turn():
        mesh.unsettle(Unsettled(100.0, "the guard of m/v1 hangs", "What both permit"))
    pauses, now = list[float](), 100.0
    for _ in range(9):
        settle.try_again(mesh, lambda now=now: now)
        unsettled = mesh.running.unsettled
        assert unsettled is not None and unsettled.since == 100.0
        tried, before = len(hops.ways_back), unsettled.next_try
        settle.try_again(mesh, lambda before=before: before - 0.001)
        assert len(hops.ways_back) == tried, "tried before its time"
        pauses.append(unsettled.next_try - now)
        now = unsettled.next_try
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert unsettled is not None and "tried 9 times, again in 60 s" in unsettled.sentence(now - 60)


def test_the_way_back_is_rendered_from_what_is_true_now(mesh: Mesh, hops: Hops) -> None:
    """Keys and revocations are others by now: what was rendered for the refused change would undo them."""
    live = mesh.live
    old = Rendering(live, UNKNOWN, {("m/v1", 0): UNKNOWN}, Revoked())
    refused: Any = SimpleNamespace(plan=live.plan, revision=4)
    new = Rendering(refused, UNKNOWN, {("m/v1", 0): UNKNOWN})
    with mesh.turn():
        mesh.unsettle(Unsettled(0.0, "it hangs", "x"), Switch(old, new, {("m/v9", 9): UNKNOWN}, ()))
    assert try_again(mesh) is None
    (way,) = hops.ways_back
    assert way.old.revoked.subjects == {ALICE: None} and way.old.live is live
    assert way.old.files == {}, "a guard that this revision has not is not switched"
    assert way.new.files == new.files, "so the edge is narrowed again before any guard is touched"
    assert way.starts == {("m/v9", 9): UNKNOWN}
    assert mesh.running.way_back is None


def test_what_a_start_settles_is_noted_once(mesh: Mesh, tmp_path: Path) -> None:
    save_unsettled(tmp_path, Unsettled(5.0, "the guard of m/v1 hangs", "x", 3))
    settle.end_by_start(mesh)
    settle.end_by_start(mesh)
    (noted,) = changes(mesh)
    assert (noted["did"], noted["by"], noted["tries"]) == ("settle", "a start", "3")
    assert "hangs" in noted["why"] and load_unsettled(tmp_path) is None
    (tmp_path / UNSETTLED.name).write_text("{")
    settle.end_by_start(mesh)
    assert not (tmp_path / UNSETTLED.name).exists()


def test_the_turn_of_another_is_waited_for(mesh: Mesh, hops: Hops, monkeypatch: pytest.MonkeyPatch) -> None:
    with mesh.turn():
        mesh.unsettle(Unsettled(0.0, "it hangs", "x"))

    def busy() -> Any:
        raise MeshwardError(codes.CONFLICT, "another change is being applied")

    with monkeypatch.context() as patched:
        patched.setattr(mesh, "turn", busy)
        settle.try_again(mesh, lambda: 1.0)
    assert hops.ways_back == [] and mesh.running.unsettled is not None
    assert try_again(mesh) is None


def test_a_list_that_is_gone_while_it_runs_is_written_with_the_next_change(
    mesh: Mesh, tmp_path: Path
) -> None:
    for harm in (
        lambda file: file.unlink(),
        lambda file: file.write_text("{"),
        lambda file: file.write_text('{"format": 2, "subjects": {}, "tokens": {}, "agents": {}}'),
    ):
        harm(tmp_path / "revocations.json")
        with pytest.raises(MeshwardError):
            load_revocations(tmp_path)
        assert mesh.revoked.subjects == {ALICE: None}, "it knows"
        with mesh.turn():
            keep_known(mesh)
        assert load_revocations(tmp_path).revoked.subjects == {ALICE: None}


def test_who_is_refused_no_more_is_forgotten_by_state_last(
    mesh: Mesh, hops: Hops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoke(mesh, put(BOB, until=4_000_000_000), "root")
    later = 4_000_000_001.0
    for module in ("meshward.apply.revoke", "meshward.apply.mesh"):
        monkeypatch.setattr(f"{module}.system_clock", lambda: later)
    hops.fault = MeshwardError(codes.HOP_REFUSED, "it hangs")
    with pytest.raises(MeshwardError):
        take_back_ended(mesh)
    assert BOB in load_revocations(tmp_path).subjects, "the guard would never be told"
    hops.fault = None
    take_back_ended(mesh)
    assert BOB not in load_revocations(tmp_path).subjects
    assert hops.refused is not None and set(hops.refused.subjects) == {ALICE}
    assert revoking.current_revocations(mesh).revoked.subjects == {ALICE: None}


def test_a_clock_that_jumps_ahead_ends_a_revocation_only_until_it_is_put_right(
    mesh: Mesh, hops: Hops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also over a start meanwhile, and another revocation; but what somebody took back stays taken back."""
    revoke(mesh, put(BOB, until=4_000_000_000), "root")
    at = [4_000_000_001.0]
    for module in ("meshward.apply.revoke", "meshward.apply.mesh"):
        monkeypatch.setattr(f"{module}.system_clock", lambda: at[0])
    take_back_ended(mesh)
    digest = mesh.running.revocations.digest
    take_back_ended(mesh)
    assert mesh.running.revocations.digest == digest and set(mesh.revoked.subjects) == {ALICE}
    revoke(mesh, put("corp:carol"), "root")
    at[0] = 3_900_000_000.0
    hops.fault = MeshwardError(codes.HOP_REFUSED, "it hangs")
    with pytest.raises(MeshwardError):
        take_back_ended(mesh)
    hops.fault = None
    settle.try_again(mesh, lambda: FAR)
    assert hops.refused is not None and BOB in hops.refused.subjects
    assert set(load_revocations(tmp_path).subjects) == {ALICE, BOB, "corp:carol"}
    revoke(mesh, lambda now: now.without("subject", BOB), "root")
    at[0] = 1_000.0
    take_back_ended(mesh)
    assert BOB not in mesh.revoked.subjects and mesh.running.revocations.ended == {}


def test_a_clock_that_goes_back_delays_no_try(mesh: Mesh, hops: Hops) -> None:
    hops.fault = MeshwardError(codes.HOP_REFUSED, "it hangs")
    with pytest.raises(MeshwardError):
        revoke(mesh, put(BOB), "root")
    settle.try_again(mesh, lambda: 4_000_000_000.0)
    assert mesh.running.unsettled is not None and mesh.running.unsettled.next_try > 4_000_000_000.0
    hops.fault = None
    settle.try_again(mesh, lambda: 1_000.0)
    assert mesh.running.unsettled is None


@pytest.fixture
def held(mesh: Mesh) -> Iterator[threading.Event]:
    """Somebody has the turn, until this is set: they wait for a guard that does not answer."""
    has, over = threading.Event(), threading.Event()

    def hold() -> None:
        with mesh.turn():
            has.set()
            over.wait()

    holding = threading.Thread(target=hold)
    holding.start()
    has.wait()
    yield over
    over.set()
    holding.join()


def test_who_is_revoked_waits_for_nobodys_guard(mesh: Mesh, hops: Hops, held: threading.Event) -> None:
    asking = threading.Thread(target=revoke, args=(mesh, put(BOB), "root"))
    asking.start()
    eventually(lambda: hops.refused is not None and BOB in hops.refused.subjects, what="the refusal")
    assert asking.is_alive() and BOB not in mesh.running.revocations.subjects, "it is not its turn yet"
    assert BOB in mesh.revoked.subjects, "whoever has the turn says so, too"
    held.set()
    asking.join()
    assert BOB in mesh.running.revocations.subjects and mesh.ahead() == Revoked()


def test_what_lets_somebody_in_waits_for_its_turn(
    mesh: Mesh, hops: Hops, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshward.apply.mesh.PATIENCE", 0.01)
    monkeypatch.setattr(revoking, "LONG", 0.01)
    for change in (lambda now: now.without("subject", ALICE), put(ALICE, until=FAR)):
        with pytest.raises(MeshwardError) as told:
            revoke(mesh, change, "root")
        assert told.value.code is codes.CONFLICT and hops.refused is None


def test_a_revocation_whose_turn_never_comes_is_none(
    mesh: Mesh, hops: Hops, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revoking, "LONG", 0.01)
    with pytest.raises(MeshwardError) as told:
        revoke(mesh, put(BOB), "root")
    assert told.value.code is codes.CONFLICT
    assert hops.refused is not None and set(hops.refused.subjects) == {ALICE} == set(mesh.revoked.subjects)


class Told:
    """The decision service and the guards, as far as a switch tells them something."""

    def __init__(self) -> None:
        self.said: list[tuple[str, set[str]]] = []

    def revoke(self, revoked: Revoked, _: object) -> None:
        self.said.append(("revoked", set(revoked.subjects)))

    def switch(self, live: object, following: object, *_: object, **__: object) -> None:
        self.said.append((f"{live} and {following}" if following else str(live), set()))

    def switch_all(self, *_: object) -> None:
        self.said.append(("guards", set()))


def test_both_names_are_refused_from_before_the_first_guard_until_after_the_last() -> None:
    told, machine = Told(), UNKNOWN
    switcher = Switcher(machine, UNKNOWN, UNKNOWN)
    switcher._decision_hop = switcher._guards = told  # type: ignore[assignment]
    guard: Any = {("m/v1", 0): UNKNOWN}
    names = {"old": {"okta:a"}, "new": {"okta:a", "sso:a"}, "older": {"okta:a", "corp:a"}}
    revoked = {live: Revoked(dict.fromkeys(subjects)) for live, subjects in names.items()}
    older, new = (Rendering(live, UNKNOWN, guard, revoked[live]) for live in ("older", "new"))  # type: ignore[arg-type]
    switcher.forward(Switch(older, new, {}, ()), lambda _: None)
    both = ("revoked", {"okta:a", "corp:a", "sso:a"})
    one = ("revoked", names["new"])
    assert told.said == [both, ("older and new", set()), ("guards", set()), ("new", set()), one]
    told.said.clear()
    assert switcher.back(Switch(older, new, {}, ())) == []
    assert told.said[-2:] == [("older", set()), ("revoked", names["older"])], "the way back ends so, too"
    told.said.clear()
    same = Rendering("new", UNKNOWN, {}, revoked["new"])  # type: ignore[arg-type]
    switcher.forward(Switch(same, same, {}, ()), lambda _: None)
    assert told.said == [("new", set())], "where nobody is renamed, nothing is told twice"
