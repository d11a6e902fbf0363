"""bench/RESULTS.md: one section per scenario, each replaced as a whole by the run that measured it anew."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine import description, moment

RESULTS = Path(__file__).with_name("RESULTS.md")
_TITLE = """# Results

Written by `python -m bench` (`make bench`), never by hand. Targets and what stands beside them are the design's;
a number that is missed stands here as missed. Machines differ: read a figure beside its own section's machine
and load.
"""


@dataclass(frozen=True)
class Section:
    """What one scenario found, as Markdown."""

    name: str
    title: str
    lines: list[str]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [_line(head), _line(["---"] * len(head)), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def prose(*sentences: str) -> list[str]:
    """A paragraph, broken into lines."""
    return textwrap.wrap(" ".join(sentences), 116, break_long_words=False, break_on_hyphens=False)


def say(line: str) -> None:
    """Progress, to stderr."""
    print(line, file=sys.stderr, flush=True)


def merged(text: str, section: Section, when: str, order: Sequence[str]) -> str:
    """`text`, a whole results file, with `section` new or in place of its old self, in the order of scenarios."""
    parts = dict(re.findall(r"^<!-- (\w+) -->\n(.*?)(?=^<!-- |\Z)", text, re.MULTILINE | re.DOTALL))
    parts[section.name] = "\n".join([f"## {section.title}", "", f"*{when}*", "", *section.lines, "", ""])
    known = [name for name in order if name in parts]
    return _TITLE + "\n" + "".join(f"<!-- {name} -->\n{parts[name]}" for name in known).rstrip() + "\n"


def write(section: Section, order: Sequence[str]) -> None:
    """Put `section` into RESULTS.md, with this machine and moment."""
    old = RESULTS.read_text() if RESULTS.exists() else ""
    RESULTS.write_text(merged(old, section, f"{moment()}; {description()}", order))
