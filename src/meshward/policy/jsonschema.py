"""The formats of files as a JSON Schema (draft 2020-12), for editors and for the reference page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from meshward.policy.schema import Policy
from meshward.policy.values import Written


class _Generator(GenerateJsonSchema):
    """Defaults as a file spells them."""

    def encode_default(self, dft: Any) -> Any:
        return str(dft) if isinstance(dft, Written) else super().encode_default(dft)


class Format:
    """The format of one kind of file: `root` is its top, `title` that of its schema, `name` what people call a file."""

    def __init__(self, root: type[BaseModel], title: str, name: str) -> None:
        self._root = root
        self._title = title
        self.name = name

    def json_schema(self) -> dict[str, Any]:
        """A fresh copy of the schema. References and unique names, which it cannot say, are checked elsewhere."""
        schema = _tidy(self._root.model_json_schema(by_alias=True, schema_generator=_Generator))
        head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": self._title}
        return {**head, **{key: value for key, value in schema.items() if key != "title"}}

    def keys_at(self, path: Sequence[str | int]) -> tuple[str, ...]:
        """The keys that the mapping at `path` may have."""
        found = self.schema_at(path)
        return tuple(key for option in self._options(found) for key in option.get("properties", ()))

    def schema_at(self, path: Sequence[str | int]) -> dict[str, Any]:
        """What the schema says of the value at `path`; empty where it says nothing."""
        found = self._schema
        for step in path:
            found = next((inner for option in self._options(found) if (inner := _inner(option, step))), {})
        return found

    def kind_at(self, path: Sequence[str | int]) -> str:
        """What the schema says of the kind of value at `path`, whatever the key; empty where it says nothing."""
        options = self._options(self.schema_at(path))
        return next((option["description"] for option in options if "description" in option), "")

    def has_form(self, path: Sequence[str | int], text: str) -> bool:
        """Whether `text` would have the form of a value at `path`, as far as the schema says one."""
        options = self._options(self.schema_at(path))
        return any(re.search(option.get("pattern", ""), text) for option in options)

    @cached_property
    def _schema(self) -> dict[str, Any]:
        return self.json_schema()

    def _options(self, schema: dict[str, Any]) -> list[dict[str, Any]]:
        """`schema` with its reference followed, or each of its choices."""
        if "$ref" in schema:
            return self._options(self._schema["$defs"][schema["$ref"].removeprefix("#/$defs/")])
        choices = schema.get("anyOf") or schema.get("oneOf")
        return [option for choice in choices for option in self._options(choice)] if choices else [schema]


POLICY_FORMAT = Format(Policy, "meshward policy", "the policy")


def _inner(schema: dict[str, Any], step: str | int) -> dict[str, Any]:
    if isinstance(step, int):
        inner = schema.get("items", {})
    else:
        inner = schema.get("properties", {}).get(step) or schema.get("additionalProperties", {})
    return inner if isinstance(inner, dict) else {}


def _tidy(schema: Any) -> Any:
    """Without what a file cannot say (null for "not given") and without titles that repeat the key."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: _tidy(value) for key, value in schema.items()}
    if isinstance(schema.get("title"), str):
        del schema["title"]
    if "default" in schema and (schema["default"] is None or isinstance(schema["default"], dict)):
        del schema["default"]  # a mapping's defaults stand in its own definition
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        del schema["anyOf"]
        schema = {**choices[0], **schema}
    elif choices:
        schema["anyOf"] = choices
    return schema
