"""A hop that does not take its part: every hop goes back, and whoever applied is told which one it was."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from meshward.apply.revisions import REFUSED, Revisions
from meshward.apply.unsettled import load_unsettled
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from tests.apply.test_live_changes import load, statuses, with_grant
from tests.apply.test_watch_and_start import start
from tests.hostile.conftest import write_hostile
from tests.stack import patient
from tests.stack.disk import small_disk
from tests.stack.impostor import liar
from tests.stack.inside import Inside, knock
from tests.stack.live import apply, policy_of
from tests.stack.running import Stack, eventually, running


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile, patient.__name__) as started:
        yield started


@pytest.fixture
def text(stack: Stack) -> dict[str, Any]:
    first: dict[str, Any] = json.loads(stack.policy.read_text())
    apply(stack, policy_of(first), allow=["widening"])
    return first


def moved(text: dict[str, Any]) -> dict[str, Any]:
    """Changes both guards, and who may do what."""
    changed = with_grant(text, "sales", ["infer"])
    changed["servers"]["twofaced"]["infer"].append("GET /v1/more")
    return changed


def refused(stack: Stack, text: dict[str, Any]) -> MeshwardError:
    with pytest.raises(MeshwardError) as told:
        apply(stack, policy_of(text), allow=["widening"])
    return told.value


def runs_the_old(stack: Stack) -> None:
    """Both hops answer as before: the edge to people, the guards to a token from inside."""
    alice, sam = stack.issuer.token("alice", ["users"]), stack.issuer.token("sam", ["sales"])
    assert statuses(stack, alice, "/m/m1/v1/public", "/m/m2/v1/public", "/m/m1/v1/more") == [200, 200, 404]
    assert statuses(stack, sam, "/m/m1/v1/public") == [403]
    inside, root = Inside(stack), str(stack.state / "root.pem")
    for model in ("m1", "m2"):
        reply = knock(
            stack.guard(model), root, "GET", "/v1/more", svid=inside.svid(), txn=inside.txn(f"{model}.infer")
        )
        assert reply is not None and reply.status == 403, model


@contextmanager
def shut(directory: Path) -> Iterator[None]:
    """Only we can read what is in there."""
    mode, gid = directory.stat().st_mode & 0o7777, directory.stat().st_gid
    directory.chmod(0)
    try:
        yield
    finally:
        os.chown(directory, -1, gid)
        directory.chmod(mode)


@pytest.mark.skipif(
    os.geteuid() != 0, reason="every part runs as one user: no file can be kept from a guard alone"
)
def test_a_guard_that_cannot_read_its_rules(stack: Stack, text: dict[str, Any]) -> None:
    alice = stack.issuer.token("alice", ["users"])
    with load(stack, ("/m/m1/v1/public", alice), ("/m/m2/v1/public", alice)) as seen:
        with shut(stack.run / "given" / "guards" / stack.guard("m2").slot / "xds"):
            error = refused(stack, moved(text))
        assert error.exit_code is Exit.HOP_REFUSED and "guard of m2/v1" in error.message, error
        runs_the_old(stack)
    assert set(seen) == {200}, sorted(set(seen))
    last = Revisions(stack.state).all()[-1]
    assert last.status == REFUSED and "m2/v1" in last.why
    apply(stack, policy_of(moved(text)))  # mended, it is taken
    assert statuses(stack, alice, "/m/m1/v1/more") == [200]


@contextmanager
def left_narrowed(stack: Stack, text: dict[str, Any]) -> Iterator[None]:
    """All guards say that they run nothing: a change that takes `boss` something has failed. Inside, they go on so."""
    changed = moved(text)
    next(grant for grant in changed["grants"] if grant["id"] == "rule")["actions"] = ["manage"]
    one, other = (stack.run / "guards" / stack.guard(name).slot / "admin.sock" for name in ("m1", "m2"))
    with liar(one), liar(other):
        error = refused(stack, changed)
        assert (
            error.exit_code is Exit.HOP_REFUSED and error.code.number == "MW3022" and "m2/v1" in error.message
        )
        yield


def settled(stack: Stack, by: str) -> bool:
    """Whether it is written down that it ended."""
    told = json.loads(stack.command("history", "--changes", "--json").stdout)["changes"]
    return any(each["did"] == "settle" and each["facts"]["by"] == by for each in told)


def test_a_guard_that_says_it_runs_neither(stack: Stack, text: dict[str, Any]) -> None:
    """Nobody can tell what it will do, so the edge permits only what both revisions permit.

    That ends by itself when the guard says otherwise, and whoever looks is told meanwhile.
    """
    boss, sam = stack.issuer.token("boss", ["bosses"]), stack.issuer.token("sam", ["sales"])
    assert statuses(stack, boss, "/m/m1/v1/public") == [200]
    with left_narrowed(stack, text):
        alice = stack.issuer.token("alice", ["users"])
        assert statuses(stack, sam, "/m/m1/v1/public") == [403]
        assert statuses(stack, alice, "/m/m1/v1/public") == [200], "what both permit goes on"
        assert statuses(stack, boss, "/m/m1/v1/public") == [403], "what the new one takes is closed first"
        told = stack.command("status")
        assert told.returncode == Exit.FINDINGS and "UNSETTLED since " in told.stdout
        assert "m2/v1" in (line := re.findall("UNSETTLED.*", told.stdout)[0]) and "again in" in line
        eventually(lambda: (found := load_unsettled(stack.state)) and found.tries > 0, what="a try")
        assert statuses(stack, boss, "/m/m1/v1/public") == [403], "and none of them opened it"
    eventually(lambda: statuses(stack, boss, "/m/m1/v1/public") == [200], what="the end of it")
    eventually(lambda: settled(stack, "trying again"), what="its record")
    assert "UNSETTLED" not in stack.command("status").stdout
    runs_the_old(stack)


def test_a_decision_service_that_is_gone(stack: Stack, text: dict[str, Any]) -> None:
    decide = stack.processes()["decide"]
    os.kill(decide, signal.SIGSTOP)
    try:
        error = refused(stack, with_grant(text, "sales", ["infer"]))
        assert error.exit_code is Exit.HOP_REFUSED and "decision service" in error.message
    finally:
        os.kill(decide, signal.SIGCONT)
    apply(stack, policy_of(text))
    runs_the_old(stack)


@contextmanager
def ending(place: str) -> Iterator[None]:
    """Whatever process is started with a path below `place` is killed at once."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    if place.encode() in process.joinpath("cmdline").read_bytes():
                        os.kill(int(process.name), signal.SIGKILL)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()


