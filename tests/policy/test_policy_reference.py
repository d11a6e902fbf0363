"""The reference page and the JSON Schema are what the schema makes of them, and speak of everything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from policy_texts import read
from pydantic import BaseModel

from meshward.kit import codes
from meshward.policy import schema
from meshward.policy.jsonschema import POLICY_FORMAT
from meshward.policy.reference import reference_text, schema_text

ROOT = Path(__file__).resolve().parents[2]
MAPPINGS = [
    value
    for value in vars(schema).values()
    if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == schema.__name__
]


@pytest.mark.parametrize(
    ("name", "text"), [("docs/policy.md", reference_text), ("schemas/policy.schema.json", schema_text)]
)
def test_the_file_is_current(name, text):
    assert (ROOT / name).read_text(encoding="utf-8") == text(), "run scripts/reference.py"


def test_every_key_has_a_description():
    for mapping in MAPPINGS:
        for name, field in mapping.model_fields.items():
            assert field.description, f"{mapping.__name__}.{name}"


def test_every_key_of_the_format_is_on_the_page():
    page = reference_text()
    for mapping in MAPPINGS:
        for name, field in mapping.model_fields.items():
            assert f"| `{field.alias or name}` |" in page


def test_links_lead_somewhere():
    page = reference_text()
    places = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", page, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= places


def test_every_code_of_policies_is_in_the_page():
    page = reference_text()
    for code in codes.FAMILIES["Policy"]:
        assert f"| [{code}](codes.md#{code.number.lower()}) | {code.title} |" in page


def test_the_json_schema_is_one_for_editors():
    made = POLICY_FORMAT.json_schema()
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert made["additionalProperties"] is False
    assert '"null"' not in schema_text()
    assert POLICY_FORMAT.schema_at(("grants", 0, "limits", "requests"))["description"]
    assert "from" in POLICY_FORMAT.keys_at(("grants", 0, "when")) and "source" not in POLICY_FORMAT.keys_at(
        ("grants", 0, "when")
    )


def test_the_json_schema_knows_every_key_of_the_example():
    def walk(value: object, path: tuple[str | int, ...]) -> None:
        if isinstance(value, dict):
            known = POLICY_FORMAT.keys_at(path)
            for key, inner in value.items():
                assert not known or key in known, (*path, key)
                walk(inner, (*path, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                walk(inner, (*path, index))

    document = read((ROOT / "examples/policy.yaml").read_text())
    walk(document.positions.node(()).value, ())
