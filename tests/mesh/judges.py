"""Who else judges Istio's resources: its own command, and the schemas that it ships, with unknown fields as errors."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.mesh.programs import ISTIOCTL, find

Json = dict[str, Any]


def istioctl_complaints(objects: Sequence[Json], directory: Path) -> list[str]:
    """What `istioctl validate` says of them; nothing where it takes them (warnings aside). Written to `directory`."""
    program = find(ISTIOCTL)
    assert program is not None, "istioctl is not here"
    file = directory / "validated.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    done = subprocess.run([program, "validate", "-f", file], capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else (done.stdout + done.stderr).splitlines()


@dataclass(frozen=True, slots=True)
class Schemas:
    """By apiVersion and kind. What is in none of them (Namespaces, Services) is not judged."""

    of: dict[tuple[str, str], Json]

    @classmethod
    def read(cls, schemas: Path) -> Schemas:
        files = [schemas / "istio/crd-all.gen.yaml", *(schemas / "gateway-api/standard").glob("*.yaml")]
        found = {}
        for file in files:
            for definition in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
                if definition and definition["kind"] == "CustomResourceDefinition":
                    found.update(_versions(definition["spec"]))
        return cls(found)

    def complaints(self, given: Json) -> Iterator[str]:
        schema = self.of.get((given["apiVersion"], given["kind"]))
        if schema is None:
            if any(part in given["apiVersion"] for part in ("istio.io/", "gateway.networking")):
                yield f"no schema for {given['apiVersion']} {given['kind']}"
            return
        body = {key: value for key, value in given.items() if key not in ("apiVersion", "kind", "metadata")}
        for error in jsonschema.Draft202012Validator(schema).iter_errors(body):
            yield f"{given['kind']} {given['metadata']['name']}: {error.json_path}: {error.message[:200]}"


def _versions(spec: Json) -> Iterator[tuple[tuple[str, str], Json]]:
    for version in spec["versions"]:
        if version["served"]:
            schema = copy.deepcopy(version["schema"]["openAPIV3Schema"])
            _close(schema)
            for key in ("apiVersion", "kind", "metadata"):
                schema.get("properties", {}).pop(key, None)
            yield (f"{spec['group']}/{version['name']}", spec["names"]["kind"]), schema


def _close(node: Any) -> None:
    """Make unknown fields errors, and put right what Kubernetes says in words of its own."""
    if not isinstance(node, dict):
        return
    if node.get("x-kubernetes-int-or-string"):
        node.pop("type", None)
        node["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if node.get("nullable") and "type" in node:
        node["type"] = [node["type"], "null"]
    open_ = node.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in node
    if "properties" in node and not open_:
        node["additionalProperties"] = False
    for value in node.get("properties", {}).values():
        _close(value)
    for key in ("items", "additionalProperties"):
        _close(node.get(key))
