"""How commands speak: problems with place and remedy on stderr, results on stdout, JSON where a program reads."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

from meshward.kit.errors import MeshwardError, PolicyInvalid, Problem
from meshward.kit.exits import Exit
from meshward.kit.statefile import machine_error
from meshward.kit.text import one_line

_STYLE = {"error": "bold red", "lint": "bold yellow"}
_BEYOND_ASCII = re.compile(r"[^ -~\n]")


class _Terminal(Console):
    """What others wrote (a reason, a subject, a server's answer) is shown, and does nothing to the terminal."""

    def print(self, *objects: Any, **how: Any) -> None:
        super().print(*map(_harmless, objects), **how)


def stderr() -> Console:
    return _Terminal(stderr=True, highlight=False, soft_wrap=True)


def stdout() -> Console:
    return _Terminal(highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    sys.stdout.write(_BEYOND_ASCII.sub(_visible, text) + "\n")


def _visible(char: re.Match[str]) -> str:
    return char[0] if char[0].isprintable() else json.dumps(char[0])[1:-1]


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return "\n".join(map(one_line, value.split("\n")))
    if isinstance(value, Text):
        value.plain = _harmless(value.plain)
    return value


def print_problems(problems: Iterable[Problem]) -> None:
    """Each problem as `place: severity CODE: message` and its remedy, on stderr."""
    console = stderr()
    for problem in problems:
        line = Text()
        if problem.where:
            line.append(f"{problem.where}: ")
        line.append(f"{problem.severity} {problem.code}", style=_STYLE.get(problem.severity, "bold"))
        line.append(f": {problem.message}")
        console.print(line)
        if problem.remedy:
            console.print(Text(f"    {problem.remedy}", style="dim"))


def fail(error: MeshwardError, *, as_json: bool = False) -> Exit:
    """Report `error` and return the exit code that it asks for."""
    problems = (
        error.problems
        if isinstance(error, PolicyInvalid)
        else [Problem(error.code, error.message, error.remedy)]
    )
    if as_json:
        print_json({"ok": False, "exit": int(error.exit_code), "problems": [p.as_json() for p in problems]})
    else:
        print_problems(problems)
    return error.exit_code


def run_verb(action: Callable[[], Exit], *, as_json: bool = False) -> None:
    """Run a verb; expected failures become a report and an exit code. Always exits."""
    try:
        code = action()
    except MeshwardError as error:
        code = fail(error, as_json=as_json)
    except KeyboardInterrupt:
        code = Exit.FAULT
    except BrokenPipeError:
        code = Exit.OK
    except OSError as error:
        code = fail(machine_error(error), as_json=as_json)
    raise SystemExit(int(code))
