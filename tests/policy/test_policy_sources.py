"""Reading policies from disk: files, directories, and what is neither."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from policy_texts import BASE
from tests.cost import bytes_read

from meshward.apply.sources import read_policy
from meshward.kit.errors import MeshwardError, PolicyInvalid
from meshward.kit.exits import Exit
from meshward.policy.parse import to_json
from meshward.policy.tree import MOST_BYTES

TOP = "version: 1\ntrust_domain: a.b\n"
MODELS = "models: {m: {versions: {v1: {server: tei, url: 'unix:/m.sock'}}}}\n"


def test_a_file_is_read(tmp_path: Path):
    file = tmp_path / "policy.yaml"
    file.write_text(TOP + MODELS)
    document = read_policy(file)
    assert document.policy.trust_domain == "a.b"
    assert document.positions.at(("trust_domain",)).file == str(file)
    (tmp_path / "policy.json").write_text(to_json(document.policy))
    assert read_policy(tmp_path / "policy.json").policy == document.policy


def test_a_directory_is_merged_by_name(tmp_path: Path):
    (tmp_path / "20-models.yml").write_text(MODELS + "roles: {a: [], b: []}\n")
    (tmp_path / "10-top.yaml").write_text(TOP + "roles: {c: []}\n")
    (tmp_path / ".hidden.yaml").write_text("\0")
    (tmp_path / "notes.txt").write_text("\0")
    (tmp_path / "inner.d").mkdir()
    assert list(read_policy(tmp_path).policy.roles) == ["c", "a", "b"]


def test_problems_in_a_directory_name_their_file(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(TOP + MODELS)
    (tmp_path / "b.yaml").write_text("grant: []\n")
    with pytest.raises(PolicyInvalid) as caught:
        read_policy(tmp_path)
    assert str(caught.value.problems[0].where) == f"{tmp_path / 'b.yaml'}:1:1"


def refused(path: Path) -> MeshwardError:
    """What `path` is refused with, which costs no more reading than the largest policy does."""
    found: list[MeshwardError] = []

    def read() -> None:
        with pytest.raises(MeshwardError) as caught:
            read_policy(path)
        found.append(caught.value)

    assert bytes_read(read) <= MOST_BYTES + 64 * 1024
    assert found[0].exit_code == Exit.USAGE and found[0].remedy
    return found[0]


def test_what_is_not_there_is_named(tmp_path: Path):
    error = refused(tmp_path / "nope.yaml")
    assert error.code.number == "MW0001" and "nope.yaml" in error.message


def test_an_empty_directory_is_no_policy(tmp_path: Path):
    assert refused(tmp_path).code.number == "MW0001"


def test_nothing_but_regular_files_is_read(tmp_path: Path):
    fifo = tmp_path / "a.yaml"
    os.mkfifo(fifo)
    assert "regular file" in refused(fifo).message
    assert "regular file" in refused(tmp_path).message
    assert "regular file" in refused(Path("/dev/zero")).message


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def forbidden(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied", str(tmp_path / "a.yaml"))

    (tmp_path / "a.yaml").write_text(TOP)
    monkeypatch.setattr(os, "open", forbidden)
    assert "permission denied" in refused(tmp_path / "a.yaml").message


def test_a_large_file_is_not_read_whole(tmp_path: Path):
    file = tmp_path / "a.yaml"
    with file.open("wb") as handle:
        handle.truncate(50 * 1024**3)  # sparse
    assert refused(file).code.number == "MW0002"


def test_the_bound_is_on_all_files_together(tmp_path: Path):
    for name in "abc":
        (tmp_path / f"{name}.yaml").write_text("#" * (MOST_BYTES // 2))
    assert refused(tmp_path).code.number == "MW0002"


def test_a_file_name_cannot_paint_the_terminal(tmp_path: Path):
    (tmp_path / "\x1b[31m.yaml").write_text(TOP)
    error = refused(tmp_path)
    assert error.code.number == "MW0001" and error.message.isprintable()


def test_base_is_a_policy_on_disk_too(tmp_path: Path):
    import json

    (tmp_path / "p.yaml").write_text(json.dumps(BASE))
    assert read_policy(tmp_path / "p.yaml").policy.models
