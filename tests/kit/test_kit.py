"""The smallest parts: names, canonical JSON, whole files, secrets, problems."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.kit import codes
from meshward.kit.canonical import canonical_json, digest
from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.errors import MeshwardError, PolicyInvalid, Problem, Where
from meshward.kit.names import dns_label, is_name
from meshward.kit.secret import Secret
from meshward.kit.strict import base64url, encode
from meshward.kit.text import to_ascii

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(NAMES)
def test_a_label_is_one_and_says_when_it_changed(name: str) -> None:
    label = dns_label(name)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label), label
    assert label == name or re.fullmatch(r".*-[0-9a-f]{6}", label)


@given(NAMES, NAMES)
def test_labels_of_different_names_differ(one: str, other: str) -> None:
    assert (dns_label(one) == dns_label(other)) == (one == other)


@pytest.mark.parametrize("text", ["", "-a", ".a", "A", "a b", "a/b", "a:b", "a\n", "a" * 64, "ä", "*"])
def test_what_is_no_name(text: str) -> None:
    assert not is_name(text)


@given(JSON)
def test_equal_values_have_one_spelling(value: object) -> None:
    text = canonical_json(value)
    assert text.isascii() and "\n" not in text and json.loads(text) == value
    assert text == json.dumps(value, sort_keys=True, separators=(",", ":"))
    if isinstance(value, dict):
        assert canonical_json(dict(reversed(value.items()))) == text
        assert digest(dict(reversed(value.items()))) == digest(value)


def test_a_float_that_is_no_number_has_no_spelling() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


@given(st.binary(max_size=64))
def test_base64url_is_the_standard_alphabet_with_two_letters_changed(data: bytes) -> None:
    text = encode(data)
    assert text == base64.b64encode(data).decode().rstrip("=").replace("+", "-").replace("/", "_")
    assert base64url(text) == data


@given(st.text(st.sampled_from("a ~\x1f\x7f\n\r\t\xe9\xa0\u202e")))
def test_every_character_but_printable_ascii_becomes_a_question_mark(text: str) -> None:
    ascii_text = to_ascii(text)
    assert len(ascii_text) == len(text)
    assert all(to == (char if " " <= char <= "~" else "?") for char, to in zip(text, ascii_text, strict=True))


def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "f"
    write_atomic(file, "old")
    with pytest.raises(TypeError):
        write_atomic(file, 7)  # type: ignore[arg-type]
    assert file.read_text() == "old"
    write_atomic(file, b"new", 0o640)
    assert file.read_bytes() == b"new" and file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["f"], "a temporary file stayed behind"


def test_a_link_in_place_of_the_directory_leads_nowhere(tmp_path: Path) -> None:
    """Root writes into directories that a hop's uid may rename: a link put in their place must not be followed."""
    victim, planted = tmp_path / "victim", tmp_path / "planted"
    victim.mkdir()
    planted.symlink_to(victim)
    with pytest.raises(OSError):
        write_atomic(planted / "f", "x")
    assert list(victim.iterdir()) == []


def test_a_link_in_place_of_the_file_is_replaced(tmp_path: Path) -> None:
    victim, file = tmp_path / "victim", tmp_path / "f"
    victim.write_text("kept")
    file.symlink_to(victim)
    write_atomic(file, "x")
    assert victim.read_text() == "kept" and not file.is_symlink()


def test_a_private_directory_is_tightened(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    assert private_directory(directory).stat().st_mode & 0o777 == 0o700


@given(st.text(min_size=8))
def test_a_secret_does_not_print_itself(text: str) -> None:
    secret = Secret(text)
    assert secret.reveal() == text
    for shown in (str(secret), repr(secret), f"{secret}", repr([secret])):
        assert text not in shown or text in "Secret(<secret>)"


def test_an_invalid_policy_carries_every_problem() -> None:
    problems = [Problem(codes.UNKNOWN_KEY, "a", "b", Where("f", 1, 2)), Problem(codes.MISSING_KEY, "c", "d")]
    error = PolicyInvalid(problems)
    assert isinstance(error, MeshwardError) and error.code.number == "MW0010" and error.problems == problems
    assert problems[0].as_json()["where"] == {"file": "f", "line": 1, "column": 2}
    assert str(problems[0].where) == "f:1:2"
