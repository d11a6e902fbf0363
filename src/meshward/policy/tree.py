"""From the bytes of a policy file to plain values that remember where they stood.

The YAML taken here is small on purpose: mappings, lists, text, whole numbers, true and false. Anchors,
aliases, tags, directives, several documents and empty values are refused with a sentence, so a file has one
meaning and cannot grow while it is read. libyaml finds the tokens; what a plain scalar means is decided here,
by YAML 1.2's core schema less its odd numbers: a date stays text, and `no` is not false.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from yaml import CSafeLoader, YAMLError  # type: ignore[import-untyped]
from yaml import events as y

from meshward.kit import codes
from meshward.kit.errors import Problem, Where
from meshward.kit.text import character_name, first_unseen, quoted

MOST_BYTES = 4 * 1024 * 1024  # 1,000 models and 1,000 grants take about 0.5 MB
MOST_NODES = 100_000  # and about 40,000 values
MOST_DEPTH = 24
_MOST_DIGITS = 15  # exact in every JSON reader

_INT = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
_NUMBER = re.compile(
    r"[-+]?(0o[0-7]+|0x[0-9a-fA-F]+|(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
    re.ASCII,
)
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, slots=True)
class Source:
    """One policy file: the name by which messages call it, and what is in it."""

    name: str
    data: bytes


@dataclass(slots=True)
class Node:
    """One value of a file and its place; lines and columns count from 1."""

    value: Any
    name: str  # the key under which it stands; in a list, that of the list
    file: str
    line: int
    column: int

    @property
    def where(self) -> Where:
        return Where(self.file, self.line, self.column)


@dataclass(slots=True)
class MappingNode(Node):
    """A mapping: `value` is the plain dict, `entries` the same as nodes, `keys` where each key stands."""

    entries: dict[str, Node]
    keys: dict[str, Where]

    def put(self, key: str, node: Node, where: Where) -> None:
        self.entries[key], self.keys[key], self.value[key] = node, where, node.value


@dataclass(slots=True)
class ListNode(Node):
    """A list: `value` is the plain list, `items` the same as nodes."""

    items: list[Node]

    def add(self, node: Node) -> None:
        self.items.append(node)
        self.value.append(node.value)


class Unusable(Exception):
    """A file of which nothing can be read. Carries why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def read_tree(source: Source, problems: list[Problem]) -> MappingNode:
    """The file's top mapping. Lesser findings are added to `problems`; raises Unusable if there is none."""
    text = _text(source)
    root = _Builder(source.name, problems).build(text)
    if root is None or root.value is None:
        raise _unusable_error(codes.POLICY_EMPTY, source, "the file is empty", "Begin with `version: 1`.")
    if not isinstance(root, MappingNode):
        raise _unusable_error(
            codes.WRONG_TYPE,
            source,
            "the policy is not a mapping",
            "Begin with `version: 1`.",
            root.line,
            root.column,
        )
    return root


def _text(source: Source) -> str:
    """The file as text in which every character can be seen; raises Unusable."""
    if len(source.data) > MOST_BYTES:
        limit = MOST_BYTES // 1024 // 1024
        raise _unusable_error(
            codes.POLICY_TOO_LARGE,
            source,
            f"the policy is larger than {limit} MiB",
            "Take out what is not policy.",
        )
    try:
        text = source.data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _place(source.data[: error.start].decode("utf-8"))
        raise _unusable_error(
            codes.NOT_PLAIN_TEXT, source, "this is not UTF-8 text", "Save the file as UTF-8.", line, column
        ) from None
    if (index := _first_unseen(text)) is not None:
        line, column = _place(text[:index])
        message = f"{_near(text, index)}an invisible character, {character_name(text[index])}"
        remedy = "Take it out: what is not seen as itself is not taken."
        raise _unusable_error(codes.NOT_PLAIN_TEXT, source, message, remedy, line, column)
    return text


def _first_unseen(text: str) -> int | None:
    """Line breaks (LF, CR LF) and tabs may stand in a file, though not in a value."""
    start = 0
    for line in text.split("\n"):
        found = first_unseen(line.removesuffix("\r").replace("\t", " "))
        if found is not None:
            return start + found
        start += len(line) + 1
    return None


def _near(text: str, index: int) -> str:
    """The last key before `index` on its line, if there is one: a hint for the reader."""
    line = text[text.rfind("\n", 0, index) + 1 : index]
    keys = re.findall(r"([A-Za-z0-9._-]+)[\"']?:", line[-200:])
    return f"{quoted(keys[-1])}: there is " if keys else "there is "


