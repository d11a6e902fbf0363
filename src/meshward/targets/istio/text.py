"""Resources as YAML that a person reviews: one file for each topic, comments above each object, one spelling.

Every text that could be read as anything else is quoted by PyYAML's safe dumper, so nothing that a user wrote can
become structure. Comments are ours.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]

from meshward.targets.istio.resource import Resource

_WIDTH = 100
KUSTOMIZATION = "kustomization.yaml"
_Dumper: Any = type(
    "_Dumper", (getattr(yaml, "CSafeDumper", yaml.SafeDumper),), {"ignore_aliases": lambda *_: True}
)


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
    lines = (
        f"# {line}\n"
        for line in textwrap.wrap(comment, _WIDTH, break_long_words=False, break_on_hyphens=False)
    )
    return "".join(lines) + _dump(body)


def _dump(value: Mapping[str, Any]) -> str:
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=False,
        width=2**31 - 1,
    )
    return text
