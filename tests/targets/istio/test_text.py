"""What is written is read back as it was, whatever was in it; and written the same each time."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshward.targets.istio.inputs import IstioInputs
from meshward.targets.istio.target import mesh_resources
from meshward.targets.istio.text import KUSTOMIZATION, document, write_files
from tests.targets.istio.placed import placed, service

NOT_PLAIN = [
    "yes",
    "no",
    "on",
    "off",
    "y",
    "N",
    "~",
    "null",
    "NULL",
    "true",
    "1",
    "-1",
    "1.0",
    "1e3",
    "1E-3",
    "0x1f",
    "0o7",
    "0b1",
    "1_000",
    "12:30:45",
    "2001-01-01",
    ".inf",
    ".NaN",
]
"""Numbers and truth values to some reader of YAML 1.1 or 1.2."""
MARKS = [
    "=",
    "<<",
    "-",
    "?",
    ":",
    ",",
    "&",
    "*",
    "!",
    "|",
    ">",
    "%",
    "@",
    "`",
    "{",
    "[",
    "}",
    "]",
    "#",
    "'",
    '"',
    "\\",
    "---",
    "...",
]
TRICKY = st.sampled_from(
    [
        *NOT_PLAIN,
        *MARKS,
        *(f"{mark}a" for mark in MARKS),
        "a: b",
        "a #b",
        "? a",
        "- a",
        " a",
        "a ",
        "",
        "\n",
        "a\nb",
        "\t",
        "\u2028",
        "\ufeff",
        "\x85",
        "\U0001f600",
        "a" * 300 + " b",
    ]
)
TEXT = TRICKY | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LEAF = TEXT | st.integers() | st.booleans() | st.none()
VALUE: st.SearchStrategy[Any] = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=12
)


@given(st.dictionaries(TEXT, VALUE, min_size=1, max_size=4))
def test_a_document_is_read_back_as_it_was(body: dict[str, Any]) -> None:
    text = document(body, "Why it is there.")
    assert text.startswith("# Why it is there.\n") and text.endswith("\n")
    assert list(yaml.safe_load_all(text)) == [body] and text.isascii()


@given(TEXT)
def test_a_text_stays_on_its_line_and_a_text(text: str) -> None:
    lines = document({"a": text, "b": [text, {text: text}]}, "x").splitlines()
    assert len(lines) == 5 and lines[1].startswith("a: ") and lines[2] == "b:"


@pytest.mark.parametrize("text", NOT_PLAIN)
def test_what_any_reader_takes_for_no_text_is_quoted(text: str) -> None:
    assert document({"a": text}, "x").splitlines()[1] in (f"a: '{text}'", f'a: "{text}"')


def test_every_file_is_read_back_and_each_is_named() -> None:
    resources = mesh_resources(placed(), IstioInputs())
    files = write_files(resources)
    read = [
        each for path, text in files.items() if path != KUSTOMIZATION for each in yaml.safe_load_all(text)
    ]
    assert sorted(map(str, read)) == sorted(str(each.body) for each in resources)
    assert yaml.safe_load(files[KUSTOMIZATION])["resources"] == sorted(files.keys() - {KUSTOMIZATION})


def test_the_same_plan_makes_the_same_bytes_whatever_stands_first() -> None:
    models = {
        name: {"versions": {"v1": {"server": "tei", "url": f"unix:/run/{name}.sock"}}} for name in "abc"
    }
    site = {"models": {name: {"v1": service(name)} for name in "abc"}}
    turned = {"models": dict(reversed(site["models"].items()))}
    first = write_files(mesh_resources(placed(site, models=models), IstioInputs()))
    again = write_files(mesh_resources(placed(turned, models=dict(reversed(models.items()))), IstioInputs()))
    assert first == again and list(first) == list(again)