def _place(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _unusable_error(
    code: codes.Code, source: Source, message: str, remedy: str, line: int = 1, column: int = 1
) -> Unusable:
    return Unusable(Problem(code, message, remedy, Where(source.name, line, column)))


class _Builder:
    """Builds the tree from libyaml's events, without recursion; depth and size are bounded on the way."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self._file = file
        self._problems = problems

    def build(self, text: str) -> Node | None:
        """The one document's root; None if there is none. Raises Unusable."""
        root: Node | None = None
        documents = 0
        events = self._events(text)
        for event in events:
            if isinstance(event, y.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._refusal_error(
                        event, "a second document begins here", "Keep one document in a file."
                    )
                if event.version or event.tags:
                    raise self._refusal_error(
                        event, "directives are not taken", "Take the line with `%` out."
                    )
                root = self._content(next(events), events)
        return root

    def _events(self, text: str) -> Iterator[Any]:
        parser = CSafeLoader(text)
        try:
            while parser.check_event():
                yield parser.get_event()
        except YAMLError as error:
            raise self._syntax_error(error) from None
        finally:
            parser.dispose()

    def _content(self, event: Any, events: Iterator[Any]) -> Node:
        root = self._node(event, "")
        stack = [root] if isinstance(root, (MappingNode, ListNode)) else []
        count = 1
        while stack:
            event = next(events)
            if isinstance(event, (y.MappingEndEvent, y.SequenceEndEvent)):
                stack.pop()
                continue
            count += 1
            self._require_bounds(event, len(stack), count)
            child = self._child(stack[-1], event, events)
            if isinstance(child, (MappingNode, ListNode)):
                stack.append(child)
        return root

    def _child(self, parent: Node, event: Any, events: Iterator[Any]) -> Node:
        """Read one item of a list, or one key and its value, into `parent`."""
        if isinstance(parent, ListNode):
            child = self._node(event, parent.name)
            parent.add(child)
        elif isinstance(parent, MappingNode):
            key, where = self._key(event, parent), self._where(event)
            child = self._node(next(events), key)
            if (first := parent.keys.get(key)) is None:
                parent.put(key, child, where)
            else:  # the second one is read to its end, and dropped
                message = f"{quoted(key)} is given twice, first at {first}"
                self._report(codes.GIVEN_TWICE, where, message, "Take one of them out.")
        return child

    def _key(self, event: Any, parent: Node) -> str:
        if not isinstance(event, y.ScalarEvent):
            if isinstance(event, y.AliasEvent):
                raise self._refusal_error(event, "aliases are not taken", "Write the value out.")
            raise self._refusal_error(
                event, "a list or mapping stands as a key", "Use text as the key.", codes.KEY_NOT_TEXT
            )
        key = self._scalar(event, parent.name)
        if isinstance(key, str):
            return key
        self._report(
            codes.KEY_NOT_TEXT,
            self._where(event),
            f"the key {quoted(event.value)} is not text",
            "Put it in quotes.",
        )
        return str(event.value)

    def _node(self, event: Any, name: str) -> Node:
        mark = event.start_mark
        place = (name, self._file, mark.line + 1, mark.column + 1)
        if isinstance(event, y.ScalarEvent):
            return Node(self._scalar(event, name), *place)
        if isinstance(event, y.AliasEvent):
            raise self._refusal_error(
                event, f"the alias {quoted('*' + event.anchor)} is not taken", "Write the value out."
            )
        self._require_plain(event)
        if isinstance(event, y.MappingStartEvent):
            return MappingNode({}, *place, {}, {})
        return ListNode([], *place, [])

    def _scalar(self, event: Any, name: str) -> str | int | bool | None:
        self._require_plain(event)
        text: str = event.value
        if event.style:
            return self._require_visible(event, name, text)
        if text in _NULLS and name:
            remedy = "Give it one, or take the key out."
            self._report(codes.WRONG_TYPE, self._where(event), f"{quoted(name)} has no value", remedy)
        if text in _NULLS:
            return None
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text) and len(text) <= _MOST_DIGITS:
            return int(text)
        if _NUMBER.fullmatch(text):
            remedy = "Put it in quotes if it is text; numbers are whole and decimal here."
            message = f"{quoted(name)}: the number {quoted(text)} is not taken"
            self._report(codes.NUMBER_NOT_TAKEN, self._where(event), message, remedy)
        return self._require_visible(event, name, text)

    def _require_visible(self, event: Any, name: str, text: str) -> str:
        index = first_unseen(text)
        if index is not None:
            what = (
                "a line break"
                if text[index] == "\n"
                else f"an invisible character, {character_name(text[index])}"
            )
            message = f"{quoted(name)}: {quoted(text)} has {what}"
            self._report(
                codes.NOT_PLAIN_TEXT,
                self._where(event),
                message,
                "Take it out: what is not seen as itself is not taken.",
            )
        return text

    def _require_plain(self, event: Any) -> None:
        if event.anchor is not None:
            raise self._refusal_error(
                event, f"the anchor {quoted('&' + event.anchor)} is not taken", "Take it out."
            )
        if event.tag is not None:
            remedy = "Take it out; put text in quotes if it looks like a number."
            raise self._refusal_error(event, f"the tag {quoted(event.tag)} is not taken", remedy)

    def _require_bounds(self, event: Any, depth: int, count: int) -> None:
        if depth >= MOST_DEPTH:
            raise self._refusal_error(
                event,
                f"values are nested deeper than {MOST_DEPTH}",
                "No key is that deep.",
                codes.POLICY_TOO_LARGE,
            )
        if count > MOST_NODES:
            remedy = "Take out what is not policy."
            raise self._refusal_error(
                event, f"the policy has more than {MOST_NODES} values", remedy, codes.POLICY_TOO_LARGE
            )

    def _where(self, event: Any) -> Where:
        return Where(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _report(self, code: codes.Code, where: Where, message: str, remedy: str) -> None:
        self._problems.append(Problem(code, message, remedy, where))

    def _refusal_error(
        self, event: Any, message: str, remedy: str, code: codes.Code = codes.YAML_NOT_TAKEN
    ) -> Unusable:
        return Unusable(Problem(code, message, remedy, self._where(event)))

    def _syntax_error(self, error: Any) -> Unusable:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        context = getattr(error, "context", None)
        what = (
            ", ".join(part for part in (context, getattr(error, "problem", None)) if part)
            or "it cannot be read"
        )
        where = Where(self._file, mark.line + 1, mark.column + 1) if mark else Where(self._file, 1, 1)
        remedy = "Look for wrong indentation, or a missing quote, bracket or colon, here or just before."
        return Unusable(Problem(codes.NOT_YAML, f"this is not YAML: {what}", remedy, where))
