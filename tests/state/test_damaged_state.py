"""Each file of state, damaged in each way: one coded error that names it and a remedy, and tells nothing of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from meshward.apply.counters import COUNTERS
from meshward.instance.state_files import FILES as LOOKED_AT
from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import StateFile, StateFileDamaged, unchanged
from meshward.runtime.place.identities import NUMBERS
from tests.state.files import state_files, table

ROOT = Path(__file__).parents[2]
CANARY = "canary-of-a-secret"
BYTES: dict[str, bytes] = {
    "half an object": b"{",
    "empty": b"",
    "white space": b" \n",
    "not UTF-8": b'{"%s": "\xff\xfe"}' % CANARY.encode(),
    "another coding": json.dumps({CANARY: 1}).encode("utf-16"),
    "a NUL": b'{"%s": 1}\0' % CANARY.encode(),
    "NULs": b"\0" * 4096,
    "a name twice": b'{"format": 1, "%s": 1, "%s": 2}' % (CANARY.encode(), CANARY.encode()),
    "a text": json.dumps(CANARY).encode(),
    "a list": json.dumps([CANARY]).encode(),
    "null": b"null",
    "nothing in it": b'{"format": 1}',
    "what does not belong there": json.dumps({"format": 1, CANARY: CANARY}).encode(),
    "a format that is none": b'{"format": -1}',
    "deep": b"[" * 100_000,
    "a long number": b"1" * 5000,
    "not a number": b'{"format": 1, "%s": NaN}' % CANARY.encode(),
    "a lone surrogate": b'{"format": 1, "%s": "\\ud800"}' % CANARY.encode(),
}
FILES = state_files()


def _directory(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    path.with_name("elsewhere").write_text("{}")
    path.symlink_to("elsewhere")


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


ODD: dict[str, Callable[[Path], None]] = {
    "a directory": _directory, "a link": _link, "a pipe": _fifo, "a link to a device": _endless
}  # fmt: skip


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest) -> StateFile[Any]:
    return FILES[request.param]


def refusal(file: StateFile[Any], directory: Path) -> MeshwardError:
    with pytest.raises(MeshwardError) as told:
        file.read(directory)
    error = told.value
    assert str(directory / file.name) in error.message and error.remedy
    assert CANARY not in error.message + error.remedy, "it tells what is in it"
    assert (error.__cause__ is None and error.__suppress_context__) or error.__context__ is None, (
        "and so does this"
    )
    return error


def put(directory: Path, file: StateFile[Any], data: bytes) -> None:
    path = directory / file.name
    path.write_bytes(data)
    path.chmod(0o600)


@pytest.mark.parametrize("kind", BYTES)
def test_damage_is_one_error(tmp_path: Path, file: StateFile[Any], kind: str) -> None:
    put(tmp_path, file, BYTES[kind])
    error = refusal(file, tmp_path)
    assert isinstance(error, StateFileDamaged) and (error.code.number, error.remedy) == (
        file.code.number,
        file.remedy,
    )


@pytest.mark.parametrize("name", [name for name, file in FILES.items() if unchanged in file.migrations])
def test_an_object_without_what_it_must_hold_is_damaged(tmp_path: Path, name: str) -> None:
    """Also of format 0: else a `ca.json` that lost all would be a new authority, in silence.

    Not those that were a table at format 0, which may be empty.
    """
    file = FILES[name]
    put(tmp_path, file, b"{}")
    assert "less, than belongs there" in (told := refusal(file, tmp_path).message) or "is missing" in told


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_is_not_read(tmp_path: Path, file: StateFile[Any], kind: str) -> None:
    ODD[kind](tmp_path / file.name)
    assert isinstance(refusal(file, tmp_path), StateFileDamaged)


def test_each_field_has_a_type(tmp_path: Path, file: StateFile[Any]) -> None:
    """A list of a list of a name is what no field of ours is."""
    for name in file.holds.__dataclass_fields__:
        put(tmp_path, file, json.dumps({"format": file.format, name: [[[CANARY]]]}).encode())
        assert isinstance(refusal(file, tmp_path), StateFileDamaged), name


def test_a_long_file_is_not_read_whole(tmp_path: Path, file: StateFile[Any]) -> None:
    put(tmp_path, file, b" " * 10_000_000)
    refusal(file, tmp_path)
    os.truncate(tmp_path / file.name, file.limit + 1)
    assert f"{file.limit} bytes" in refusal(file, tmp_path).message


def test_a_newer_format_is_refused_by_name(tmp_path: Path, file: StateFile[Any]) -> None:
    put(tmp_path, file, json.dumps({"format": file.format + 1, CANARY: 1}).encode())
    error = refusal(file, tmp_path)
    assert (
        error.code.number == "MW3015"
        and "newer meshward" in error.message
        and "Run that release" in error.remedy
    )
    assert not isinstance(error, StateFileDamaged), "a start must not write over it"


def test_what_may_not_be_read_is_named(tmp_path: Path, file: StateFile[Any]) -> None:
    put(tmp_path, file, b"{}")
    tmp_path.chmod(0)
    with _as_somebody():
        error = refusal(file, tmp_path)
    tmp_path.chmod(0o700)
    assert error.code.number == "MW3016" and "Permission denied" in error.message


@contextmanager
def _as_somebody() -> Iterator[None]:
    """As one whom modes keep out: root they do not."""
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(61183)
    try:
        yield
    finally:
        os.seteuid(uid)


ALTERED: dict[str, tuple[StateFile[Any], dict[str, Any]]] = {
    "two guards in one slot": (COUNTERS, {"slots": {"a/v1": 3, "b/v1": 3}}),
    "a slot below none": (COUNTERS, {"slots": {"a/v1": -1}}),
    "a number that counts backwards": (COUNTERS, {"epoch": -1}),
    "two parts with one user": (NUMBERS, {"numbers": {"guard-00-a-v1": 62000, "decide": 62000}}),
}


@pytest.mark.parametrize("how", ALTERED)
def test_what_would_let_two_be_one_is_damaged(tmp_path: Path, how: str) -> None:
    """The right types are not enough where others rely on what is in it."""
    file, harm = ALTERED[how]
    good = COUNTERS.holds() if file is COUNTERS else NUMBERS.holds({"decide": 62000})
    put(tmp_path, file, file.encode(good))
    assert file.read(tmp_path) == good
    put(tmp_path, file, json.dumps({**json.loads(file.encode(good)), **harm}).encode())
    refusal(file, tmp_path)


def test_docs_say_what_becomes_of_each_file_that_is_gone_or_older() -> None:
    page = (ROOT / "docs" / "state.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \|[^|\n]+\|[^|\n]+\|$", page, re.MULTILINE)
    assert sorted(rows) == sorted(FILES)


def test_absent_is_no_damage(tmp_path: Path, file: StateFile[Any]) -> None:
    assert file.read(tmp_path) is None and file.read(tmp_path / "nowhere") is None


def test_every_file_says_what_it_is() -> None:
    for file in FILES.values():
        assert file.what and file.remedy.endswith(".") and file.format >= 1
    assert table() in (ROOT / "docs" / "state.md").read_text(), "`python -m tests.state.files` prints it"


def test_a_start_and_status_look_at_every_file_of_a_state() -> None:
    """Those of the demo are looked at by the demo, a revision's by `Revisions`."""
    of_state = {name for name in FILES if name.startswith("STATE/")}
    elsewhere = {"STATE/demo/accounts.json", "STATE/demo/idp-keys.json", "STATE/revisions/NNNN.json"}
    assert {f"{file.place}/{file.name}" for file in LOOKED_AT} == of_state - elsewhere


def test_nobody_else_writes_json_files() -> None:
    """Whoever writes JSON and reads it back has a file of state: these only show, or have another format.

    `meshward.testing` writes what stands for others' files: key sets and policies.
    """
    others = {"audit/collector.py", "cli/up.py", "instance/up.py", "login/store.py"}
    found = set()
    for path in (ROOT / "src" / "meshward").rglob("*.py"):
        text = path.read_text() if "testing" not in path.parts else ""
        if "write_atomic" in text and re.search(
            r"^import json$|model_dump_json|canonical_json", text, re.MULTILINE
        ):
            found.add(str(path.relative_to(ROOT / "src" / "meshward")))
    assert found <= others | {"kit/statefile.py"}, found
