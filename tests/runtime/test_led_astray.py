"""A guard joins a socket's group only where whoever could lead it elsewhere is who made the socket."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from meshward.kit.errors import MeshwardError
from meshward.policy.urls import UnixSocket
from meshward.runtime.place.identities import ProcessIdentity
from meshward.runtime.place.upstreams import admit_guard, leaders
from tests.targets.test_contract import limited

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root: a guard joins no group")
SERVER, GROUP, PRIVILEGED = 61910, 61911, 61912
GUARD = ProcessIdentity(61913, 61913)


def listening(path: Path, uid: int, gid: int) -> Path:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    path.chmod(0o660)
    os.chown(path, uid, gid)
    return path


@pytest.fixture
def theirs() -> Iterator[Path]:
    """The directory of a model server's user; beside it one of root's, with a socket that opens the machine."""
    with tempfile.TemporaryDirectory(prefix="mw") as made:
        theirs, run = Path(made) / "llm", Path(made) / "run"
        for directory in (theirs, run):
            directory.mkdir()
        for directory in (theirs, run, Path(made)):
            directory.chmod(0o711)
        os.chown(theirs, SERVER, GROUP)
        listening(run / "docker.sock", 0, PRIVILEGED)
        yield theirs


def admitted(path: Path) -> ProcessIdentity:
    plan = limited()
    (model,) = plan.models.values()
    (version,) = model.versions
    told = replace(version, url=UnixSocket(str(path)))
    plan = replace(plan, models={model.name: replace(model, versions=(told,))})
    return admit_guard(plan, f"{model.name}/{version.name}", GUARD, ours=False)


def test_a_socket_of_the_servers_own_is_joined(theirs: Path) -> None:
    assert admitted(listening(theirs / "a.sock", SERVER, GROUP)).groups == (GROUP,)


def test_a_socket_in_a_directory_of_roots_is_joined(theirs: Path) -> None:
    assert admitted(theirs.parent / "run" / "docker.sock").groups == (PRIVILEGED,)


@pytest.mark.parametrize("way", ["a link in its place", "a link on the way", "another name of it"])
def test_another_socket_that_the_server_leads_to_is_not(theirs: Path, way: str) -> None:
    other = theirs.parent / "run" / "docker.sock"
    path = theirs / "a.sock"
    if way == "a link in its place":
        path.symlink_to("../run/docker.sock")
        os.chown(path, SERVER, -1, follow_symlinks=False)
    elif way == "a link on the way":
        (theirs / "way").symlink_to(other.parent)
        path = theirs / "way" / other.name
    else:
        path.hardlink_to(other)
    with pytest.raises(MeshwardError, match=f"uid {SERVER} could lead it") as told:
        admitted(path)
    assert told.value.code.number == "MW3013"


def test_who_decides_where_a_path_leads(theirs: Path) -> None:
    shared = theirs.parent / "shared"
    shared.mkdir()
    shared.chmod(0o770)
    os.chown(shared, 0, GROUP)
    path = listening(shared / "a.sock", SERVER, GROUP)
    assert leaders(path) == (set(), {GROUP}) and admitted(path).groups == (GROUP,)
    with pytest.raises(MeshwardError):
        admitted(listening(shared / "b.sock", 0, PRIVILEGED))
    loop = theirs / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError):
        leaders(loop)
