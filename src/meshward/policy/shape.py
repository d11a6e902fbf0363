"""What pydantic finds wrong with a file, as problems with a place, the user's words and a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from meshward.kit import codes
from meshward.kit.errors import Problem, Where
from meshward.kit.names import NAME
from meshward.kit.text import nearest, quoted, quoted_list
from meshward.policy.grammar import Unreadable
from meshward.policy.jsonschema import Format
from meshward.policy.positions import Positions, spell_path
from meshward.policy.texts import NAME_RULE
from meshward.policy.tree import Node

_KEY = "[key]"  # how pydantic says that a mapping's key, not its value, is wrong
_KINDS = {str: "text", bool: "true or false", int: "a number", list: "a list", dict: "a mapping"}
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "union_tag_invalid": "text or a list",
}


@dataclass(frozen=True, slots=True)
class _Finding:
    """One of pydantic's errors, with the value in the file that it is about."""

    detail: ErrorDetails
    node: Node
    path: tuple[str | int, ...]
    where: Where
    form: Format

    @property
    def context(self) -> dict[str, Any]:
        return self.detail["ctx"]

    def problem(self, code: codes.Code, what: str, remedy: str) -> Problem:
        message = f"{quoted(spell_path(self.path))}: {quoted(self.node.value)} {what}"
        return Problem(code, message, remedy, self.where)


def shape_problems(error: ValidationError, positions: Positions, form: Format) -> Iterator[Problem]:
    """One problem for each value that is wrong; of a choice's several findings, the first. Made as asked for:
    a file with a hundred thousand errors is refused as fast as one with ten.
    """
    seen: set[tuple[str | int, ...]] = set()
    for detail in error.errors(include_url=False, include_input=False):
        path = positions.present(detail["loc"])
        about = (*path, detail["loc"][-1]) if detail["type"] in ("missing", "extra_forbidden") else path
        if about not in seen:
            seen.add(about)
            yield _problem(detail, path, positions, form)


def _problem(
    detail: ErrorDetails, path: tuple[str | int, ...], positions: Positions, form: Format
) -> Problem:
    kind = detail["type"]
    if kind == "missing":
        return _missing_key(str(detail["loc"][-1]), path, positions, form)
    if kind == "extra_forbidden":
        return _unknown(path, positions, form)
    if detail["loc"][-1] == _KEY:
        return _name(path[-1], path[:-1], positions.key(path))
    node = positions.node(path)
    if kind in _WANTED:
        return _wrong_type(_Finding(detail, node, path, positions.at(path), form))
    return _MAKERS.get(kind, _other)(_Finding(detail, node, path, positions.at(path), form))


def _missing_key(key: str, path: tuple[str | int, ...], positions: Positions, form: Format) -> Problem:
    owner = quoted(spell_path(path)) if path else form.name
    description = form.schema_at((*path, key)).get("description", "")
    return Problem(
        codes.MISSING_KEY,
        f"{owner} lacks {quoted(key)}",
        f"Add {quoted(key + ':')} {description}".strip(),
        positions.at(path),
    )


def _unknown(path: tuple[str | int, ...], positions: Positions, form: Format) -> Problem:
    *owner, key = path
    known = form.keys_at(owner)
    meant = nearest(key, known)
    place = f" in {quoted(spell_path(owner))}" if owner else ""
    remedy = f"Did you mean {quoted(meant)}?" if meant else f"Known here: {quoted_list(known, 20)}."
    return Problem(codes.UNKNOWN_KEY, f"unknown key {quoted(key)}{place}", remedy, positions.key(path))


def _wrong_type(finding: _Finding) -> Problem:
    kind, node, path = finding.detail["type"], finding.node, finding.path
    wanted, found = _WANTED[kind], _KINDS.get(type(node.value), "nothing")
    remedy = f"Write {wanted}."
    if kind == "string_type" and type(node.value) in (int, bool):
        remedy = f'Put it in quotes: `"{node.value}"`.'
        if (meant := finding.form.kind_at(path)) and not finding.form.has_form(path, str(node.value)):
            remedy = f"Write {meant[0].lower()}{meant[1:]}"
    elif kind == "list_type":
        remedy = "Write a list, like `[a, b]`."
    return Problem(
        codes.WRONG_TYPE, f"{quoted(spell_path(path))} must be {wanted}, not {found}", remedy, finding.where
    )


def _name(word: object, path: tuple[str | int, ...], where: Where) -> Problem:
    return Problem(
        codes.NOT_A_NAME,
        f"{quoted(spell_path(path))}: {quoted(word)} is not a name",
        f"Write {NAME_RULE}",
        where,
    )


def _pattern(finding: _Finding) -> Problem:
    if finding.context["pattern"] == NAME:
        return _name(finding.node.value, finding.path, finding.where)
    remedy = finding.form.kind_at(finding.path) or f"It must match {quoted(finding.context['pattern'])}."
    return finding.problem(codes.MALFORMED_VALUE, "has the wrong form", remedy)


def _value(finding: _Finding) -> Problem:
    error: Unreadable = finding.context["error"]
    remedy = error.remedy[0].upper() + error.remedy[1:] + "."
    return Problem(
        codes.MALFORMED_VALUE, f"{quoted(spell_path(finding.path))}: {error.cause}", remedy, finding.where
    )


def _literal(finding: _Finding) -> Problem:
    words = re.findall(r"[\w-]+", str(finding.context["expected"]).replace(" or ", " "))
    meant = nearest(finding.node.value, words)
    remedy = (
        f"Did you mean {quoted(meant)}? Known: {quoted_list(words)}."
        if meant
        else f"Write {quoted_list(words)}."
    )
    if finding.path[-1] == "models":
        remedy = "Write `all`, a list of models, or a mapping with `labels` or `same`."
    return finding.problem(codes.UNKNOWN_WORD, "is not known here", remedy)


def _empty(finding: _Finding) -> Problem:
    message = f"{quoted(spell_path(finding.path))} is empty"
    return Problem(codes.OUT_OF_BOUNDS, message, "Give at least one, or take the key out.", finding.where)


def _bound(finding: _Finding) -> Problem:
    remedy = finding.detail["msg"].replace("Input should", "It must") + "."
    return finding.problem(codes.OUT_OF_BOUNDS, "is out of bounds", remedy)


def _long(finding: _Finding) -> Problem:
    return finding.problem(
        codes.OUT_OF_BOUNDS, "is too long", f"Write at most {finding.context['max_length']} characters."
    )


def _many(finding: _Finding) -> Problem:
    return finding.problem(
        codes.OUT_OF_BOUNDS, "is too long", f"List at most {finding.context['max_length']}."
    )


def _other(finding: _Finding) -> Problem:
    return finding.problem(
        codes.WRONG_TYPE,
        f"is not taken: {finding.detail['msg']}",
        "See the reference of its keys in the docs.",
    )


_MAKERS: dict[str, Callable[[_Finding], Problem]] = {
    "string_pattern_mismatch": _pattern,
    "value_error": _value,
    "literal_error": _literal,
    "too_short": _empty,
    "too_long": _many,
    "string_too_short": _empty,
    "string_too_long": _long,
    "greater_than_equal": _bound,
    "less_than_equal": _bound,
}
