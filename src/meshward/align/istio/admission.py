"""What an API server keeps of a security object, and which it does not take (the CRDs of Istio 1.27 to 1.31).

An older client writes with `fieldValidation=Ignore`: a field that the schema does not know is dropped without a word,
so that `form:` for `from:` opens a rule to everybody. Other kinds are taken as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from meshward.align.istio.crds import SHAPES, Shape

GROUP = "security.istio.io"


@dataclass(frozen=True, slots=True)
class Admitted:
    """`dropped`: paths of fields that the schema does not know; `refused`: why it is not taken at all."""

    spec: dict[str, Any]
    dropped: tuple[str, ...] = ()
    refused: str = ""


class _Refused(Exception):
    """The sentence of a refusal."""


def admit(kind: str, group: str, spec: object) -> Admitted:
    """What is kept of `spec`."""
    shape = SHAPES.get(kind) if group == GROUP else None
    if spec is None:
        return Admitted({})
    if not isinstance(spec, Mapping):
        return Admitted({}, (), "spec is no object")
    if shape is None:
        return Admitted(dict(spec))
    dropped: list[str] = []
    try:
        kept = _keep(shape, spec, "spec", dropped)
    except (_Refused, RecursionError) as refusal:
        return Admitted({}, tuple(dropped), str(refusal) or "nested too deeply")
    return Admitted(kept, tuple(dropped))


def _keep(shape: Shape, value: object, path: str, dropped: list[str]) -> Any:
    kept = _KEEPERS[shape.kind](shape, value, path, dropped)
    if shape.rule and (refusal := shape.rule(kept)):
        raise _Refused(f"{path}: {refusal}")
    return kept


def _keep_object(shape: Shape, value: object, path: str, dropped: list[str]) -> Any:
    if not isinstance(value, Mapping):
        raise _Refused(f"{path}: must be an object")
    kept = {}
    for name, each in value.items():
        inner = shape.fields.get(name)
        if inner is None:
            dropped.append(f"{path}.{name}")
        else:
            kept[name] = _keep(inner, each, f"{path}.{name}", dropped)
    for name in shape.required:
        if name not in kept:
            raise _Refused(f"{path}.{name}: required")
    return kept


def _keep_list(shape: Shape, value: object, path: str, dropped: list[str]) -> Any:
    if not isinstance(value, list):
        raise _Refused(f"{path}: must be a list")
    _measure(shape, len(value), path)
    assert shape.member is not None  # noqa: S101 - a list's shape names it
    return [_keep(shape.member, each, f"{path}[{at}]", dropped) for at, each in enumerate(value)]


def _keep_table(shape: Shape, value: object, path: str, dropped: list[str]) -> Any:
    if not isinstance(value, Mapping):
        raise _Refused(f"{path}: must be an object")
    _measure(shape, len(value), path)
    assert shape.member is not None  # noqa: S101 - a table's shape names it
    return {str(key): _keep(shape.member, each, f"{path}[{key}]", dropped) for key, each in value.items()}


def _keep_text(shape: Shape, value: object, path: str, _: list[str]) -> Any:
    if not isinstance(value, str):
        raise _Refused(f"{path}: must be text")
    _measure(shape, len(value), path)
    if shape.allowed and value not in shape.allowed:
        raise _Refused(f"{path}: supported values: {', '.join(shape.allowed)}")
    return value


def _keep_bool(_shape: Shape, value: object, path: str, _: list[str]) -> Any:
    if not isinstance(value, bool):
        raise _Refused(f"{path}: must be true or false")
    return value


def _measure(shape: Shape, size: int, path: str) -> None:
    if size < shape.least:
        raise _Refused(f"{path}: at least {shape.least}")
    if shape.most is not None and size > shape.most:
        raise _Refused(f"{path}: at most {shape.most}")


_KEEPERS: Mapping[str, Callable[[Shape, object, str, list[str]], Any]] = {
    "object": _keep_object,
    "list": _keep_list,
    "table": _keep_table,
    "text": _keep_text,
    "bool": _keep_bool,
}
