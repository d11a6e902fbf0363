"""One file of state: what is written is read, older formats are brought up, and nothing is half believed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import StateFile, StateFileDamaged, put_under


@dataclass(frozen=True, slots=True)
class Numbers:
    numbers: dict[str, int]
    words: tuple[str, ...] = ("none",)


@dataclass(frozen=True, slots=True)
class Secretive:
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Defaults:
    number: int = 0
    word: str = ""


def _doubled(value: Any) -> Any:
    return {**value, "numbers": {name: 2 * number for name, number in value["numbers"].items()}}


FILE = StateFile(
    "n.json", Numbers, place="STATE", what="numbers", remedy="Count again.", former="old.json", limit=500,
    may_lack=frozenset({"words"}),
    migrations=(put_under("numbers"), _doubled),
)  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert FILE.read(tmp_path) is None
    FILE.write(tmp_path, Numbers({"a": 1}, ("é", "\udcff")))
    assert FILE.read(tmp_path) == Numbers({"a": 1}, ("é", "?"))
    assert (tmp_path / "n.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "n.json").read_text())["format"] == 2


def test_older_formats_are_brought_up_step_by_step(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"a": 1}')
    assert FILE.read(tmp_path) == Numbers({"a": 2})
    (tmp_path / "n.json").write_text('{"format": 1, "numbers": {"a": 4}}')
    assert FILE.read(tmp_path) == Numbers({"a": 8}), "the new name comes first"
    FILE.write(tmp_path, Numbers({"a": 8}))
    assert [path.name for path in tmp_path.iterdir()] == ["n.json"], "nothing is left to be read by mistake"


def test_what_older_releases_wrote_of_a_file_with_an_odd_name_is_read(tmp_path: Path) -> None:
    """`up --watch` told such a name in the reason of a revision, and a start reads every revision."""
    (tmp_path / "w.json").write_text(json.dumps({"reason": "/srv/p\udcff.yaml changed"}))
    file = StateFile("w.json", Words, "STATE", "words", "Begin anew.", migrations=(put_under("words"),))
    assert file.read(tmp_path) == Words({"reason": "/srv/p?.yaml changed"})
    (tmp_path / "w.json").write_text(json.dumps({"format": 1, "words": {"reason": "\udcff"}}))
    with pytest.raises(StateFileDamaged, match="UTF-8"):  # a file of today was never written so
        file.read(tmp_path)


def test_an_older_format_lacks_only_what_it_may(tmp_path: Path) -> None:
    """All else with a default would read damage as what a file says that was never written."""
    (tmp_path / "d.json").write_text("{}")
    file = StateFile("d.json", Defaults, "STATE", "defaults", "Begin anew.", may_lack=frozenset({"word"}))
    with pytest.raises(StateFileDamaged, match="more, or less"):
        file.read(tmp_path)
    (tmp_path / "d.json").write_text('{"number": 1}')
    assert file.read(tmp_path) == Defaults(1)


def test_a_name_of_format_0_may_be_format(tmp_path: Path) -> None:
    """Models and versions may be called so: only a number is one."""
    file = StateFile("w.json", Words, "STATE", "words", "Begin anew.", migrations=(put_under("words"),))
    (tmp_path / "w.json").write_text('{"format": "x"}')
    assert file.read(tmp_path) == Words({"format": "x"})


@dataclass(frozen=True, slots=True)
class Words:
    words: dict[str, str]


@pytest.mark.parametrize(
    "text",
    [
        '{"format": 2, "numbers": {"a": 1}}',  # not as it was written
        '{"format": 2, "numbers": {"a": 1}, "words": [], "more": 1}',
        '{"format": 2, "numbers": {"a": "1"}, "words": []}',
        '{"format": 2, "numbers": {"a": true}, "words": []}',
        '{"format": 2, "numbers": {"a": 1.5}, "words": []}',
        '{"format": 2, "numbers": {"a": 1}, "words": "none"}',
        '{"format": 2, "numbers": {"a": 1}, "numbers": {"a": 1}, "words": []}',
        '{"format": 1, "numbers": 3}',
        '{"format": 1}',
        '{"a": "x"}',
        "[]",
    ],
)
def test_nothing_is_half_believed(tmp_path: Path, text: str) -> None:
    (tmp_path / "n.json").write_text(text)
    with pytest.raises(StateFileDamaged, match="is damaged: ") as told:
        FILE.read(tmp_path)
    assert told.value.remedy == "Count again."


def test_the_field_is_named_and_no_name_that_was_found(tmp_path: Path) -> None:
    (tmp_path / "n.json").write_text('{"format": 2, "numbers": {"canary": "x"}, "words": []}')
    with pytest.raises(MeshwardError, match="`numbers` is not what belongs there") as told:
        FILE.read(tmp_path)
    assert "canary" not in str(told.value)


def test_more_than_can_be_read_is_not_written(tmp_path: Path) -> None:
    FILE.write(tmp_path, Numbers({"a": 1}))
    with pytest.raises(OSError, match="more than can be read again"):
        FILE.write(tmp_path, Numbers({}, ("x" * 500,)))
    assert FILE.read(tmp_path) == Numbers({"a": 1}, ("none",)), "it is as it was"


def test_a_private_file_is_its_owners(tmp_path: Path) -> None:
    file = StateFile("s.json", Secretive, "STATE", "a key", "Make another.", private=True)
    file.write(tmp_path, Secretive("x"))
    assert file.read(tmp_path) == Secretive("x")
    (tmp_path / "s.json").chmod(0o640)
    with pytest.raises(StateFileDamaged, match="others can read"):
        file.read(tmp_path)
