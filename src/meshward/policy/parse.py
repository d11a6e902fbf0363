"""Policy files in, a policy with positions out, or every problem that a person should mend.

1. read each file into a tree of plain values (`tree`),
2. merge the trees, in the order given,
3. hold the whole against the schema (`schema`, `shape`),
4. check what no schema can say: references, unique names, meaning (`rules`).

Pure: `apply.sources` reads the files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from pydantic import ValidationError

from meshward.kit import codes
from meshward.kit.errors import PolicyInvalid, Problem, Where
from meshward.kit.strict import json_value
from meshward.kit.text import quoted
from meshward.policy.jsonschema import POLICY_FORMAT
from meshward.policy.positions import Positions
from meshward.policy.rules import MOST_PROBLEMS, check
from meshward.policy.schema import Policy
from meshward.policy.shape import shape_problems
from meshward.policy.tree import MOST_BYTES, ListNode, MappingNode, Source, Unusable, read_tree

__all__ = ["Document", "Source", "from_json", "parse", "to_json"]


@dataclass(frozen=True, slots=True)
class Document:
    """A policy that holds together, where each of its values stands, and what in it is odd but allowed."""

    policy: Policy
    positions: Positions
    lints: tuple[Problem, ...]


def parse(sources: Sequence[Source]) -> Document:
    """The policy that `sources` give together. Raises PolicyInvalid with all problems, in their order."""
    problems: list[Problem] = []
    roots = _trees(sources, problems)
    if len(roots) < len(sources) or not roots:
        raise _invalid_error(
            problems or [Problem(codes.POLICY_EMPTY, "there is no policy file", "Give one.")], sources
        )
    root = merge(roots, problems)
    positions = Positions(root)
    policy = _validate_types(root, positions, problems)
    if policy is not None:
        problems += check(policy, positions)
    if policy is None or any(problem.severity == "error" for problem in problems):
        raise _invalid_error(problems, sources)
    return Document(policy, positions, tuple(_sort_problems(problems, sources)))


def to_json(policy: Policy) -> str:
    """The policy as one canonical line of JSON, which `parse` reads back as the same policy."""
    data = policy.model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def from_json(data: bytes) -> Policy:
    """What `to_json` wrote. Raises ValueError for what is no policy, and for one that gives a name twice."""
    json_value(data)
    return Policy.model_validate_json(data)


def merge(roots: Sequence[MappingNode], problems: list[Problem]) -> MappingNode:
    """The files as one: mappings by key, lists one after the other; a name given twice is a problem."""
    first = roots[0]
    for root in roots[1:]:
        for key, node in root.entries.items():
            known = first.entries.get(key)
            if known is None:
                first.put(key, node, root.keys[key])
            elif isinstance(known, ListNode) and isinstance(node, ListNode):
                for item in node.items:
                    known.add(item)
            elif isinstance(known, MappingNode) and isinstance(node, MappingNode):
                _merge_names(known, node, problems)
            elif key != "version" or known.value != node.value:
                problems.append(_twice(key, first, root))
    return first


def _merge_names(known: MappingNode, added: MappingNode, problems: list[Problem]) -> None:
    for key, node in added.entries.items():
        if key in known.entries:
            problems.append(_twice(key, known, added))
        else:
            known.put(key, node, added.keys[key])


def _twice(key: str, first: MappingNode, second: MappingNode) -> Problem:
    message = f"{quoted(key)} is given twice, first at {first.keys[key]}"
    return Problem(codes.GIVEN_TWICE, message, "Take one of them out.", second.keys[key])


def _trees(sources: Sequence[Source], problems: list[Problem]) -> list[MappingNode]:
    """The files' trees, as many as can be read."""
    if sum(len(source.data) for source in sources) > MOST_BYTES:
        message = f"the policy is larger than {MOST_BYTES // 1024**2} MiB"
        where = Where(sources[-1].name, 1, 1)
        problems.append(Problem(codes.POLICY_TOO_LARGE, message, "Take out what is not policy.", where))
        return []
    roots = []
    for source in sources:
        try:
            roots.append(read_tree(source, problems))
        except Unusable as error:
            problems.append(error.problem)
    return roots


def _validate_types(root: MappingNode, positions: Positions, problems: list[Problem]) -> Policy | None:
    try:
        return Policy.model_validate(root.value, by_alias=True, by_name=False)
    except ValidationError as error:
        known = {problem.where for problem in problems}
        new = (
            problem
            for problem in shape_problems(error, positions, POLICY_FORMAT)
            if problem.where not in known
        )
        problems += islice(new, MOST_PROBLEMS + 1)
        return None


def _invalid_error(problems: list[Problem], sources: Sequence[Source]) -> PolicyInvalid:
    ordered = _sort_problems(problems, sources)
    kept = ordered[:MOST_PROBLEMS]
    if len(ordered) > len(kept):
        message = f"there are more than these {MOST_PROBLEMS} problems"
        kept.append(Problem(codes.MORE_PROBLEMS, message, "Mend these first."))
    return PolicyInvalid(kept)


def _sort_problems(problems: list[Problem], sources: Sequence[Source]) -> list[Problem]:
    order = {source.name: index for index, source in enumerate(sources)}

    def place(problem: Problem) -> tuple[int, int, int]:
        where = problem.where
        return (order.get(where.file, -1), where.line, where.column) if where else (-1, 0, 0)

    return sorted(problems, key=place)
