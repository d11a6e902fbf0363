"""Whole policies: the reference, near misses, several files as one, positions, the way to JSON and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from policy_texts import BASE, changed, read, refusal, refusals, without

from meshward.kit.errors import PolicyInvalid
from meshward.policy.parse import Source, parse, to_json

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "policy.yaml"


def test_the_example_is_a_good_policy():
    document = read(EXAMPLE.read_text())
    assert document.lints == ()
    assert document.policy.grants[1].expires.text == "2027-06-30"
    assert document.policy.roles["contractor"][0].until.text == "2027-03-31"
    assert document.policy.tests[5].at.text == "2026-11-23 10:00"


def test_our_example_is_the_reference(shared_data: Path):
    assert EXAMPLE.read_bytes() == (shared_data / "examples" / "policy.yaml").read_bytes()


def test_a_mistyped_key_is_named_with_line_and_remedy():
    text = EXAMPLE.read_text().replace("grants", "grant")
    line = text[: text.index("\ngrant:")].count("\n") + 2
    problem = refusal(text)
    assert (problem.code.number, problem.where.line, problem.where.column) == ("MW0010", line, 1)
    assert "`grant`" in problem.message and "`grants`" in problem.remedy


def test_json_is_read_back_as_the_same_policy():
    policy = read(EXAMPLE.read_text()).policy
    again = read(to_json(policy)).policy
    assert again == policy and to_json(again) == to_json(policy)


def test_json_keeps_every_character():
    policy = read(changed(("roles", "staff", 0, "group"), "Größe \U0001f600 \\ \" ' {} $x")).policy
    assert read(to_json(policy)).policy == policy


@pytest.mark.parametrize(
    ("policy", "code", "place", "words"),
    [
        (changed(("grants", 0, "models"), "al"), "MW0014", "models", ("`al`", "`grants[0].models`")),
        (changed(("grants", 0, "models"), []), "MW0016", "models", ("`grants[0].models`",)),
        (changed(("grants", 0, "actions"), ["inferr"]), "MW0014", "inferr", ("`inferr`", "`infer`")),
        (changed(("grants", 0, "id"), "A b"), "MW0013", "A b", ("`A b`", "`grants[0].id`")),
        (changed(("grants", 0, "roles"), "staff"), "MW0012", "roles", ("a list", "text")),
        (changed(("grants", 0, "limits", "requests"), "6/m"), "MW0015", "6/m", ("`6/m`", "rate")),
        (changed(("grants", 0, "limits", "concurrent"), 0), "MW0016", "concurrent", ("`0`",)),
        (changed(("grants", 0, "limits", "concurrent"), True), "MW0012", "concurrent", ("number",)),
        (
            changed(("grants", 0, "expires"), 20270630),
            "MW0012",
            "expires",
            ("text", "a number", "a day", "RFC 3339"),
        ),
        (changed(("grants", 0, "when", "fresh"), 30), "MW0012", "fresh", ("a number and `s`",)),
        (changed(("trust_domain",), 7), "MW0012", "7", ('"7"',)),
        (
            changed(("grants", 0, "when", "source"), ["10.0.0.0/8"]),
            "MW0010",
            '"source"',
            ("`source`", "`hours`"),
        ),
        (without(("grants", 0, "roles")), "MW0011", "{", ("`grants[0]`", "`roles`")),
        (without(("trust_domain",)), "MW0011", "{", ("`trust_domain`",)),
        (changed(("models", "Mini LM"), BASE["models"]["book"]), "MW0013", "Mini LM", ("`Mini LM`",)),
        (changed(("models", "minilm", "versions"), {}), "MW0016", "versions", ("empty",)),
        (changed(("models", "minilm", "timeout"), "1 min"), "MW0015", "1 min", ("`1 min`",)),
        (changed(("models", "minilm", "task"), ""), "MW0016", "task", ("empty",)),
        (changed(("models", "minilm", "task"), "x" * 513), "MW0016", "task", ("512",)),
        (changed(("models", "minilm", "traffic"), {"v1": -1}), "MW0016", "-1", ("`-1`",)),
        (changed(("roles", "staff", 0, "claims"), {"a": ["b"]}), "MW0012", '"a"', ("claims.a",)),
        (changed(("roles", "staff", 0, "claims"), {}), "MW0016", "claims", ("empty",)),
        (changed(("issuers", "okta", "audience"), {}), "MW0012", "audience", ("text or a list",)),
        (changed(("issuers", "okta", "groups"), "groups"), "MW0015", "groups", ("JSON pointer",)),
        (changed(("version",), 2), "MW0014", "version", ("`2`",)),
        (changed(("version",), "1"), "MW0014", "version", ("`1`",)),
        (changed(("trust_domain",), "models.example.com."), "MW0015", "trust_domain", ("trust_domain",)),
        (changed(("trust_domain",), ".com"), "MW0015", "trust_domain", ("trust_domain",)),
        (changed(("trust_domain",), "a..b"), "MW0015", "trust_domain", ("trust_domain",)),
        (changed(("trust_domain",), "a" * 64), "MW0015", "trust_domain", ("trust_domain",)),
        (changed(("trust_domain",), ".".join(["ab"] * 41)), "MW0016", "trust_domain", ("120",)),
        (changed(("edge", "listen"), "localhost:8443"), "MW0015", "localhost:8443", ("listen",)),
        (changed(("edge", "hostname"), "-a"), "MW0015", "hostname", ("hostname",)),
        (changed(("edge", "trusted_proxies"), ["0.0.0.0/0"]), "MW0015", "0.0.0.0/0", ("every caller",)),
        (
            changed(("models", "minilm", "versions", "v1", "url"), "http://169.254.169.254/"),
            "MW0015",
            "169.254",
            (),
        ),
        (changed(("servers", "own", "infer"), ["/ask"]), "MW0015", "/ask", ("`servers.own.infer[0]`",)),
        (changed(("workloads", "scorer", "id"), "scorer"), "MW0015", "scorer", ("`workloads.scorer.id`",)),
    ],
)
def test_a_wrong_value_is_named_where_it_stands(policy, code, place, words):
    problem = refusal(policy)
    assert problem.code.number == code
    told = f"{problem.message} {problem.remedy}"
    assert all(word in told for word in words), told
    text = json.dumps(policy, indent=1, ensure_ascii=False).split("\n")
    assert place in text[problem.where.line - 1]


def test_the_second_spelling_of_a_key_is_not_taken():
    problems = refusals(changed(("credentials", "hf"), {"source": "env", "name": "X"}))
    assert [problem.code.number for problem in problems] == ["MW0011", "MW0010"]


def files(*texts: str) -> list[Source]:
    return [Source(f"{number}.yaml", text.encode()) for number, text in enumerate(texts)]


MODEL = "{versions: {v1: {server: tei, url: 'unix:/m.sock'}}}"


def test_several_files_are_one_policy():
    document = parse(
        files(
            f"version: 1\ntrust_domain: a.b\nmodels: {{m: {MODEL}}}\nedge: {{hostname: a.b}}\nnever: []\n",
            f"version: 1\nmodels:\n  n: {MODEL.replace('.sock', '2.sock')}\n"
            "roles:\n  r: [{workload: w}]\nedge: {listen: '127.0.0.1:1'}\n",
            "workloads: {w: {id: /w}}\ngrants:\n- {id: g, roles: [r], models: all, actions: [infer]}\n",
            "grants:\n- {id: h, roles: [r], models: all, actions: [infer]}\n",
        )
    )
    assert list(document.policy.models) == ["m", "n"]
    assert [grant.id for grant in document.policy.grants] == ["g", "h"]
    assert (document.policy.edge.hostname, document.policy.edge.listen.text) == ("a.b", "127.0.0.1:1")
    assert str(document.positions.at(("models", "n"))) == "1.yaml:3:3"
    assert str(document.positions.at(("grants", 1))) == "3.yaml:2:3"


@pytest.mark.parametrize(
    ("second", "first_place", "second_place"),
    [
        (f"models:\n  m: {MODEL}\n", "0.yaml:3:10", "1.yaml:2:3"),
        ("trust_domain: a.b\n", "0.yaml:2:1", "1.yaml:1:1"),
        ("version: 2\n", "0.yaml:1:1", "1.yaml:1:1"),
        ("models: []\n", "0.yaml:3:1", "1.yaml:1:1"),
        ("edge: {hostname: a.b}\n", "0.yaml:4:8", "1.yaml:1:8"),
    ],
)
def test_a_name_in_two_files_is_an_error_that_names_both(second, first_place, second_place):
    first = f"version: 1\ntrust_domain: a.b\nmodels: {{m: {MODEL}}}\nedge: {{hostname: a.b}}\n"
    with pytest.raises(PolicyInvalid) as caught:
        parse(files(first, second))
    (problem,) = caught.value.problems
    assert (problem.code.number, str(problem.where)) == ("MW0006", second_place)
    assert first_place in problem.message


def test_every_file_that_cannot_be_read_is_told():
    with pytest.raises(PolicyInvalid) as caught:
        parse(files("a: &x", "version: 1\n", "\0"))
    assert [(p.code.number, p.where.file) for p in caught.value.problems] == [
        ("MW0005", "0.yaml"),
        ("MW0003", "2.yaml"),
    ]


def test_no_files_are_no_policy():
    with pytest.raises(PolicyInvalid):
        parse([])


def test_positions():
    text = (
        "version: 1\ntrust_domain: a.b\nmodels:\n  m:\n    versions:\n"
        "      v1: {server: tei, url: 'unix:/m.sock'}\n"
    )
    positions = read(text).positions
    assert str(positions.at(("models", "m"))) == "policy.yaml:4:3"
    assert str(positions.at(("models", "m", "versions", "v1", "url"))) == "policy.yaml:6:30"
    assert str(positions.key(("models", "m", "versions", "v1", "url"))) == "policy.yaml:6:25"
    assert str(positions.at(("models", "m", "timeout"))) == "policy.yaml:4:3"
    assert str(positions.at(("grants", 7, "id"))) == "policy.yaml:1:1"
    assert str(positions.at(())) == "policy.yaml:1:1"


def test_no_more_problems_are_told_than_can_be_read():
    problems = refusals(dict(BASE, **{f"unknown{i}": 1 for i in range(300)}))
    assert len(problems) == 201 and problems[-1].code.number == "MW0000"