def test_a_guard_that_cannot_start(stack: Stack, text: dict[str, Any]) -> None:
    wider = copy.deepcopy(text)
    wider["models"]["m3"] = {"versions": {"v1": {"server": "twofaced", "url": "unix:/nowhere/3.sock"}}}
    with ending(f"{stack.run}/given/guards/02/"):
        error = refused(stack, wider)
    assert error.exit_code is Exit.HOP_REFUSED, error
    runs_the_old(stack)
    assert [name for name in stack.processes() if "m3" in name] == []


def test_nginx_that_refuses_its_program(stack: Stack, text: dict[str, Any]) -> None:
    """A port that nginx's user may not have: `nginx -t` says so, and nothing was touched."""
    before = (stack.run / "given" / "edge" / "nginx.conf").read_bytes()
    changed = {**text, "edge": {**text["edge"], "listen": f"203.0.113.7:{stack.port}"}}
    error = refused(stack, changed)
    assert "203.0.113.7" in error.message, error
    assert (stack.run / "given" / "edge" / "nginx.conf").read_bytes() == before
    runs_the_old(stack)


@pytest.mark.parametrize("cut", [1, 40, 400, -1])
def test_a_half_written_policy(stack: Stack, text: dict[str, Any], cut: int, tmp_path: Path) -> None:
    half = tmp_path / "half.json"
    half.write_text(json.dumps(moved(text))[:cut])
    done = stack.command("apply", str(half))
    assert done.returncode == Exit.USAGE and "half.json" in done.stderr, done
    runs_the_old(stack)


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk is a small tmpfs, which only root can mount")
def test_a_full_disk_under_state(stack: Stack, text: dict[str, Any], tmp_path: Path) -> None:
    """STATE/revisions on a disk of its own that is full: nothing can be recorded, so nothing is changed."""
    place = stack.state / "revisions"
    with small_disk(place, "16k", 0o700):
        (place / "ballast").write_bytes(b"x" * 12_000)
        error = refused(stack, with_grant(text, "sales", ["infer"]))
        assert error.exit_code is Exit.HOP_REFUSED and "No space left" in error.message, error
        runs_the_old(stack)
    apply(stack, policy_of(with_grant(text, "sales", ["infer"])))


def test_a_start_settles_what_was_left(stack: Stack, text: dict[str, Any]) -> None:
    """Last in this module: the instance is another one afterwards."""
    boss = stack.issuer.token("boss", ["bosses"])
    with left_narrowed(stack, text):
        stack.process.kill()
        stack.process.wait(60)
        assert load_unsettled(stack.state) is not None, "a restart must not forget it"
    start(stack)
    assert statuses(stack, boss, "/m/m1/v1/public") == [200]
    eventually(lambda: settled(stack, "a start"), what="its record")
    assert load_unsettled(stack.state) is None
    runs_the_old(stack)
