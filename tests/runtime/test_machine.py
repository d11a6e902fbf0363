"""Who each part runs as, on every kind of start, and that what is said of a server is true of that user."""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.demo.stage import demo_extras, demo_policy
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.parse import parse
from meshward.policy.tree import Source
from meshward.policy.urls import UnixSocket
from meshward.runtime import machine as machines
from meshward.runtime.machine import Machine, machine
from meshward.runtime.place import identities
from meshward.runtime.place.directories import Run, State, open_state
from meshward.runtime.place.identities import ProcessIdentity, can_execute_as
from meshward.runtime.place.upstreams import reach

CLOSED = "other users may not pass `/home/ann` (mode 0700, of uid 0)"
ENVOY: Any = SimpleNamespace(envoy=Path("/opt/envoy"))


@dataclass
class Start:
    """The demo's start by whoever `uid` is, where other users find `hindrance` in the way of our Python."""

    uid: int
    changes_uids: bool
    hindrance: str = ""

    def machine(self, state: State, patch: pytest.MonkeyPatch, *, root_parts: bool = False) -> Machine:
        patch.setattr(os, "geteuid", lambda: self.uid)
        patch.setattr(os, "getegid", lambda: self.uid)
        patch.setattr(identities, "can_change_uid", lambda: self.changes_uids)
        patch.setattr(machines, "hindrance", lambda *_: self.hindrance)
        run = Run(Path("/run/mw"))
        extra = demo_extras(state.path, run, 8480, sealed=True)
        return machine(state, run, ENVOY, extra, root_parts=root_parts)

    def plan(self, place: Machine) -> Plan:
        return resolve(
            parse([Source("policy.yaml", demo_policy(place.run, 8443, 8480, sealed=True).encode())]).policy
        )

    def described(self, place: Machine) -> dict[str, str]:
        """What is said of each version, by reach."""
        plan = self.plan(place)
        said = {}
        for slot, key in enumerate(("minilm/v1", "minilm/v2")):
            place.guard(plan, key, slot)
            guarded = place.describe_guard(plan, key, slot)
            said[guarded.reach] = guarded.sentence
        return said


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(tmp_path / "s")


def test_with_users_of_their_own_servers_are_isolated(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Start(0, changes_uids=True)
    place = start.machine(state, monkeypatch)
    assert start.described(place) == {
        "socket": "on a unix socket that its guard alone may open",
        "sealed": "in a namespace of its own, with its guard as the only door",
    }
    assert 0 not in {who.uid for name, who in place.known.items() if name != "collector"}
    assert place.sentence == "each part runs as its own user"


@pytest.mark.parametrize("start", [Start(0, True, CLOSED), Start(0, False)], ids=["closed", "incapable"])
def test_root_that_cannot_give_users_away_refuses(
    start: Start, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MeshwardError) as caught:
        start.machine(state, monkeypatch)
    assert (caught.value.code.number, caught.value.exit_code) == ("MW3017", Exit.UNSAFE)
    assert "--allow-root-parts" in caught.value.remedy
    assert (CLOSED if start.changes_uids else "CAP_SETUID") in caught.value.message


@pytest.mark.parametrize("start", [Start(0, True, CLOSED), Start(0, False)], ids=["closed", "incapable"])
def test_what_runs_as_root_is_never_called_isolated(
    start: Start, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = start.machine(state, monkeypatch, root_parts=True)
    (said,) = start.described(place).items()
    assert said == (
        "root",
        "AS ROOT: nothing isolates it from this machine, nor this machine's root processes from it",
    )
    assert place.sentence.startswith("--allow-root-parts: AS ROOT, and not isolated: ")
    assert place.decide.uid == 0 and (place.edge.uid == 0) == (not start.changes_uids)


def test_a_users_own_processes_are_not_kept_out_and_it_says_so(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Start(1000, changes_uids=False, hindrance="no matter: nobody else is to run it")
    said = start.described(start.machine(state, monkeypatch))
    assert said.keys() == {"user"}
    assert "any process of uid 1000, as which all parts run, can reach it past its guard" in said["user"]


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root may try as another user")
@pytest.mark.parametrize("folder", [0o711, 0o750, 0o700])
def test_who_is_said_to_open_a_socket_opens_it_and_nobody_else(folder: int, short_dir: Path) -> None:
    """Every mode, tried by its owner, its group and a stranger."""
    place = short_dir / f"{folder:o}"
    place.mkdir()
    path = place / "model.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        os.chown(place, 61001, 61002)
        os.chown(path, 61001, 61002)
        place.chmod(folder)
        for mode in (0o600, 0o660, 0o602, 0o666, 0o606):
            path.chmod(mode)
            found = reach(UnixSocket(str(path)), ours=False)
            opens = {
                uid: _opens(ProcessIdentity(uid, gid), path) for uid, gid in product((61001, 61009), (61009,))
            }
            opens[61002] = _opens(ProcessIdentity(61003, 61002), path)
            if found.how == "socket":
                assert found.openers == "root, uid 61001 and group 61002", (oct(mode), found)
                assert not opens[61009], (oct(mode), "a stranger opens what is called closed")
            else:
                assert mode & stat.S_IWOTH, (oct(mode), "open, and nothing of it is for all")


def test_an_access_list_is_not_taken_for_a_mode(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = short_dir / "acl.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o660)
        assert reach(UnixSocket(str(path)), ours=False).how == "socket"
        monkeypatch.setattr(os, "getxattr", lambda *_: b"user:61009:rw")
        assert reach(UnixSocket(str(path)), ours=False).how == "open"


def _opens(who: ProcessIdentity, path: Path) -> bool:
    return can_execute_as(who, ("/usr/bin/test", "-w", str(path)))
