"""Where logins are kept: for their owner alone, whole or not at all, one refresher at a time."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.login import store as keeping
from meshward.login.edge import find
from meshward.login.session import choose
from meshward.login.store import LoginStore, SavedLogin, own_store
from meshward.login.terminal import has_browser

LOGIN = SavedLogin(
    name="https://edge.test", root="/r.pem", issuer="https://sso.test", client="cli", token_endpoint="https://sso.test/t",
    revocation_endpoint=None, kind="access", expires_at=2_000_000_000, token=Secret("canary-token"),
    refresh=Secret("canary-refresh"),
)  # fmt: skip


class Refused(Exception):
    pass


class Ring:
    """As the package `keyring`: its three calls, its errors, a backend's priority."""

    def __init__(self, priority: float = 5, fails: bool = False) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.errors = SimpleNamespace(KeyringError=Refused)
        self.priority, self.fails = priority, fails

    def get_keyring(self) -> Ring:
        return self

    def set_password(self, service: str, name: str, text: str) -> None:
        if self.fails:
            raise Refused
        self.kept[service, name] = text

    def get_password(self, service: str, name: str) -> str | None:
        if self.fails:
            raise Refused
        return self.kept.get((service, name))

    def delete_password(self, service: str, name: str) -> None:
        if self.kept.pop((service, name), None) is None:
            raise Refused


def file_of(keep: LoginStore) -> Path:
    (found,) = keep._directory.glob("*.json")
    return found


def test_what_is_kept_comes_back(keep: LoginStore) -> None:
    assert keep.load(LOGIN.name) is None and keep.names() == []
    keep.save(LOGIN)
    keep.save(replace(LOGIN, name="https://edge.test:8443", refresh=None))
    assert keep.load(LOGIN.name) == LOGIN
    assert keep.names() == [LOGIN.name, "https://edge.test:8443"]
    keep.forget(LOGIN.name)
    assert keep.load(LOGIN.name) is None and len(keep.names()) == 1


def test_only_the_owner_can_read_it(keep: LoginStore) -> None:
    os.umask(before := os.umask(0))
    try:
        os.umask(0)
        keep.save(LOGIN)
        with keep.locked(LOGIN.name):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(keep._directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in keep._directory.iterdir()} == {0o600}


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o604])
def test_what_others_could_read_is_not_used(keep: LoginStore, mode: int) -> None:
    keep.save(LOGIN)
    file_of(keep).chmod(mode)
    with pytest.raises(MeshwardError, match="others can read") as caught:
        keep.load(LOGIN.name)
    assert caught.value.code.number == "MW2110"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "https://edge.test"}', "null"])
def test_what_is_damaged_is_named(keep: LoginStore, text: str) -> None:
    keep.save(LOGIN)
    file_of(keep).write_text(text)
    for reading in (lambda: keep.load(LOGIN.name), keep.names):
        with pytest.raises(MeshwardError) as caught:
            reading()
        assert caught.value.code.number == "MW2110" and str(file_of(keep)) in caught.value.message
    keep.save(LOGIN)
    assert keep.load(LOGIN.name) == LOGIN


def test_another_edges_damaged_login_hinders_only_who_names_none(keep: LoginStore, tmp_path: Path) -> None:
    other = replace(LOGIN, name="https://other.test")
    keep.save(other)
    file_of(keep).write_text("{")
    keep.save(LOGIN)
    none = tmp_path / "none"
    assert choose(keep, LOGIN.name, none, {}) == LOGIN.name
    assert choose(keep, None, none, {"MESHWARD_EDGE": LOGIN.name}) == LOGIN.name
    for named in (other.name, None):
        with pytest.raises(MeshwardError, match="is damaged"):
            keep.load(choose(keep, named, none, {}))


def test_a_login_does_not_print_its_tokens() -> None:
    assert "canary" not in repr(LOGIN) + str(LOGIN)


def test_a_keyring_has_the_tokens_and_the_file_has_none(tmp_path: Path) -> None:
    ring = Ring()
    keep = LoginStore(tmp_path / "keep", ring)
    keep.save(LOGIN)
    assert "canary" not in file_of(keep).read_text() and len(ring.kept) == 1
    assert keep.load(LOGIN.name) == LOGIN
    with pytest.raises(MeshwardError, match="keyring that is not there"):
        LoginStore(tmp_path / "keep").load(LOGIN.name)
    ring.fails = True
    with pytest.raises(MeshwardError, match="does not open"):
        keep.load(LOGIN.name)
    ring.fails = False
    keep.forget(LOGIN.name)
    assert ring.kept == {} and keep.load(LOGIN.name) is None


