"""Objects as files spell them: several documents in one, and lists; each with the line on which it begins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import yaml  # type: ignore[import-untyped]

from meshward.align.istio.objects import MeshObject, Ref, flatten, mapping, read_object, text
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit

_NAMESPACELESS = {"Namespace", "ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy"}
_NAMESPACELESS |= {"ValidatingAdmissionPolicyBinding", "CustomResourceDefinition", "Node", "GatewayClass"}
_MOST = 5_000_000  # values of a document, those that it names again counted again
_MARK = re.compile(r"^---(?=\s|$)", re.MULTILINE)


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]
    """As an API server's clients read YAML: a date is text."""


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def read_data(name: str, data: bytes) -> list[MeshObject]:
    """As `read_text`, of a file's bytes."""
    try:
        return read_text(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise MeshwardError(codes.ALIGN_NOT_JUDGED, f"{name}: is not UTF-8", exit_code=Exit.USAGE) from None


def read_text(name: str, content: str) -> list[MeshObject]:
    """The objects of a file. Raises MeshwardError where it is no YAML; a document that is no object is left out."""
    bodies: list[tuple[object, str]] = []
    starts = [0, *(found.end() for found in _MARK.finditer(content))]
    ends = [*(found.start() for found in _MARK.finditer(content)), len(content)]
    for start, end in zip(starts, ends, strict=True):
        part = content[start:end]
        line = content.count("\n", 0, start) + 1 + _leading(part)
        try:
            body = yaml.load(part, Loader=_Loader)  # noqa: S506 - it is a safe loader
            if "&" in part and _size(body, {}) > _MOST:
                raise ValueError("its aliases make too much of it")
            bodies.append((body, f"{name}:{line}"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise MeshwardError(
                codes.ALIGN_NOT_JUDGED, f"{name}:{line}: is not YAML: {_why(error)}", exit_code=Exit.USAGE
            ) from None
    return read_bodies(bodies)


def read_bodies(bodies: Iterable[tuple[object, str]]) -> list[MeshObject]:
    """Objects with their places; one without a namespace is of `default`, as an API server has it."""
    found = [_named(read_object(body, place)) for body, place in flatten(bodies)]
    return [_generated(each, at) if not each.ref.name else each for at, each in enumerate(found)]


def _generated(each: MeshObject, at: int) -> MeshObject:
    """Each object whose name the API server makes is one of its own."""
    start = text(mapping(each.body.get("metadata")).get("generateName"))
    return replace(each, ref=replace(each.ref, name=f"{start}({at + 1})"))


def _named(each: MeshObject) -> MeshObject:
    if each.ref.namespace or each.ref.kind in _NAMESPACELESS:
        return each
    return replace(each, ref=replace(each.ref, namespace="default"))


def _size(body: object, known: dict[int, int]) -> int:
    """How many values it is; one that is in itself is endless."""
    if not isinstance(body, dict | list):
        return 1
    if id(body) not in known:
        known[id(body)] = _MOST + 1  # as long as it is looked at
        inner = body.values() if isinstance(body, dict) else body
        known[id(body)] = 1 + sum(_size(each, known) for each in inner)
    return known[id(body)]


def _leading(part: str) -> int:
    """Lines before the first that says anything."""
    lines = part.split("\n")
    said = (at for at, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#"))
    return next(said, 0)


def _why(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error).split("\n")[0]


def mesh_config(
    objects: Iterable[MeshObject], root: str, revision: str | None
) -> tuple[Ref, Mapping[str, Any]] | None:
    """The MeshConfig of the revision's ConfigMap in the root namespace; None where there is none."""
    name = f"istio-{revision}" if revision and revision != "default" else "istio"
    for each in objects:
        if (each.ref.kind, each.ref.namespace, each.ref.name) == ("ConfigMap", root, name):
            told = text(mapping(each.body.get("data")).get("mesh"))
            try:
                return each.ref, mapping(yaml.load(told, Loader=_Loader))  # noqa: S506 - it is a safe loader
            except (yaml.YAMLError, ValueError, RecursionError):
                return each.ref, {"pathNormalization": None}  # read as what is not what it should be
    return None
