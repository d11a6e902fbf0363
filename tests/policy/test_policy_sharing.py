"""Who may use one model of a server must not come to use another: which models may share one, and by which rules."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from policy_texts import BASE, read, refusals

from meshward.plan.naming import must_change_at_once
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from meshward.policy.servers import BUILT_IN, naming_of

DOCS = Path(__file__).parents[2] / "docs"
URL = "http://127.0.0.1:8000"


def version(model: str | None = None, url: str = URL, server: str = "vllm", **more: Any) -> dict[str, Any]:
    return {"server": server, "url": url, **({} if model is None else {"model": model}), **more}


def policy(**models: Any) -> dict[str, Any]:
    """BASE with these models: a version, or a mapping of several."""
    text = copy.deepcopy(BASE)
    for name, given in models.items():
        versions = {"v1": given} if "server" in given else given
        text["models"][name] = {"versions": versions}
    return text


def said(text: dict[str, Any]) -> list[tuple[str, str]]:
    """Code and sentence of each refusal; each has a line and a remedy."""
    problems = refusals(text)
    assert all(each.where.line > 1 and each.remedy for each in problems)
    return [(each.code.number, each.message) for each in problems]


def codes(text: dict[str, Any]) -> set[str]:
    return {number for number, _ in said(text)}


# --- which may


def test_a_server_that_goes_by_names_may_have_several_models_each_with_its_own() -> None:
    assert said(policy(base=version("qwen"), sql=version("sql-lora"), law=version("law-lora"))) == []
    assert said(policy(base=version("qwen"), far=version("qwen", url="http://127.0.0.1:8001"))) == []


def test_versions_of_one_model_may_share_a_server_by_whatever_names() -> None:
    for first, second in (("a", "b"), ("a", "a"), (None, None), (None, "b")):
        assert said(policy(m={"v1": version(first), "v2": version(second)})) == []
    assert said(policy(m={"v1": version(server="tei"), "v2": version(server="tei")})) == []


def test_a_kind_of_ones_own_may_where_its_author_says_so() -> None:
    for word, found in (("selects", set()), ("unknown", {"MW0032"}), (None, {"MW0032"})):
        text = policy(a=version("a", server="own"), b=version("b", server="own"))
        text["servers"]["own"] |= {} if word is None else {"body_model": word}
        assert codes(text) == found


@pytest.mark.parametrize("kind", sorted(BUILT_IN))
def test_of_the_built_in_kinds_two_do(kind: str) -> None:
    text = policy(a=version("a", server=kind), b=version("b", server=kind))
    assert codes(text) == (set() if kind in ("vllm", "transformers") else {"MW0032"})


# --- which may not


def test_without_a_name_of_its_own_each_is_refused() -> None:
    assert said(policy(a=version(), b=version())) == [
        (
            "MW0032",
            "`models.a.versions.v1` shares its server with `b.v1`, and no `model` says what it is called there",
        ),
        (
            "MW0032",
            "`models.b.versions.v1` shares its server with `a.v1`, and no `model` says what it is called there",
        ),
    ]
    ((_, sentence),) = said(policy(a=version("a"), b=version()))
    assert sentence.startswith("`models.b.versions.v1`")
    ((_, sentence),) = said(policy(a=version(), b=version("b")))
    assert sentence.startswith("`models.a.versions.v1`")


def test_one_name_for_two_models_is_refused() -> None:
    assert said(policy(a=version("x"), b=version("x"))) == [
        ("MW0032", "`models.b.versions.v1.model` is what the server of both calls `a.v1`")
    ]
    crossed = policy(a={"v1": version("x"), "v2": version("y")}, b={"v1": version("z"), "v2": version("y")})
    assert said(crossed) == [
        ("MW0032", "`models.b.versions.v2.model` is what the server of both calls `a.v2`")
    ]


def test_a_kind_that_tells_nothing_apart_is_refused_on_either_side() -> None:
    found = said(policy(a=version("a"), b=version("b", server="tei")))
    assert found == [
        (
            "MW0032",
            "`models.b.versions.v1.url` is the server of `a.v1` too, and kind `tei` does not tell them apart",
        )
    ]
    assert codes(policy(a=version("a", server="tei"), b=version("b"))) == {"MW0032"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://127.0.0.1:8000", "http://localhost:8000/"),
        ("http://127.0.0.1:8000", "http://LocalHost:8000"),
        ("http://127.0.0.1:8000", "http://[::1]:8000"),
        ("http://127.0.0.1:8000", "http://127.9.9.9:8000"),
        ("http://127.0.0.1:8000", "http://[::ffff:127.0.0.1]:8000"),
        ("http://127.0.0.1:8000", "http://[::ffff:7f00:1]:8000"),
        ("http://127.0.0.1:8000", "http://gpu.localhost:8000"),
        ("http://127.0.0.1:8000", "https://127.0.0.1:8000"),
        ("http://gpu.test", "http://GPU.test:80/"),
        ("https://gpu.test", "https://gpu.test:443"),
        ("http://[2001:db8::1]:8000", "http://[2001:DB8:0::1]:8000"),
        ("http://[::ffff:192.0.2.1]:8000", "http://192.0.2.1:8000"),
        ("unix:/run/models/m.sock", "unix:/var/run/models/m.sock"),
    ],
)
def test_one_server_is_one_however_it_is_spelled(one: str, other: str) -> None:
    assert codes(policy(a=version("a", url=one), b=version(url=other))) == {"MW0032"}
    assert codes(policy(a=version("a", url="unix:/x.sock", replicas=[other]), b=version(url=one))) == {
        "MW0032"
    }


@pytest.mark.parametrize(
    "other", ["http://127.0.0.1:8001", "http://gpu.test:8000", "unix:/run/8000.sock", "http://192.0.2.1:8000"]
)
def test_two_servers_are_two(other: str) -> None:
    assert said(policy(a=version(), b=version(url=other))) == []


def test_a_replica_is_a_server_like_any_other() -> None:
    extra = "http://127.0.0.1:8001"
    shared = policy(a=version("a", replicas=[extra]), b=version(url=extra))
    assert said(shared) == [
        (
            "MW0032",
            "`models.b.versions.v1` shares its server with `a.v1`, and no `model` says what it is called there",
        )
    ]
    both = policy(a=version(replicas=[extra]), b=version("b", replicas=[extra]))
    assert len(said(both)) == 1  # once, though they share two


def test_a_model_without_traffic_shares_all_the_same() -> None:
    text = policy(a={"v1": version("a"), "v2": version(None)}, b=version("b"))
    text["models"]["a"]["traffic"] = {"v1": 1, "v2": 0}
    assert codes(text) == {"MW0032"}


def test_a_thousand_models_of_one_server() -> None:
    many = {f"m{n}": version(f"lora-{n}") for n in range(1000)}
    assert said(policy(**many)) == []


# --- what is about the whole server

TWO = {"a": version("a"), "b": version("b")}


def ruled(key: str, value: Any) -> dict[str, Any]:
    text = policy(**TWO)
    for name, tenant in (("a", "x"), ("b", "y")):
        text["models"][name]["labels"] = {"tier": "gpu", "name": name, "tenant": tenant}
    text[key] = {**text[key], **value} if isinstance(value, dict) else value
    return text


def grant(models: Any, *actions: str, **more: Any) -> dict[str, Any]:
    return {"id": "g", "roles": ["staff"], "models": models, "actions": list(actions), **more}


ALIKE = ["all", ["a", "b"], ["minilm"], {"labels": {"tier": "gpu"}}]
APART = [["a"], ["b", "minilm"], {"labels": {"name": "a"}}, {"same": ["tenant"]}]


@pytest.mark.parametrize("action", ["observe", "manage"])
@pytest.mark.parametrize("models", APART, ids=str)
def test_whoever_manages_one_model_of_a_server_manages_all(models: Any, action: str) -> None:
    agent = {"credential": {"workload": "scorer"}, "acts_for": ["staff"], "models": models}
    for key, value in (
        ("grants", [grant(models, "infer", action)]),
        ("denies", [{"id": "d", "models": models, "actions": [action]}]),
        ("denies", [{"id": "d", "roles": ["staff"], "models": models}]),
        ("agents", {"x": agent | {"actions": [action]}}),
    ):
        ((number, sentence),) = said(ruled(key, value))
        assert number == "MW0033" and "treats `a` otherwise than `b`" in sentence


@pytest.mark.parametrize("models", ALIKE, ids=str)
def test_rules_that_treat_them_alike_are_fine(models: Any) -> None:
    assert said(ruled("grants", [grant(models, "infer", "observe", "manage")])) == []
    assert said(ruled("denies", [{"id": "d", "models": models}])) == []


@pytest.mark.parametrize("models", APART, ids=str)
def test_use_of_one_alone_is_fine(models: Any) -> None:
    assert said(ruled("grants", [grant(models, "infer", "describe")])) == []
    assert said(ruled("denies", [{"id": "d", "models": models, "actions": ["infer"]}])) == []


def test_models_with_servers_of_their_own_are_managed_apart() -> None:
    text = policy(a=version("a"), b=version("b", url="http://127.0.0.1:8001"))
    text["grants"] = [grant(["a"], "manage")]
    assert said(text) == []


# --- kinds of one's own


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_use_without_a_body_names_nobody(method: str) -> None:
    text = policy(a=version("a", server="own"))
    text["servers"]["own"] |= {"body_model": "selects", "infer": ["POST /ask", f"{method} /ask"]}
    ((number, sentence),) = said(text)
    assert number == "MW0032" and sentence.startswith("`servers.own.infer[1]`")


def test_a_name_for_a_server_that_gets_none_is_refused() -> None:
    text = policy(a=version("a", server="own"))
    text["servers"]["own"]["body_model"] = "ignores"
    ((number, sentence),) = said(text)
    assert number == "MW0027" and sentence.startswith("`models.a.versions.v1.model` is never said")


def test_a_kind_that_is_not_known_is_taken_for_one_that_goes_by_names() -> None:
    """Its bodies may name their own model alone; nobody may share it."""
    own = read(BASE).policy.servers["own"]
    naming = naming_of("own", own)
    assert (own.body_model, naming.does, naming.where) == ("unknown", "unknown", "everywhere")


def test_names_that_fill_an_answer_are_refused() -> None:
    text = policy(a=version("a"))
    text["models"]["a"]["aliases"] = [f"{n:02}{'é' * 250}" for n in range(5)]
    ((number, sentence),) = said(text)
    assert number == "MW0016" and sentence.startswith("`models.a.aliases`")


def test_what_servers_call_a_model_fills_no_answer_either() -> None:
    text = policy(a=version("a"))
    first = text["models"]["a"]["versions"]["v1"]
    text["models"]["a"]["versions"] = {
        f"v{n}": first | {"model": f"{n:02}{'é' * 250}", "url": f"http://127.0.0.1:80{n:02}"}
        for n in range(5)
    }
    ((number, sentence),) = said(text)
    assert number == "MW0016" and sentence.startswith("`models.a.versions`")


@pytest.mark.parametrize("name", ["x" * 257, "é" * 257])
def test_a_name_that_no_body_may_say_is_refused(name: str) -> None:
    text = policy(a=version("a"))
    text["models"]["a"]["aliases"] = [name[:256]]
    text["models"]["a"]["versions"]["v1"]["model"] = name[1:]
    assert said(text) == []
    text["models"]["a"]["aliases"] = [name]
    text["models"]["a"]["versions"]["v1"]["model"] = name
    places = ["`models.a.versions.v1.model`", "`models.a.aliases[0]`"]
    found = [(number, sentence.split()[0]) for number, sentence in said(text)]
    assert found == [("MW0016", place) for place in places]


# --- from one revision to another


def test_a_new_server_is_never_told_the_old_ones_name() -> None:
    """By which it may know another model; the guard and the edge come to a revision one after the other."""
    there = "http://127.0.0.1:8001"

    def one(given: dict[str, Any]) -> Any:
        return resolve(Policy.model_validate(json.loads(json.dumps(policy(a=given))))).version("a", "v1")

    old = one(version("x"))
    assert must_change_at_once(old, one(version("y", url=there)))
    assert must_change_at_once(old, one(version(None, url=there)))
    assert must_change_at_once(one(version(None)), one(version("y", replicas=[there])))
    assert not must_change_at_once(old, one(version("y")))
    assert not must_change_at_once(old, one(version("x", url=there)))
    assert not must_change_at_once(one(version("x", replicas=[there])), one(version("y")))


# --- the page


def example() -> dict[str, Any]:
    page = (DOCS / "upstreams.md").read_text()
    section = page.split("## Several models on one server", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"(?:^    .*\n|^\n)+", section, re.MULTILINE)
    found = next(block for block in blocks if "models:" in block)
    return dict(yaml.safe_load("\n".join(line[4:] for line in found.splitlines())))


def test_the_example_of_the_page_is_a_policy() -> None:
    shown = example()
    assert {each["versions"]["v1"]["url"] for each in shown["models"].values()} == {URL}
    text = json.loads(json.dumps(policy()))
    text["models"] |= shown["models"]
    text["grants"] = [dict(each, roles=["staff"]) for each in shown["grants"]]
    assert said(text) == []
    assert any("manage" in each["actions"] for each in text["grants"])
    del text["models"]["sql"]["versions"]["v1"]["model"]
    assert codes(text) == {"MW0032"}
