"""Every command over a state whose files are all damaged: no traceback, and where it needs one a code and a remedy."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshward.cli.main import app
from meshward.demo import token as demo_token
from meshward.instance.state_files import FILES
from meshward.kit.exits import Exit
from tests.hostile.conftest import hostile_policy
from tests.stack import policies
from tests.state.files import state_files

NEEDS = re.compile(r"MW\d{4}.*is damaged", re.DOTALL)
READS: dict[str, tuple[str, ...]] = {
    "trace": ("X",),
    "tour": (),
    "explain": ("--as", "{}", "--model", "m1", "--action", "infer"),
    "plan": ("POLICY",),
    "apply": ("POLICY",),
    "history": (),
    "rollback": ("1",),
    "svid": ("scorer", "--out", "OUT"),
    "login": (),
    "whoami": (),
    "token": (),
    "logout": (),
    "status": (),
}
"""What reads files of STATE itself, with its arguments."""
ASKS: dict[str, tuple[str, ...]] = {
    "traffic": ("m1",),
    "revoke": ("--subject", "a:b"),
    "rotate": ("svids",),
    "down": (),
}
"""What only asks the instance, or stops it: it says that nothing runs, or stops what does."""
NO_STATE = {"init", "check", "render", "align"}
RUNS = {"up"}
"""Tried in `test_damaged_instance`: it sets up this process's logs."""


@pytest.fixture
def ruined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """STATE and logins with nothing but damaged files; a good policy beside them."""
    state = tmp_path / "s"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MESHWARD_EDGE", raising=False)
    for file in state_files().values():
        if not file.place.startswith("RUN"):
            directory = (
                state / file.place.removeprefix("STATE").lstrip("/")
                if file.place.startswith("STATE")
                else tmp_path / "home" / "meshward"
            )
            directory.mkdir(parents=True, exist_ok=True)
            path = directory / file.name.replace("NNNN", "0001")
            path.write_text("{")
            path.chmod(0o600)
    (state / "lock").touch()
    policies.write(tmp_path, hostile_policy(tmp_path / "jwks.json", 18443, {"m1/v1": tmp_path / "1.sock"}))
    yield state


def run(verb: str, arguments: tuple[str, ...], state: Path) -> int:
    places = {"POLICY": str(state.parent / "policy.yaml"), "OUT": str(state.parent / "out")}
    argv = [verb, *(places.get(each, each) for each in arguments), "--state", str(state)]
    with pytest.raises(SystemExit) as ended:
        app(argv, exit_on_error=False)
    return int(ended.value.code or 0)


@pytest.mark.parametrize("verb", READS)
def test_a_command_that_needs_one_names_it(
    ruined: Path, capfd: pytest.CaptureFixture[str], verb: str
) -> None:
    code = run(verb, READS[verb], ruined)
    said = "".join(capfd.readouterr())
    if verb == "status":
        assert code == Exit.FINDINGS and said.count("STATE: ") == len(FILES) + 1, said
        return
    if verb == "svid":
        assert code != 0 and re.search(r"MW\d{4}", said), said
        return
    if verb == "history":  # it lists whatever can be read
        assert code == Exit.FINDINGS and re.search(r"MW3011: .*0001\.json", said) and "Nothing" not in said, (
            said
        )
        return
    assert code in (Exit.FAULT, Exit.USAGE) and NEEDS.search(said), said
    assert len(said.strip().splitlines()) > 1, "and a remedy"


@pytest.mark.parametrize("verb", ASKS)
def test_a_command_that_needs_none_works(ruined: Path, capfd: pytest.CaptureFixture[str], verb: str) -> None:
    code = run(verb, ASKS[verb], ruined)
    said = "".join(capfd.readouterr())
    assert (code, "is damaged" in said) == (Exit.OK if verb == "down" else Exit.USAGE, False), said


def test_no_command_is_left_out() -> None:
    verbs = {name for name in app if not name.startswith("-")}
    assert verbs == {*READS, *ASKS, *NO_STATE, *RUNS}


def test_the_demos_token_command_names_it(
    ruined: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["token", "alice", "--state", str(ruined)])
    assert demo_token.main() == Exit.FAULT
    assert NEEDS.search(capfd.readouterr().err)


def test_as_a_user_types_it(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "instance.json").write_text("{\n")
    argv = [sys.executable, "-m", "meshward", "trace", "X", "--state", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == Exit.FAULT and "Traceback" not in done.stderr
    assert done.stderr.startswith("error MW3011: ") and "meshward up" in done.stderr
