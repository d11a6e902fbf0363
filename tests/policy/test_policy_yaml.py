"""The YAML that is taken: small, unambiguous, and refused before it costs anything."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from policy_texts import BASE, changed, read, refusal, refusals
from tests.cost import assert_grows, cost

from meshward.kit.errors import PolicyInvalid
from meshward.policy.parse import Source, parse
from meshward.policy.tree import MOST_BYTES, MOST_DEPTH, MOST_NODES, read_tree

HEAD = "version: 1\ntrust_domain: a.b\nmodels: {m: {versions: {v1: {server: tei, url: 'unix:/m.sock'}}}}\n"


def value_of(text: str) -> object:
    problems = []
    tree = read_tree(Source("p", text.encode()), problems)
    assert problems == []
    return tree.value


def test_plain_scalars_mean_what_yaml_1_2_says():
    text = (
        "a: 2027-06-30\nb: 10:00\nc: yes\nd: off\ne: 12\nf: true\n"
        "g: '12'\nh: 2026-11-23 10:00\ni: 0\nj: -3\nk: <<\n"
    )
    assert value_of(text) == {
        "a": "2027-06-30",
        "b": "10:00",
        "c": "yes",
        "d": "off",
        "e": 12,
        "f": True,
        "g": "12",
        "h": "2026-11-23 10:00",
        "i": 0,
        "j": -3,
        "k": "<<",
    }


def test_flow_and_block_forms_and_comments_are_read():
    assert value_of("a: {b: [1, two], c: {d: http://x:1}} # e\nf:\n- g: h\n  i: j\r\n") == {
        "a": {"b": [1, "two"], "c": {"d": "http://x:1"}},
        "f": [{"g": "h", "i": "j"}],
    }


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("a: &x 1\nb: *x\n", "MW0005", 1, 4),
        ("a: 1\nb: *x\n", "MW0005", 2, 4),
        ("*x : 1\n", "MW0005", 1, 1),
        ("a: !!str 1\n", "MW0005", 1, 4),
        ("a: !x {}\n", "MW0005", 1, 4),
        ("a: !!python/object/apply:os.system [id]\n", "MW0005", 1, 4),
        ("a: ! x\n", "MW0005", 1, 4),
        ("%YAML 1.1\n---\na: 1\n", "MW0005", 1, 1),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", "MW0005", 1, 1),
        ("a: 1\n---\na: 2\n", "MW0005", 2, 1),
        ("? [a]\n: b\n", "MW0007", 1, 3),
        ("a: [\n", "MW0004", 2, 1),
        ("a: b: c\n", "MW0004", 1, 5),
        ("\ta: 1\n", "MW0004", 1, 1),
        ("a: 'b\n", "MW0004", 2, 1),
        ('a: "\\q"\n', "MW0004", 1, 5),
        ("a: \0\n", "MW0003", 1, 4),
        ("a: 1\n# \x1b[2J\n", "MW0003", 2, 3),
        ("# \u202e a\n", "MW0003", 1, 3),
        ("a:\u00a01\n", "MW0003", 1, 3),
        ("\ufeffa: 1\n", "MW0003", 1, 1),
        ("a: 1\u2028b: 2\n", "MW0003", 1, 5),
        ("a: 1\rb: 2\n", "MW0003", 1, 5),
        ("a: \u200b\n", "MW0003", 1, 4),
        ("a: \u3164\n", "MW0003", 1, 4),
        ("", "MW0009", 1, 1),
        ("# nothing\n", "MW0009", 1, 1),
        ("~\n", "MW0009", 1, 1),
        ("--- null\n", "MW0009", 1, 1),
        ("- a\n", "MW0012", 1, 1),
        ("a\n", "MW0012", 1, 1),
        ("7\n", "MW0012", 1, 1),
    ],
)
def test_a_file_of_which_nothing_is_read(text, code, line, column):
    problem = refusal(text)
    assert (problem.code.number, problem.where.line, problem.where.column) == (code, line, column)
    assert problem.remedy and problem.where.file == "policy.yaml"


@pytest.mark.parametrize(
    ("data", "column"), [(b"a: \xe4\n", 4), (b"a: \xed\xa0\x80", 4), (b"\xff\xfea\0", 1), (b"ab\xc0\x80", 3)]
)
def test_only_utf_8_is_text(data, column):
    with pytest.raises(PolicyInvalid) as caught:
        parse([Source("p", data)])
    assert caught.value.code.number == "MW0003"
    assert caught.value.problems[0].where.column == column


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("version: 1", "MW0006", ("`version`", "policy.yaml:1:1")),
        ("edge: {listen: '127.0.0.1:1', listen: '127.0.0.1:2'}", "MW0006", ("`listen`", "policy.yaml:4:8")),
        ("1: x", "MW0007", ("`1`",)),
        ("true: x", "MW0007", ("`true`",)),
        ("audit: {max_blind: 0o17}", "MW0008", ("`max_blind`", "`0o17`")),
        ("audit: {max_blind: 1e400}", "MW0008", ("`1e400`",)),
        ("audit: {max_blind: .nan}", "MW0008", ("`.nan`",)),
        ("audit: {max_blind: -.inf}", "MW0008", ("`-.inf`",)),
        ("audit: {max_blind: 007}", "MW0008", ("`007`",)),
        ("audit: {max_blind: 1.5}", "MW0008", ("`1.5`",)),
        ("audit: {max_blind: +1}", "MW0008", ("`+1`",)),
        ("audit: {max_blind: 0xFFFF}", "MW0008", ("`0xFFFF`",)),
        ("audit: {max_blind: 12345678901234567890}", "MW0008", ("`12345678901234567890`",)),
        ("audit: {max_blind: }", "MW0012", ("`max_blind`", "no value")),
        ("grants:", "MW0012", ("`grants`", "no value")),
        ("grants: ~", "MW0012", ("`grants`",)),
        ('audit: {max_blind: "10s\\u0000"}', "MW0003", ("`max_blind`", "U+0000")),
        ('audit: {max_blind: "10s\\u202e"}', "MW0003", ("`max_blind`", "RIGHT-TO-LEFT OVERRIDE")),
        ("audit:\n  max_blind: |\n    10s\n", "MW0003", ("`max_blind`", "line break")),
        ('audit: {max_blind: "10s\\t"}', "MW0003", ("`max_blind`",)),
    ],
)
def test_a_value_that_is_not_taken_is_named(line, code, words):
    problems = refusals(HEAD + line + "\n")
    problem = next(problem for problem in problems if problem.code.number == code)
    assert problem.where.line >= 4 and all(word in problem.message for word in words)


def test_keys_of_invisible_characters_are_refused():
    policy = changed(("roles", "staff", 0, "claims"), {"a": "b"})
    text = json.dumps(policy).replace('"a": "b"', '"a\\u200b": "b"')
    assert refusal(text).code.number == "MW0003"


def test_what_is_wrong_is_told_all_at_once_in_the_files_order():
    text = HEAD + "grant: []\naudit: {max_blind: 007, capture: all}\nedge: {hostname: A}\n"
    assert [(p.code.number, p.where.line) for p in refusals(text)] == [
        ("MW0010", 4),
        ("MW0008", 5),
        ("MW0014", 5),
        ("MW0015", 6),
    ]


def test_depth_and_number_of_values_are_bounded():
    assert refusal("a: " + "[" * MOST_DEPTH).code.number == "MW0002"
    assert refusal("{a: " * (MOST_DEPTH + 1)).code.number == "MW0002"
    assert refusal("a:\n" + "- b\n" * MOST_NODES).code.number == "MW0002"
    assert refusal("a: " + "b" * MOST_BYTES).code.number == "MW0002"


# Of each attack: how often a part is repeated, and the text with so many of them.
HOSTILE: dict[str, tuple[int, Callable[[int], str]]] = {
    "bomb": (
        20,
        lambda n: (
            "a: &a [x, x]\n"
            + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(n))
        ),
    ),
    "merge bomb": (2, lambda n: "a: &a {x: 1}\nb: {<<: [" + "*a, " * n + "]}\n"),
    "brackets": (1_000_000, lambda n: "[" * n),
    "braces": (500_000, lambda n: "{a: " * n),
    "steps": (1500, lambda n: "".join(" " * i + "a:\n" for i in range(n))),
    "dashes": (500_000, lambda n: "- " * n),
    "questions": (500_000, lambda n: "? " * n),
    "colons": (500_000, lambda n: ": " * n),
    "quote": (1_000_000, lambda n: '"' + "a\n" * n),
    "block": (1_000_000, lambda n: "a: |\n" + " a\n" * n),
    "blank": (4_000_000, lambda n: "\n" * n),
    "comment": (4_000_000, lambda n: "#" * n),
    "one word": (4_000_000, lambda n: "version: " + "x" * n),
    "names": (99_000, lambda n: "".join(f"grants{i}: 1\n" for i in range(n))),
    "same name": (99_000, lambda n: "a: 1\n" * n),
    "invisible": (99_000, lambda n: "a: [" + '"\\u0000",' * n + "]"),
    "wrong items": (99_000, lambda n: HEAD + "grants: [" + "1," * n + "]\n"),
    "wrong lines": (49_000, lambda n: HEAD + "roles: {a: [" + "{x: 1}," * n + "]}\n"),
    "bad names": (99_000, lambda n: HEAD + "operators: {apply: [" + "A B," * n + "]}\n"),
    "no such role": (99_000, lambda n: HEAD + "operators: {apply: [" + "rolf," * n + "]}\n"),
    "numbers": (99_000, lambda n: HEAD + "operators: {apply: [" + "1e9," * n + "]}\n"),
    "tabs": (1_000_000, lambda n: "a:\t" * n),
    "anchors": (500_000, lambda n: "&a " * n),
    "tags": (500_000, lambda n: "!a " * n),
}


def hostile(name: str, part: int = 1) -> bytes:
    """The attack at its whole size, or at a part of it."""
    size, text = HOSTILE[name]
    return text(size // part).encode()


def refusals_of(data: bytes) -> int:
    with pytest.raises(PolicyInvalid) as caught:
        parse([Source("p", data)])
    return len(caught.value.problems)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_at_a_small_cost_per_byte(name):
    assert refusals_of(hostile(name)) <= 201
    data = hostile(name, part=8)
    assert cost(lambda: refusals_of(data)) <= 50 * len(data) + 5_000


@pytest.mark.parametrize("name", ["names", "wrong items", "wrong lines", "numbers", "one word"])
def test_refusals_stay_below_200_mb(name):
    script = (
        "import sys\n"
        "from meshward.kit.errors import PolicyInvalid\n"
        "from meshward.policy.parse import Source, parse\n"
        "try: parse([Source('p', sys.stdin.buffer.read())])\n"
        "except PolicyInvalid: print(open('/proc/self/status').read())\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, input=hostile(name), capture_output=True, check=True)
    peak = re.search(rb"VmHWM:\s+(\d+) kB", done.stdout)  # getrusage would count the process that forked
    assert int(peak[1]) < 200 * 1024


def with_many(number: int) -> dict[str, Any]:
    """A policy with `number` models, and as many grants."""
    policy = dict(BASE, agents={})
    versions = [{"v1": {"server": "tei", "url": f"unix:/run/{i}.sock"}} for i in range(number)]
    policy["models"] = {
        f"m{i}": {"labels": {"n": f"l{i}"}, "versions": versions[i], "aliases": [f"Org/m{i}"]}
        for i in range(number)
    }
    grant = {"roles": ["staff"], "actions": ["infer", "describe"], "limits": {"requests": "600/min"}}
    policy["grants"] = [
        dict(grant, id=f"g{i}", models=[f"m{i}"], when={"from": ["10.0.0.0/8"]}) for i in range(number)
    ]
    return policy


def test_a_thousand_models_and_grants_are_read_at_a_cost_that_grows_with_them():
    assert len(read(with_many(1000)).policy.grants) == 1000
    assert_grows(lambda n: cost(partial(read, with_many(n))), 100)
