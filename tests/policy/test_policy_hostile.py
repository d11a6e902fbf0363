"""Strings that break configurations: in every field of a policy they are refused with a place, or stay data.

And whatever is thrown at `parse`, it answers with a policy or with PolicyInvalid, at a cost that its size bounds.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_texts import read, refusals
from tests.cost import cost

from meshward.kit.errors import PolicyInvalid, Problem
from meshward.policy.parse import Source, parse, to_json
from meshward.policy.positions import Positions
from meshward.policy.schema import Policy
from meshward.policy.tree import read_tree

EXAMPLE = (Path(__file__).resolve().parents[2] / "examples" / "policy.yaml").read_text()

# The fields in which a text is data: compared, shown, or handed to another program as one argument or JSON
# string. Whatever is not here has a grammar.
FREE = {
    "aliases",
    "audience",
    "claims",
    "client",
    "clients",
    "command",
    "file",
    "group",
    "groups",
    "labels",
    "model",
    "path",
    "seal_to",
    "subject",
    "task",
    "tell",
    "attributes",
}


PARSED = json.loads(to_json(read(EXAMPLE).policy))


def example() -> Any:
    """The example, and the fields that it has in comments only."""
    data = copy.deepcopy(PARSED)
    data["edge"]["certificate"] = {"from": "files", "path": "certs"}
    data["credentials"]["f"] = {"from": "file", "path": "secret"}
    data["credentials"]["c"] = {"from": "command", "command": ["vault", "read"]}
    data["issuers"]["keycloak"]["jwks"] = {"file": "keys.json"}
    data["issuers"]["okta"]["jwks"] = {"url": "https://keys.example.com/k"}
    data["grants"][4]["on_request"]["tell"] = ["ops"]
    data["edge"]["trusted_proxies"] = ["10.0.0.0/24"]
    data["tests"][0]["as"] |= {"claims": {"team": "x"}, "attributes": {"tenant": "x"}, "subject": "s"}
    data["grants"][0]["models"]["same"] = ["tenant"]
    return data


def texts_in(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all texts in `value`."""
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in texts_in(inner, (*path, key))]
    if isinstance(value, list):
        return [found for index, inner in enumerate(value) for found in texts_in(inner, (*path, index))]
    return [path] if isinstance(value, str) else []


def put_into(data: Any, path: tuple[str | int, ...], value: object) -> None:
    for step in path[:-1]:
        data = data[step]
    data[path[-1]] = value


def fields(data: Any) -> list[tuple[str | int, ...]]:
    """One path for each field of the format: names and indexes of the example do not matter."""
    seen: dict[str, tuple[str | int, ...]] = {}
    for path in texts_in(data):
        named = path[:1] + tuple("*" if isinstance(step, int) else step for step in path[2:])
        seen.setdefault(str(named), path)
    return list(seen.values())


def is_free(path: tuple[str | int, ...]) -> bool:
    words = [step for step in path if isinstance(step, str)]
    if words[-1] in ("path", "command", "name") and "credentials" in words:
        return words[-1] != "name"
    if words[-1] == "model" and words[0] == "tests":
        return False
    if words[-1] == "groups" and words[0] == "issuers":
        return False
    return words[-1] in FREE or (len(words) > 1 and words[-2] in FREE)


def escaped(data: Any) -> bytes:
    return json.dumps(data, indent=1).encode()


def problems_of(data: bytes) -> list[Problem]:
    with pytest.raises(PolicyInvalid) as caught:
        parse([Source("p", data)])
    return caught.value.problems


@pytest.fixture(scope="module")
def strings(shared_data: Path) -> list[str]:
    return json.loads((shared_data / "vectors" / "config_injection_visible.json").read_text())["strings"]


def filled(paths: list[tuple[str | int, ...]], text: str) -> Any:
    data = example()
    for path in paths:
        put_into(data, path, text)
    return data


def assert_refused_everywhere(data: Any, paths: list[tuple[str | int, ...]]) -> None:
    """Every one of `paths` has a problem of its own, at its place; a raw character refuses the whole file."""
    problems = problems_of(escaped(data))
    positions = Positions(read_tree(Source("p", escaped(data)), []))
    told = {problem.where for problem in problems}
    for path in paths:
        assert positions.at(path) in told, path
    assert all(problem.message.isprintable() and problem.remedy.isprintable() for problem in problems)
    assert problems_of(json.dumps(data, ensure_ascii=False).encode())


def test_the_example_with_every_field_is_valid():
    assert refusals(json.dumps(example())) == []
    assert len(fields(example())) > 70


def test_a_field_with_a_grammar_takes_no_hostile_text(strings):
    paths = [path for path in fields(example()) if not is_free(path)]
    hostile = [text for text in strings if not re.fullmatch(r"[A-Za-z0-9._/:-]+", text)]
    assert len(paths) > 50 and len(hostile) > 40
    for text in hostile:
        assert_refused_everywhere(filled(paths, text), paths)


def test_a_free_field_keeps_a_text_as_it_is_or_refuses_it(strings):
    paths = [path for path in fields(example()) if is_free(path)]
    taken = 0
    for text in strings:
        data = filled(paths, text)
        if not text.isprintable() or not text:
            assert_refused_everywhere(data, [path for path in paths if text or "claims" not in path])
            continue
        policy = read(data).policy
        assert all(value_at(policy, path) == text for path in paths)
        assert read(to_json(policy)).policy == policy
        taken += 1
    assert taken > 40


def value_at(policy: Policy, path: tuple[str | int, ...]) -> object:
    found: Any = policy.model_dump(mode="json", by_alias=True)
    for step in path:
        found = found[step]
    return found


def test_hostile_keys_are_refused_with_a_place(strings):
    for text in strings:
        data = example()
        sections = ("issuers", "workloads", "roles", "credentials", "servers", "models", "agents")
        for section in sections:
            data[section][text] = next(iter(data[section].values()))
        problems = problems_of(escaped(data))
        assert all(problem.where is not None for problem in problems)
        if not re.fullmatch(r"[a-z0-9_.-]+", text):
            assert len({problem.where.line for problem in problems}) >= len(sections)


def answers(data: bytes) -> Policy | None:
    found = _answer(data)  # once before it is counted: what is done a first time only is no cost of the text
    assert cost(lambda: _answer(data)) <= 50 * len(data) + 5_000
    return found


def _answer(data: bytes) -> Policy | None:
    try:
        return parse([Source("p", data)]).policy
    except PolicyInvalid as error:
        assert error.problems
        assert all(problem.message.isprintable() and problem.remedy for problem in error.problems)
        return None


many = settings(max_examples=60)


@many
@given(st.binary(max_size=400))
def test_any_bytes_are_answered(data):
    assert answers(data) is None


@many
@given(st.text(alphabet="ab: -[]{}&*!|>'\"%@#,?\n\t~0.e\u202e\0", max_size=200))
def test_any_text_is_answered(text):
    assert answers(text.encode()) is None


@many
@given(st.data())
def test_any_mutation_of_the_example_is_answered(data):
    text = EXAMPLE
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = (
            text[:start] + data.draw(st.text(alphabet="abz019:-[]{}&*!|>'\"#,? \n", max_size=8)) + text[end:]
        )
    answers(text.encode())


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@many
@given(st.sampled_from(texts_in(example())), json_like)
def test_any_value_in_any_place_is_answered(path, value):
    policy = example()
    put_into(policy, path, value)
    answers(escaped(policy))
