"""Write docs/codes.md: every diagnostic code with what it says, read from the code that says it.

usage: python scripts/codes.py [--check]     --check: exit 1 if the page is not what it would be
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from meshward.apply.local_paths import LOCAL
from meshward.plan.coverage import enforcers
from meshward.plan.features import Feature, NotYet
from meshward.policy.codes import CODES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "codes.md"
_CODE = re.compile(r"MW\d{4}")
_PARTS = {
    "MW0": "Policy and commands",
    "MW1": "Coverage: what a layer here does not do",
    "MW2": "Identity",
    "MW3": "Data plane and processes",
    "MW4": "Records",
}
_COMPUTED = {  # sentences that are put together at run time
    "MW0501": "A test of the policy fails.",
    "MW0510": "Lint: a grant that can never hold.",
    "MW0511": "Lint: something that is over.",
    "MW0512": "Lint: a deny that can never match.",
    "MW0513": "Lint: an agent that can never act.",
    "MW0900": "Wrong usage of `explain`.",
    "MW0901": "Wrong usage of `up`.",
    "MW0902": "Wrong usage of `revoke`.",
    "MW0905": "Wrong usage of `svid`.",
    "MW0906": "Wrong usage of `rotate`.",
    "MW0908": "Wrong usage of `traffic`.",
    "MW0909": "Arguments that no command takes.",
    "MW1039": "No one hop of a path sees every fact of the decision.",
    "MW1202": "What was asked for cannot be an edge of nginx.",
    "MW2030": "What the decision service knows of the instance is damaged.",
    "MW2032": "The list of who and what was revoked is damaged.",
    "MW2101": "A URL to which no token may go, or that is no edge.",
    "MW2105": "Which issuer, or which client there, is not clear.",
    "MW2108": "The sign-in was refused, or its time is over.",
    "MW2109": "A redirect that does not lead to this machine, or cannot be listened for.",
    "MW2111": "Nobody is signed in, or it is not clear whose login is meant.",
    "MW2114": "Wrong usage of `login`.",
    "MW2122": "Something that `init` needs to know is missing or cannot be.",
    "MW3009": "A component has known holes.",
    "MW3011": "A file of state is damaged.",
    "MW3026": "Somebody else changed it first, or it is another change than the reviewed one.",
    "MW3042": "Hops that were not seen to have the new key or certificate.",
    "MW3044": "The old root must stay: workloads hold SVIDs below it.",
    "MW3045": "A rotation that there is not, or not with these options.",
    "MW3050": "Weights of a model or version that there is not, or that send nothing anywhere.",
    "MW3051": "A walk that cannot be.",
    "MW3052": "A walk went back; the sentence says why.",
    "MW3054": "The file of walks is damaged: whether a version is being walked is not known.",
    "MW3061": "A credential that cannot be rotated, or not in this way.",
    "MW3072": "Whoever asks lacks the operators' right that it takes.",
    "MW3073": "Whoever asks was revoked, or their token.",
    "MW4001": "The records are damaged.",
    "MW4002": "The records were written in another format.",
}
_INTRO = """# Codes

Every diagnostic has a stable code, which keeps its meaning. This page is made from the code by `scripts/codes.py`;
`{...}` stands for what is filled in. Refusals that clients meet have reasons instead: see [commands and codes](cli.md).
"""


def codes() -> dict[str, set[tuple[str, str]]]:
    """For each code: (package that says it, its sentence). The policy's own catalogue comes first."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for code, sentence in CODES.items():
        found[code].add(("policy", sentence))
    for file in sorted((ROOT / "src" / "meshward").rglob("*.py")):
        package = file.relative_to(ROOT / "src" / "meshward").parts[0].removesuffix(".py")
        for code, sentence in _in(ast.parse(file.read_text())):
            if code not in CODES:
                found[code].add((package, sentence))
    for feature in Feature:
        found[feature.code].add(("plan", _wanting(feature)))
    return dict(sorted(found.items()))


def _wanting(feature: Feature) -> str:
    """What a policy that asks for `feature` is told on this machine, or would be on a path that lacks it."""
    if not any(enforcers(path, feature) for path in LOCAL):
        supports = (hop.table.get(feature) for path in LOCAL for hop in path.hops)
        return next(each.why for each in supports if isinstance(each, NotYet))
    return f"Not enforced on a path: {feature.title} ({feature.meaning})."


def _in(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Calls whose arguments hold a code followed by a sentence, and codes that stand by themselves."""
    said: set[str] = set()
    alone: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for code, after in pairwise([*node.args, None]):
                if (name := _code(code)) and after is not None and (sentence := _sentence(after)):
                    said.add(name)
                    yield name, sentence
        elif isinstance(node, ast.Constant) and (name := _code(node)):
            alone.add(name)
    for name in sorted(alone - said):
        yield name, ""


def _code(node: ast.AST | None) -> str:
    text = node.value if isinstance(node, ast.Constant) else None
    return text if isinstance(text, str) and _CODE.fullmatch(text) else ""


def _sentence(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        pieces = (str(p.value) if isinstance(p, ast.Constant) else "{...}" for p in node.values)
        return "".join(pieces)
    return ""


def page() -> str:
    """The page as Markdown."""
    lines = [_INTRO]
    part = ""
    for code, said in codes().items():
        if code[:3] != part:
            part = code[:3]
            lines += ["", f"## {_PARTS[part]}", "", "| code | says | from |", "| --- | --- | --- |"]
        sentences = sorted({sentence for _, sentence in said if sentence}) or [_COMPUTED.get(code, "")]
        packages = ", ".join(sorted({f"`{package}`" for package, _ in said}))
        lines.append(f"| {code} | {_cell(sentences)} | {packages} |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _cell(sentences: list[str]) -> str:
    text = "; ".join(" ".join(sentence.split()) for sentence in sentences)
    return text.replace("|", "\\|")


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text() != page())
    PAGE.write_text(page())
