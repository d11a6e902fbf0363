"""What ALLOW policies permit, taken apart into what can be added, kept or moved by itself. Pure.

An atom is one path under one set of callers, conditions and other limits of an operation, at one set of workloads: a
policy permits the union of its atoms. What is no plain list of paths is one atom as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from meshward.cluster.connection import Object
from meshward.cluster.manifest import between, scope, spec_of
from meshward.kit.canonical import canonical_json

ALLOW = "ALLOW"
LIMIT = 512
"""Rules of one object, and operations of one rule, that an API server takes."""


class Atom(NamedTuple):
    """`rule`: the rule without its operations; `operation`: one of them without its paths; `path`: None for all."""

    scope: str
    rule: str
    operation: str | None
    path: str | None


def is_allow(body: Mapping[str, Any] | None) -> bool:
    """Whether it can permit: who it is for is denied all that no such object permits."""
    return (
        body is not None
        and body["kind"] == "AuthorizationPolicy"
        and spec_of(body).get("action", ALLOW) == ALLOW
    )


def atoms(body: Mapping[str, Any] | None) -> frozenset[Atom]:
    """What an ALLOW policy permits; nothing for what is none."""
    if body is None or not is_allow(body):
        return frozenset()
    where = scope(body)
    return frozenset(
        Atom(where, *each) for rule in spec_of(body).get("rules") or () for each in _of_rule(rule)
    )


def _of_rule(rule: Mapping[str, Any]) -> Iterable[tuple[str, str | None, str | None]]:
    rest = canonical_json({name: value for name, value in rule.items() if name != "to"})
    operations = rule.get("to")
    if not operations:
        yield rest, None, None
        return
    for each in operations:
        operation = dict(each.get("operation") or {})
        paths = operation.pop("paths", None)
        kept = canonical_json({**each, "operation": operation})
        if paths:
            yield from ((rest, kept, path) for path in paths)
        else:
            yield rest, kept, None


def with_atoms(body: Object, kept: Iterable[Atom]) -> Object:
    """`body`, permitting exactly `kept`, which are of its scope; without any it denies all."""
    rules: dict[str, dict[str | None, set[str | None]]] = {}
    for atom in kept:
        rules.setdefault(atom.rule, {}).setdefault(atom.operation, set()).add(atom.path)
    spec = {name: value for name, value in spec_of(body).items() if name != "rules"}
    if rules:
        spec["rules"] = [_rule(rest, operations) for rest, operations in sorted(rules.items())]
    return between(body, spec)


def _rule(rest: str, operations: Mapping[str | None, set[str | None]]) -> dict[str, Any]:
    rule: dict[str, Any] = json.loads(rest)
    named = sorted((name, paths) for name, paths in operations.items() if name is not None)
    # One without operations is for any: whatever else that rule names is in it.
    return rule if None in operations else {**rule, "to": [_operation(*each) for each in named]}


def _operation(kept: str, paths: set[str | None]) -> dict[str, Any]:
    each: dict[str, Any] = json.loads(kept)
    named = sorted(path for path in paths if path is not None)
    return each if None in paths else {**each, "operation": {**each["operation"], "paths": named}}


def fits(body: Mapping[str, Any]) -> bool:
    """Whether an API server takes so many rules and operations."""
    rules = spec_of(body).get("rules") or ()
    return len(rules) <= LIMIT and all(len(rule.get("to") or ()) <= LIMIT for rule in rules)
