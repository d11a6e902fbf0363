"""Change the definition in one place at a time, and see that a directed test fails each time.

It happens in this process: a changed module takes the place of the real one, the rows of `tests/decide/clause_check.py`
are put to it, and the first that fails is noted. No file is touched.

usage: python scripts/mutate.py [MODULE...] [--write | --check]
    MODULE     as `decide.clauses`; every module of the definition if none is given
    --write    write the table in docs/testing.md, which speaks of `decide.clauses`
    --check    fail if that table is not what it would be
Exit code 1 if a change is not noticed, or if one that is called equivalent below is, or is not there.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType

from mutants import Mutant, mutants_of

ROOT = Path(__file__).parents[1]
PACKAGES = ("decide", "check")
PAGE = ROOT / "docs" / "testing.md"
BEGIN, END = "<!-- begin: scripts/mutate.py --write -->\n", "<!-- end: scripts/mutate.py -->\n"
IN_THE_PAGE = "decide.clauses"
MODULES = (
    IN_THE_PAGE,
    "decide.decide",
    "decide.index",
    "decide.roles",
    "decide.claims",
    "decide.agents",
    "decide.persons",
    "decide.hours",
    "decide.between",
    "decide.misses",
    "decide.identities",
    "decide.operators",
    "check.promises",
)
_ISSUER = "plan.issuers[_require_known(as_.issuer, plan.issuers, 'issuer')] if as_.issuer is not None else"
_OR_APART = "_is_excepted(grant, law) or set(law.roles).isdisjoint(grant.roles)"
EQUIVALENT: dict[str, str] = {
    "decide.between._known_alike: identity.issuer or '' -> identity.issuer": "no issuer is called None, nor ''",
    "decide.between._known_alike: identity.workload or '' -> identity.workload": "no workload is called so, either",
    f"decide.identities.identity_from_claims: {_ISSUER} None -> {_ISSUER} False": "no issuer by another name",
    f"check.promises.breaches: {_OR_APART} -> _is_excepted(grant, law)": "it spares a search that would find nothing",
}
"""Changes after which every answer is the same, and why."""
SECONDS = 1
"""Of processor time, after which a change is one that hangs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one change: the row that noticed it, or None."""

    module: str
    mutant: Mutant
    noticed: str | None

    @property
    def name(self) -> str:
        return f"{self.module}.{self.mutant.name}"


class _Hangs(BaseException):
    pass


class _Definition(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the definition from code that is held here, so that a module of it can be another."""

    def __init__(self) -> None:
        self.codes = dict(_compiled())

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        package = fullname.removeprefix("meshward.") in PACKAGES
        known = fullname in self.codes
        return importlib.util.spec_from_loader(fullname, self, is_package=package) if known else None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.codes[module.__name__], module.__dict__)  # noqa: S102

    def checks(self) -> dict[str, Callable[[], None]]:
        """The rows, put to the definition as it now is."""
        for name in self.codes:
            sys.modules.pop(name, None)
        found: dict[str, Callable[[], None]] = importlib.import_module("clause_check").CHECKS
        return found


def _compiled() -> Iterator[tuple[str, CodeType]]:
    check = ROOT / "tests" / "decide" / "clause_check.py"
    yield "clause_check", compile(check.read_text(), str(check), "exec")
    for package in PACKAGES:
        for file in (ROOT / "src" / "meshward" / package).glob("*.py"):
            name = f"meshward.{package}" + (f".{file.stem}" if file.stem != "__init__" else "")
            yield name, compile(file.read_text(), str(file), "exec")


def findings(modules: Sequence[str]) -> Iterator[Finding]:
    """Each change of `modules`, and which row noticed it. Raises AssertionError if one fails without any."""
    definition = _Definition()
    sys.meta_path.insert(0, definition)
    if (failed := _first_failing(definition, 60 * SECONDS)) is not None:  # it also makes the plans
        raise AssertionError(f"{failed} fails without any change")
    for module in modules:
        file = ROOT.joinpath("src", "meshward", *module.split(".")).with_suffix(".py")
        whole = definition.codes[f"meshward.{module}"]
        for mutant in mutants_of(file.read_text(), str(file)):
            definition.codes[f"meshward.{module}"] = mutant.code
            yield Finding(module, mutant, _first_failing(definition))
        definition.codes[f"meshward.{module}"] = whole


def _first_failing(definition: _Definition, seconds: int = SECONDS) -> str | None:
    name = "the import"
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        for name, check in definition.checks().items():  # noqa: B007
            check()
    except (Exception, _Hangs):
        return name
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return None


def _hangs(*_: object) -> None:
    raise _Hangs


def section(found: Sequence[Finding]) -> str:
    """The part of the page: what was changed where, and which rows noticed."""
    groups: dict[tuple[str, str], list[str]] = {}
    for finding in found:
        groups.setdefault((finding.mutant.function, finding.mutant.kind), []).append(
            finding.noticed or "none"
        )
    lines = [
        "| in `decide/clauses.py` | change | times | noticed by `tests/decide/test_clauses.py::test_clause[...]` |"
    ]
    lines += ["| --- | --- | --- | --- |"]
    for (function, kind), rows in groups.items():
        lines.append(
            f"| `{function}` | {kind} | {len(rows)} | {', '.join(f'`{row}`' for row in dict.fromkeys(rows))} |"
        )
    equal = [f"- `{name}`: {why}" for name, why in EQUIVALENT.items()]
    return "\n".join([*lines, "", "Changes elsewhere after which every answer is the same:", "", *equal, ""])


def page(found: Sequence[Finding]) -> str:
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{section(found)}{END}{rest.split(END)[1]}"


def problems(found: Sequence[Finding]) -> Iterator[str]:
    """Changes that nothing notices, and what EQUIVALENT says in vain."""
    unnoticed = {finding.name for finding in found if finding.noticed is None}
    modules = {finding.module for finding in found}
    yield from (f"not noticed: {name}" for name in sorted(unnoticed - EQUIVALENT.keys()))
    here = {name for name in EQUIVALENT if ".".join(name.split(".")[:2]) in modules}
    yield from (f"not equivalent, or not there: {name}" for name in sorted(here - unnoticed))


def main(arguments: Sequence[str]) -> int:
    sys.path.insert(0, str(ROOT / "tests" / "decide"))
    signal.signal(signal.SIGVTALRM, _hangs)
    found = list(findings([each for each in arguments if not each.startswith("--")] or MODULES))
    for finding in found:
        print(f"{finding.name} | {finding.noticed or EQUIVALENT.get(finding.name)}")
    wrong = list(problems(found))
    shown = [finding for finding in found if finding.module == IN_THE_PAGE]
    if "--write" in arguments:
        PAGE.write_text(page(shown))
    elif "--check" in arguments and page(shown) != PAGE.read_text():
        wrong.append("docs/testing.md: make mutate writes another table")
    counts = Counter(finding.module for finding in found)
    print("\n".join(f"{module}: {count} changes" for module, count in counts.items()))
    print("\n".join(wrong), file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
