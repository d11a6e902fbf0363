"""A case: a directory with what is given and, beside it, what must come of it.

`cases/<seam>/<name>/` holds `policy.yaml` (read after `base.yaml`), `before.yaml` (the policy that ran until then) or
`given.yaml` (all else that the seam asks for). The first of them begins with a sentence that says what it is for.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from meshward.plan.features import Feature
from meshward.policy.parse import Source, parse
from meshward.policy.schema import Policy
from meshward.policy.urls import UnixSocket, Url

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CASES = HERE / "cases"
GIVEN = ("policy.yaml", "before.yaml", "given.yaml")
PLAIN = "plain"
SWITCH = "pytest tests/golden --update-goldens"
_WIDTH = 110
_PURPOSE = re.compile(r"# \S.* .*\.")


@dataclass(frozen=True, slots=True)
class Case:
    path: Path

    @property
    def seam(self) -> str:
        return self.path.parent.name

    @property
    def plain(self) -> Case:
        """The case of this seam that stands whole; the others show how they differ from it."""
        return Case(self.path.parent / PLAIN)

    @property
    def given(self) -> dict[str, Any]:
        return self._yaml("given.yaml")

    def sources(self, name: str = "policy.yaml") -> list[Source]:
        """The policy's files: one that `given` names below the project, or `base.yaml` and the case's own."""
        if named := self.given.get("policy"):
            return [Source(named, (ROOT / named).read_bytes())]
        return [Source(path.name, path.read_bytes()) for path in (HERE / "base.yaml", self.path / name)]

    def policy(self, name: str = "policy.yaml") -> Policy:
        return parse(self.sources(name)).policy

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    @property
    def purpose(self) -> str | None:
        """The sentence with which the case begins; None where there is none."""
        first = next((self.path / name for name in GIVEN if self.has(name)), None)
        line = first.read_text().partition("\n")[0] if first else ""
        return line if _PURPOSE.fullmatch(line) else None

    def _yaml(self, name: str) -> dict[str, Any]:
        return yaml.safe_load((self.path / name).read_text()) or {} if self.has(name) else {}


def against(plain: Mapping[str, str], files: Mapping[str, str]) -> dict[str, str]:
    """How `files` differ from `plain`, without line numbers: those would move with every other change."""
    parts = [
        line if not line.startswith("@@") else "@@"
        for name in sorted({*plain, *files})
        for line in difflib.unified_diff(
            plain.get(name, "").splitlines(),
            files.get(name, "").splitlines(),
            f"plain/{name}",
            name,
            lineterm="",
            n=1,
        )
    ]
    return {"against-plain.diff": "".join(f"{line}\n" for line in parts) or "Nothing differs.\n"}


def pretty(value: Any, indent: int = 0) -> str:
    """JSON for reviewers: keys sorted, what fits on a line on one line."""
    line = json.dumps(value, sort_keys=True, ensure_ascii=False)
    if len(line) + indent <= _WIDTH or not value or not isinstance(value, dict | list):
        return line
    pad = "\n" + " " * (indent + 2)
    if isinstance(value, dict):
        inside = [f"{json.dumps(key)}: {pretty(value[key], indent + 2)}" for key in sorted(value)]
    else:
        inside = [pretty(item, indent + 2) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}{pad}" + f",{pad}".join(inside) + f"\n{' ' * indent}{closing}"


def plain_json(value: Any) -> Any:
    """`value` of dataclasses, sets and networks as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UnixSocket | Url):
        return str(value)
    if is_dataclass(value):
        return {field.name: plain_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(plain_json(item) for item in value)
    if isinstance(value, tuple | list):
        return [plain_json(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _key(key: Any) -> str:
    """A route or a feature, which are keys of the plan, as people spell them."""
    if isinstance(key, Feature):
        return key.title
    return str(key)


def settle(case: Case, files: Mapping[str, str], update: bool) -> list[str]:
    """Hold `files` against the case's goldens, or with `update` make them so. What is wrong, for people."""
    known = {path.name for path in case.path.iterdir() if path.name not in GIVEN}
    if update:
        for name in known - files.keys():
            (case.path / name).unlink()
        for name, text in files.items():
            (case.path / name).write_text(text, encoding="utf-8")
        return []
    orphans = [f"{name} is an orphan: nothing makes it any more" for name in sorted(known - files.keys())]
    return [*orphans, *(_difference(case, name, text) for name, text in sorted(files.items()))]


def _difference(case: Case, name: str, text: str) -> str:
    path = case.path / name
    golden = path.read_text(encoding="utf-8") if path.exists() else ""
    shown = f"{case.seam}/{case.path.name}/{name}"
    title = f"golden {shown}" if path.exists() else f"no golden {shown}"
    lines = difflib.unified_diff(
        golden.splitlines(), text.splitlines(), title, "what comes of it now", lineterm=""
    )
    return "\n".join(lines)
