"""Write docs/codes.md: every diagnostic code with what it says and what to do, from the catalogue.

usage: python scripts/codes.py [--check]     --check: exit 1 if the page is not what it would be
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from meshward.kit import codes
from meshward.kit.codes import Code
from meshward.trace.reasons import REMEDIES

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "meshward"
PAGE = ROOT / "docs" / "codes.md"
_INTRO = """# Codes

Every diagnostic has a stable code, which keeps its meaning. This page is made by `make docs` from the catalogue,
`kit/codes/`. The message says more exactly what is wrong and where, and often comes with a more exact remedy.
Refusals that clients meet have [reasons](#reasons) instead; [commands and codes](cli.md) says which come with which
status, and lists the exit codes.
"""


def named() -> Iterator[tuple[str, str]]:
    """(name, package) for each `codes.NAME` in the sources."""
    for file in sorted(SOURCES.rglob("*.py")):
        package = file.relative_to(SOURCES).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "codes"
            ):
                yield node.attr, package


def raised() -> dict[Code, list[str]]:
    """The packages that say each code."""
    found: dict[Code, set[str]] = defaultdict(set)
    for name, package in named():
        if isinstance(code := getattr(codes, name), Code):
            found[code].add(package)
    return {code: sorted(packages) for code, packages in found.items()}


def page() -> str:
    """The page as Markdown."""
    packages = raised()
    sections = [_INTRO]
    for title, family in codes.FAMILIES.items():
        sections += [f"## {title}\n", *(_section(code, packages.get(code, [])) for code in family)]
    return "\n".join([*sections, _reasons()])


def _reasons() -> str:
    rows = [f"| `{reason}` | {text} |" for reason, text in REMEDIES.items()]
    head = [
        "## Reasons\n",
        "Why a request was refused, and what `meshward trace` then advises.\n",
        "| reason | what to do |",
        "| --- | --- |",
    ]
    return "\n".join([*head, *rows, ""])


def _section(code: Code, packages: list[str]) -> str:
    origin = ", ".join(f"`{package}`" for package in packages)
    return (
        f"### {code.number}\n\n{code.title}\n\n* Remedy: {code.remedy}\n* Exit {code.exit:d}, from {origin}\n"
    )


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text() != page())
    PAGE.write_text(page())