def test_a_keyring_that_refuses_leaves_the_file(tmp_path: Path) -> None:
    keep = LoginStore(tmp_path / "keep", Ring(fails=True))
    keep.save(LOGIN)
    assert keep.load(LOGIN.name) == LOGIN and "canary-token" in file_of(keep).read_text()


@pytest.mark.parametrize(("priority", "used"), [(5, True), (1, True), (0.5, False), (0, False), (-1, False)])
def test_only_a_keyring_that_protects_is_used(
    monkeypatch: pytest.MonkeyPatch, priority: float, used: bool
) -> None:
    ring = Ring(priority)
    monkeypatch.setitem(sys.modules, "keyring", ring)
    monkeypatch.setitem(sys.modules, "keyring.errors", ring.errors)
    assert (keeping.usable_keyring() is ring) is used


def test_without_the_package_there_is_no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert keeping.usable_keyring() is None


def test_the_directory_is_the_users_state(tmp_path: Path) -> None:
    assert own_store({"XDG_STATE_HOME": str(tmp_path)})._directory == tmp_path / "meshward"
    for ignored in ("", "relative"):
        home = {"HOME": str(tmp_path), "XDG_STATE_HOME": ignored}
        assert own_store(home)._directory == tmp_path / ".local" / "state" / "meshward"


def test_the_lock_holds_between_processes_and_ends_with_its_holder(keep: LoginStore) -> None:
    program = (
        "import sys; from pathlib import Path; from meshward.login.store import LoginStore\n"
        "with LoginStore(Path(sys.argv[1])).locked(sys.argv[2]): print('held', flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", program, str(keep._directory), LOGIN.name]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout and first.stdout.readline() == "held\n"
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as second:
            import select

            assert second.stdout
            assert select.select([second.stdout], [], [], 0.5)[0] == []
            first.kill()
            assert second.stdout.readline() == "held\n"
            second.kill()


# --- which login is meant


def instance(directory: Path, edge: str) -> Path:
    facts = {
        "edge_url": edge, "root_certificate": str(directory / "root.pem"), "run": "/r", "trust_domain": "t",
        "revision": 1, "guards": [], "idp_url": None,
    }  # fmt: skip
    directory.mkdir()
    (directory / "instance.json").write_text(json.dumps(facts))
    return directory


def test_which_edge(tmp_path: Path) -> None:
    state, none = instance(tmp_path / "s", "https://localhost:1"), tmp_path / "none"
    env = {"MESHWARD_EDGE": "https://env.test"}
    assert find(None, none, None, {}) is None
    local = find(None, state, None, {})
    assert local and (local.origin, local.root) == ("https://localhost:1", tmp_path / "s" / "root.pem")
    named = find("https://named.test/", state, None, env)
    assert named and (named.origin, named.root) == ("https://named.test", None)
    by_env = find(None, state, Path("ca.pem"), env)
    assert by_env and (by_env.origin, by_env.root) == ("https://env.test", Path("ca.pem").resolve())


def test_whose_login(keep: LoginStore, tmp_path: Path) -> None:
    state, none = instance(tmp_path / "s", "https://localhost:1"), tmp_path / "none"
    with pytest.raises(MeshwardError, match="nobody is signed in here"):
        choose(keep, None, none, {})
    assert choose(keep, None, state, {}) == "https://localhost:1"
    keep.save(LOGIN)
    assert choose(keep, None, none, {}) == LOGIN.name
    assert choose(keep, None, state, {}) == LOGIN.name  # not signed in at the instance: the only one there is
    keep.save(replace(LOGIN, name="https://localhost:1"))
    assert choose(keep, None, state, {}) == "https://localhost:1"
    assert choose(keep, None, state, {"MESHWARD_EDGE": "https://env.test"}) == "https://env.test"
    assert choose(keep, "https://Edge.test/", state, {}) == LOGIN.name
    with pytest.raises(MeshwardError, match="there are logins for") as caught:
        choose(keep, None, none, {})
    assert "--edge" in caught.value.remedy


@pytest.mark.parametrize(
    ("env", "platform", "there"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "w"}, "linux", True),
        ({}, "linux", False),
        ({"DISPLAY": ":10", "SSH_CONNECTION": "x"}, "linux", False),
        ({}, "darwin", True),
        ({"SSH_TTY": "/dev/x"}, "darwin", False),
    ],
)
def test_a_browser_opens_where_the_person_sits(env: dict[str, str], platform: str, there: bool) -> None:
    assert has_browser(env, platform) is there
