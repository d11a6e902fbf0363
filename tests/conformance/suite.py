"""Readable cases into data: `python -m tests.conformance.suite` writes conformance/; tests compare them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from meshward.plan.features import ALWAYS
from meshward.plan.requirements import requirements
from meshward.policy.reference import schema_text
from meshward.policy.schema import Policy
from meshward.testing.given import policy_of
from tests.conformance import cases
from tests.conformance.format import (
    CONFORMANCE_FORMAT,
    Ability,
    Case,
    Certificate,
    Client,
    PolicyEntry,
    Step,
    SuiteFile,
)

ROOT = Path(__file__).resolve().parents[2]
DIRECTORY = ROOT / "conformance"
SCHEMA = ROOT / "schemas" / "conformance.schema.json"
_DEEPEST = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """A case with all that it speaks of at hand: its policies, those that its changes name included, and its site."""

    topic: str
    case: Case
    entries: Mapping[str, PolicyEntry]
    site: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        return f"{self.topic}/{self.case.id}"

    @property
    def policies(self) -> Mapping[str, Policy]:
        return {name: _parsed(json.dumps(entry.policy)) for name, entry in self.entries.items()}

    @property
    def policy(self) -> Policy:
        return self.policies[self.case.policy]


def topic(
    name: str,
    about: str,
    policies: Mapping[str, Mapping[str, Any]],
    written: Iterable[Case],
    sites: Mapping[str, Mapping[str, Any]] | None = None,
) -> SuiteFile:
    """A file of the suite. What cases need and policies ask is derived."""
    return SuiteFile(
        topic=name,
        about=about,
        policies={key: PolicyEntry(asks=_asks(text), policy=dict(text)) for key, text in policies.items()},
        sites={key: dict(text) for key, text in (sites or {}).items()},
        cases=[case.model_copy(update={"needs": _needs(case)}) for case in written],
    )


def compiled() -> dict[str, SuiteFile]:
    """Every file of the suite by its topic, as the cases say now."""
    modules = (import_module(f"{cases.__name__}.{each.name}") for each in iter_modules(cases.__path__))
    found = [module.TOPIC for module in modules if hasattr(module, "TOPIC")]
    return {each.topic: each for each in found}


def text_of(file: SuiteFile) -> str:
    """The bytes that are committed: a line for each step; what is as by default is left out."""
    said = file.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for case, full in zip(said["cases"], file.cases, strict=True):
        for step, whole in zip(case["steps"], full.steps, strict=True):
            step["request"] = {"way": whole.request.way, **step["request"]}
    given = {"policies": {}, "sites": {}, **said}
    shared = ",\n".join(f' "{name}": {_mapping(given[name])}' for name in ("policies", "sites"))
    cases_ = ",\n".join(_case_text(case) for case in said["cases"])
    head = (
        f'{{\n "version": {file.version},\n "topic": {_line(file.topic)},\n "about": {_line(file.about)},\n'
    )
    return f'{head}{shared},\n "cases": [\n{cases_}\n ]\n}}\n'


def _case_text(case: dict[str, Any]) -> str:
    steps = ",\n".join(f"   {_line(step)}" for step in case["steps"])
    head = _line({key: value for key, value in case.items() if key != "steps"})[:-1]
    return f'  {head}, "steps": [\n{steps}\n  ]}}'


def _mapping(entries: Mapping[str, Any], depth: int = 2) -> str:
    """A line for each entry, `depth` mappings deep."""
    if depth == _DEEPEST or all(isinstance(value, str) for value in entries.values()):
        return _line(entries)
    pad = " " * depth
    lines = ",\n".join(
        f"{pad}{_line(key)}: {_mapping(value, depth + 1) if isinstance(value, dict) else _line(value)}"
        for key, value in entries.items()
    )
    return f"{{\n{lines}\n{pad[1:]}}}"


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def read(directory: Path = DIRECTORY) -> list[SuiteFile]:
    """The suite as any other implementation reads it."""
    return [
        SuiteFile.model_validate_json(path.read_text(encoding="utf-8"))
        for path in sorted(directory.glob("*.json"))
    ]


def asked(files: Iterable[SuiteFile]) -> list[Asked]:
    """Every case, in the files' order."""
    return [
        Asked(
            file.topic,
            case,
            {name: file.policies[name] for name in _policies_of(case)},
            file.sites[case.site] if case.site is not None else None,
        )
        for file in files
        for case in file.cases
    ]


def _policies_of(case: Case) -> list[str]:
    changed = (step.before.policy for step in case.steps if step.before is not None)
    return [case.policy, *(name for name in changed if name is not None)]


@cache
def _parsed(text: str) -> Policy:
    return policy_of(json.loads(text))


def _asks(text: Mapping[str, Any]) -> dict[str, str]:
    wanted = requirements(_parsed(json.dumps(text)))
    return {each.title: each.code.number for each in wanted if each not in ALWAYS}


def _needs(case: Case) -> list[Ability]:
    found = {ability for step in case.steps for ability in _step_needs(step)}
    return sorted(found)


def _step_needs(step: Step) -> Iterable[Ability]:
    request, before = step.request, step.before
    yield request.way
    if step.expect.reason in ("rate_limited", "body_too_large"):
        yield "limits"
    if before is not None and before.policy is not None:
        yield "change"
    if before is not None and before.revoke:
        yield "revoke"
    if isinstance(request, Client):
        said: dict[Ability, object] = {
            "clock": request.at,
            "address": request.source,
            "via": request.via,
            "agent": request.who.actor if request.who else None,
        }
        yield from (ability for ability, value in said.items() if value is not None)
        strange = request.certificate != Certificate()
    else:
        strange = request.peer.connection != "mtls" or request.peer.certificate != Certificate()
    if strange:
        yield "certificates"


def write() -> None:
    """Makes conformance/ anew; what no topic makes any more goes."""
    files = compiled()
    DIRECTORY.mkdir(exist_ok=True)
    for path in DIRECTORY.glob("*.json"):
        if path.stem not in files:
            path.unlink()
    for name, file in files.items():
        (DIRECTORY / f"{name}.json").write_text(text_of(file), encoding="utf-8")
    SCHEMA.write_text(schema_text(CONFORMANCE_FORMAT), encoding="utf-8")


if __name__ == "__main__":
    write()
