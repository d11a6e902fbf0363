"""Resources as YAML that a person reviews: one file for each topic, comments above each object, one spelling.

Every scalar is spelled by PyYAML's safe dumper, which quotes whatever could be read as anything else; so nothing that a
user wrote becomes structure. Blocks are written here, for the dumper takes ten times as long. Comments are ours.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import yaml  # type: ignore[import-untyped]

from meshward.targets.istio.resource import Resource

_WIDTH = 100
# What is text to PyYAML, and a truth value or a number to kubectl and other readers.
_READ_OTHERWISE = re.compile(
    r"y|n|yes|no|on|off|true|false|null|~"
    r"|[-+]?[0-9][0-9_.:]*(e[-+]?[0-9_]+)?|[-+]?\.[0-9_]+(e[-+]?[0-9]+)?|0[xob][0-9a-f_]+|[-+]?\.(inf|nan)",
    re.ASCII | re.IGNORECASE,
)
KUSTOMIZATION = "kustomization.yaml"


def write_files(resources: Iterable[Resource]) -> Mapping[str, str]:
    """The text of each file, by its path below the output directory, and a kustomization that names them all."""
    found: dict[str, list[str]] = {}
    for each in resources:
        found.setdefault(each.file, []).append(document(each.body, each.comment))
    files = {path: "---\n".join(found[path]) for path in sorted(found)}
    whole = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(files),
    }
    return {**files, KUSTOMIZATION: document(whole, "All objects of this directory: `kubectl apply -k`.")}


def document(body: Mapping[str, Any], comment: str) -> str:
    """One document in the order in which `body` has its keys; `comment` is folded above it."""
    lines: list[str] = []
    _write_mapping(body, "", lines)
    return _folded(comment) + "\n".join(lines) + "\n"


@lru_cache(maxsize=256)
def _folded(comment: str) -> str:
    lines = textwrap.wrap(comment, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _write_mapping(value: Mapping[str, Any], indent: str, lines: list[str]) -> None:
    """Appended to `lines`, without ends. A sequence stands at its key's own depth, as kubectl writes it."""
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            lines.append(f"{indent}{_scalar(key)}:")
            _write_mapping(inner, indent + "  ", lines)
        elif isinstance(inner, list) and inner:
            lines.append(f"{indent}{_scalar(key)}:")
            _write_sequence(inner, indent, lines)
        else:
            lines.append(f"{indent}{_scalar(key)}: {_leaf(inner)}")


def _write_sequence(value: list[Any], indent: str, lines: list[str]) -> None:
    for inner in value:
        place = len(lines)
        if isinstance(inner, dict) and inner:
            _write_mapping(inner, indent + "  ", lines)
        elif isinstance(inner, list) and inner:
            _write_sequence(inner, indent + "  ", lines)
        else:
            lines.append(f"{indent}  {_leaf(inner)}")
        lines[place] = f"{indent}- {lines[place][len(indent) + 2 :]}"


def _leaf(value: object) -> str:
    if isinstance(value, dict):
        return "{}"
    return "[]" if isinstance(value, list) else _scalar(value)


@lru_cache(maxsize=65536, typed=True)
def _scalar(value: object) -> str:
    """One line. What PyYAML would spell over several, or not in ASCII, it spells in double quotes."""
    style = None
    if isinstance(value, str):
        odd = not (value.isascii() and value.isprintable())
        style = '"' if odd else "'" if _READ_OTHERWISE.fullmatch(value) else None
    text: str = yaml.safe_dump([value], default_style=style, default_flow_style=False, width=2**31 - 1)
    return text.removeprefix("- ").removesuffix("\n")
