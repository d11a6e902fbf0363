"""nginx.conf as a small tree, and the one place where text becomes its syntax.

Every argument is data unless its type says otherwise, and data can hold no variable: nginx has no escape for
`$`, so it is only ever written by `Variable`, and by `Joined` and `IfCondition`, which hold one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from meshward.kit import codes
from meshward.kit.errors import MeshwardError

_BARE = re.compile(r"[A-Za-z0-9/@=^][A-Za-z0-9/@=^~._:,+-]*", re.ASCII)
_VARIABLE = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_LONGEST = 2000  # nginx reads an argument through a buffer of 4096 bytes, whose size it does not tell


def quote(text: str) -> str:
    """`text` as one argument that nginx reads back byte for byte.

    Raises MeshwardError (MW1201) for what cannot be: control and invisible characters, `$`, over-long text.
    """
    if "$" in text:
        raise _emit_error(text, "holds `$`, which nginx always reads as a variable")
    if not text.isprintable():
        raise _emit_error(text, "holds a control or invisible character")
    if len(text.encode()) > _LONGEST:
        raise _emit_error(text[:40] + "…", f"is longer than {_LONGEST} bytes")
    if _BARE.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _emit_error(text: str, why: str) -> MeshwardError:
    return MeshwardError(codes.NOT_FOR_NGINX, f"`{text!r}` {why}")


@dataclass(frozen=True, slots=True)
class Variable:
    """An nginx variable of the program's own."""

    name: str

    def __post_init__(self) -> None:
        if not _VARIABLE.fullmatch(self.name):
            raise _emit_error(self.name, "is no name of a variable")

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True, slots=True)
class Joined:
    """Literal text and variables, side by side in one argument."""

    parts: tuple[str | Variable, ...]

    def __str__(self) -> str:
        inner = (f"${{{p.name}}}" if isinstance(p, Variable) else _inside(p) for p in self.parts)
        return f'"{"".join(inner)}"'


def _inside(text: str) -> str:
    quoted = quote(text)
    return quoted[1:-1] if quoted.startswith('"') else quoted


def join_values(*parts: str | Variable) -> Joined:
    return Joined(parts)


@dataclass(frozen=True, slots=True)
class Regex:
    r"""A map's regular expression, without captures, and ended by `\z`: `$` lets a line feed pass."""

    pattern: str

    def __post_init__(self) -> None:
        if re.search(r"(?<!\\)\((?!\?[:!=])", self.pattern):
            raise _emit_error(self.pattern, "captures")

    def __str__(self) -> str:
        return quote(f"~{self.pattern}")


@dataclass(frozen=True, slots=True)
class Key:
    """A map's literal key. The backslash keeps `default`, `include` and `~…` from being anything else."""

    text: str

    def __str__(self) -> str:
        return quote(f"\\{self.text}")


@dataclass(frozen=True, slots=True)
class IfCondition:
    """The condition of an `if`: a variable that equals, or differs from, a literal."""

    variable: Variable
    operator: str
    literal: str

    def __str__(self) -> str:
        if self.operator not in ("=", "!="):
            raise _emit_error(self.operator, "is no comparison")
        return f'({self.variable} {self.operator} "{_inside(self.literal)}")'


Argument = str | Variable | Joined | Regex | Key | IfCondition


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive. `block` is None for a simple one. In a `map` the name itself may be a key."""

    name: str | Regex | Key
    arguments: tuple[Argument, ...] = ()
    block: tuple[Directive, ...] | None = None

    def lines(self, indent: str = "") -> list[str]:
        words = [self._head(), *(quote(a) if isinstance(a, str) else str(a) for a in self.arguments)]
        head = indent + " ".join(words)
        if self.block is None:
            return [head + ";"]
        inner = [line for child in self.block for line in child.lines(indent + "    ")]
        return [head + " {", *inner, indent + "}"]

    def _head(self) -> str:
        if isinstance(self.name, str) and not _NAME.fullmatch(self.name):
            raise _emit_error(self.name, "is no name of a directive")
        return str(self.name)


def simple(name: str | Regex | Key, *arguments: Argument) -> Directive:
    return Directive(name, arguments)


def block(name: str, *arguments: Argument, inside: Sequence[Directive]) -> Directive:
    return Directive(name, arguments, tuple(inside))


def text(directives: Sequence[Directive]) -> str:
    """The whole file."""
    return "\n".join(line for directive in directives for line in directive.lines()) + "\n"


def mapping(
    source: Variable | Joined, name: str, default: str, *rows: tuple[Key | Regex, str | Variable | Joined]
) -> Directive:
    """A `map`: the variable `name` from `source`. Literal keys are matched in any case."""
    inside = [simple("default", default), *(simple(key, value) for key, value in rows)]
    return block("map", source, Variable(name), inside=inside)


def settable(name: str) -> Directive:
    """A variable that is empty until Lua sets it, and keeps what it was set to through internal redirects."""
    return block("map", "", Variable(name), inside=[simple("default", "")])


def exact(source: str, name: str, pattern: str) -> Directive:
    """`source` if it has exactly this form, else empty."""
    return mapping(Variable(source), name, "", (Regex(pattern), Variable(source)))


def refuse_if(variable: str, operator: str, literal: str, status: int, *more: Variable) -> Directive:
    """`if (…) { return status; }`: the only thing that an `if` of ours does."""
    answer = simple("return", str(status), *more)
    return block("if", IfCondition(Variable(variable), operator, literal), inside=[answer])
