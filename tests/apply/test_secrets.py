"""Where a server's key comes from, and what is never taken for one. No error says a part of a key."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from meshward.apply.credentials import secrets
from meshward.apply.credentials.ages import credential_ages
from meshward.apply.credentials.keyring import Keyring
from meshward.apply.credentials.secrets import ensure_key_file, key_file, read_secret
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.plan.ir import Credential
from tests.cost import bytes_read

SECRET = "hf_s3cretOfTheServer"


def kept(path: Path, content: bytes, mode: int = 0o600) -> Credential:
    path.write_bytes(content)
    path.chmod(mode)
    return Credential("file", (str(path),))


def printing(code: str) -> Credential:
    return Credential("command", (sys.executable, "-c", code))


def refusal(credential: Credential, state: Path) -> MeshwardError:
    with pytest.raises(MeshwardError) as raised:
        read_secret("hf", credential, state)
    error = raised.value
    assert (error.code.number, error.exit_code) == ("MW3060", Exit.UNSAFE)
    assert "`hf`" in error.message and error.remedy
    assert SECRET not in error.message + error.remedy + repr(error.__context__)
    return error


@pytest.mark.parametrize("content", [SECRET, f"{SECRET}\n", f"{SECRET}\r\n"])
def test_a_file_holds_the_secret_and_maybe_a_line_break(tmp_path: Path, content: str) -> None:
    found = read_secret("hf", kept(tmp_path / "key", content.encode()), tmp_path)
    assert found.secret.reveal() == SECRET and SECRET not in repr(found)


UNFIT = {
    "empty": b"",
    "a line break alone": b"\n",
    "two lines": f"{SECRET}\n{SECRET}".encode(),
    "a line break in front": f"\n{SECRET}".encode(),
    "another header": f"{SECRET}\r\nX-Admin: 1".encode(),
    "a space in front": f" {SECRET}".encode(),
    "a space behind": f"{SECRET} ".encode(),
    "a tab": f"{SECRET}\t1".encode(),
    "NUL": f"{SECRET}\0".encode(),
    "not ASCII": f"{SECRET}\u00e9".encode(),
    "a byte order mark": f"\ufeff{SECRET}".encode(),
    "too long": b"k" * 8193,
    "far too long": b"k" * 100_000,
}


@pytest.mark.parametrize("content", UNFIT.values(), ids=UNFIT)
def test_what_no_header_should_carry_is_refused(tmp_path: Path, content: bytes) -> None:
    refusal(kept(tmp_path / "key", content), tmp_path)


def test_the_longest_and_the_shortest_are_taken(tmp_path: Path) -> None:
    for content in (b"k" * 8192 + b"\n", b"k"):
        assert (
            read_secret("hf", kept(tmp_path / "key", content), tmp_path).secret.reveal()
            == content.decode().strip()
        )


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o660, 0o666])
def test_a_file_that_others_can_use_is_refused_with_a_remedy(tmp_path: Path, mode: int) -> None:
    error = refusal(kept(tmp_path / "key", SECRET.encode(), mode), tmp_path)
    assert f"{mode:04o}" in error.message and f"chmod 600 {tmp_path / 'key'}" in error.remedy


def test_the_groups_of_a_service_may_read_it(tmp_path: Path) -> None:
    assert (
        read_secret("hf", kept(tmp_path / "key", SECRET.encode(), 0o440), tmp_path).secret.reveal() == SECRET
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    credential = kept(tmp_path / "key", SECRET.encode())
    os.chown(tmp_path / "key", 65534, -1)
    assert "uid 65534" in refusal(credential, tmp_path).message


def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    def refused() -> None:
        for path in (tmp_path / "pipe", tmp_path, tmp_path / "none", Path("/dev/zero")):
            refusal(Credential("file", (str(path),)), tmp_path)
        refusal(Credential("file", ("key",)), tmp_path)

    assert bytes_read(refused) < 1024, "none of them is read: a pipe would hang, a device never ends"


def test_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert read_secret("hf", Credential("env", ("HF_TOKEN",)), tmp_path).secret.reveal() == SECRET
    monkeypatch.setenv("HF_TOKEN", f"{SECRET}\n")  # nobody's editor puts one here
    refusal(Credential("env", ("HF_TOKEN",)), tmp_path)
    monkeypatch.delenv("HF_TOKEN")
    assert "HF_TOKEN" in refusal(Credential("env", ("HF_TOKEN",)), tmp_path).message


def test_a_command_gets_nothing_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OTHER_SECRET", "x")
    names, files = "'-'.join(sorted(os.environ))", "len(os.listdir('/proc/self/fd'))"
    code = f"import os, sys; print({names}, len(sys.stdin.read()), {files})"
    found = read_secret("hf", printing(code), tmp_path).secret.reveal()
    assert found.split() == ["LANG-PATH", "0", "4"]  # 0, 1, 2 and the listing itself


def test_a_command_is_no_shells_business(tmp_path: Path) -> None:
    found = read_secret("hf", Credential("command", ("echo", "$(id)", ";", "id")), tmp_path)
    assert found.secret.reveal() == "$(id) ; id"


FAILING = {
    "exits 3": f"import sys; print('{SECRET}'); print('{SECRET}', file=sys.stderr); sys.exit(3)",
    "says nothing": "",
    "two lines": f"print('{SECRET}'); print('{SECRET}')",
    "floods": "while True: print('k' * 4096)",
    "is killed": f"import os; print('{SECRET}', flush=True); os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("code", FAILING.values(), ids=FAILING)
def test_a_command_that_fails_is_refused_without_its_words(tmp_path: Path, code: str) -> None:
    refusal(printing(code), tmp_path)


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    assert "no-such-program" in refusal(Credential("command", ("no-such-program", SECRET)), tmp_path).message


@pytest.mark.parametrize("escape", ["", "time.sleep(90) if os.fork() else os.setsid(); "])
def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, escape: str) -> None:
    """Also one whose child leaves its group and keeps the pipe open."""
    file = tmp_path / "pid"
    code = f"import os, time; {escape}open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(90)"
    for patience in (0.5, 5.0, 50.0):  # a busy machine may need longer to begin it
        monkeypatch.setattr(secrets, "COMMAND_TIMEOUT", patience)
        assert "took longer" in refusal(printing(code), tmp_path).message
        if pid := file.read_text() if file.exists() else "":
            break
    assert pid
    lives = Path(f"/proc/{pid}").exists()
    if escape:
        assert lives, "nobody waited for it"
        os.kill(int(pid), signal.SIGKILL)
    else:
        assert not lives


def test_a_generated_key_is_made_once_for_each_version_and_for_its_owner_alone(tmp_path: Path) -> None:
    one = read_secret("m/v1", Credential("generated", ("m", "v1")), tmp_path).secret.reveal()
    assert read_secret("m/v1", Credential("generated", ("m", "v1")), tmp_path).secret.reveal() == one
    others = {
        ensure_key_file(tmp_path, *names).read_text() for names in (("m", "v2"), ("a.b", "c"), ("a", "b.c"))
    }
    assert len({*others, f"{one}\n"}) == 4 and len(one) >= 43
    path = key_file(tmp_path, "m", "v1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(p.stat().st_mode) for p in (path.parent, path.parent.parent)} == {0o700}


def test_what_is_written_down_for_status_holds_no_key(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    keyring.hold("hf", kept(tmp_path / "key", SECRET.encode()))
    (age,) = credential_ages(tmp_path)
    assert (age.name, age.source, age.problem) == ("hf", "file", "")
    assert SECRET not in (tmp_path / "credentials.json").read_text() + repr(keyring.__dict__)
