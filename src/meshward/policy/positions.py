"""Where each value of a policy stands in its file."""

from __future__ import annotations

from collections.abc import Sequence

from meshward.kit.errors import Where
from meshward.policy.tree import ListNode, MappingNode, Node

Path = Sequence[str | int]


class Positions:
    """Answers by path: the keys and list indexes from the top to a value, like `("grants", 0, "models")`."""

    def __init__(self, root: MappingNode) -> None:
        self._root = root

    def at(self, path: Path) -> Where:
        """Where the value at `path` stands: a mapping or list at its key, text at itself.

        Steps that lead nowhere (a default, a name that pydantic adds) are passed over: the nearest value that
        is in the file answers.
        """
        node: Node = self._root
        where = node.where
        for step in path:
            child = _child(node, step)
            if child is None:
                continue
            plain = type(child) is Node
            where = node.keys[str(step)] if isinstance(node, MappingNode) and not plain else child.where
            node = child
        return where

    def key(self, path: Path) -> Where:
        """Where the last key of `path` stands; if there is none, as `at`."""
        node = self.node(path[:-1])
        found = node.keys.get(str(path[-1])) if isinstance(node, MappingNode) else None
        return found or self.at(path)

    def node(self, path: Path) -> Node:
        """The nearest value to `path` that is in the file."""
        node: Node = self._root
        for step in path:
            node = _child(node, step) or node
        return node

    def present(self, path: Path) -> tuple[str | int, ...]:
        """`path` without the steps that are not in the file."""
        node: Node = self._root
        found: tuple[str | int, ...] = ()
        for step in path:
            child = _child(node, step)
            if child is not None:
                found += (step,)
                node = child
        return found


def spell_path(path: Path) -> str:
    """`grants[0].models`, for a sentence."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _child(node: Node, step: str | int) -> Node | None:
    if isinstance(node, MappingNode):
        return node.entries.get(step) if isinstance(step, str) else None
    if isinstance(node, ListNode) and isinstance(step, int) and step < len(node.items):
        return node.items[step]
    return None
