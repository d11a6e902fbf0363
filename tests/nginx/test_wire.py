"""The script that nginx runs and the page that Python goes by name the same things in the same spelling."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.nginx.test_nginx_program import _settings

import meshward.targets.nginx
from meshward.apply.hop_files import edge_files
from meshward.callers.revocations import ties
from meshward.decide.types import Identity, Permit
from meshward.edge.answers import bucket
from meshward.plan.ir import Limits
from meshward.policy.values import Rate
from meshward.targets.nginx.wire import ANSWER, QUESTION, Choice, Header, names_text, rate_text, route_text

SCRIPT = (Path(meshward.targets.nginx.__file__).parent / "meshward.js").read_text()
CODE = re.sub(r"//[^\n]*", "", SCRIPT)
COMMENTS = "\n".join(re.findall(r"//[^\n]*", SCRIPT))


def function(name: str) -> str:
    """A function's own text."""
    start = re.search(rf"^(?:async )?function {name}\(", CODE, re.MULTILINE)
    assert start is not None, name
    return CODE[start.start() : CODE.index("\n}", start.start())]


def pattern(text: str, tested: str) -> re.Pattern[str]:
    """The regular expression that the script holds against `tested`."""
    found = re.search(rf"/(\^.*?\$)/\.(?:test|exec)\({re.escape(tested)}\)", text)
    assert found is not None, tested
    return re.compile(found[1], re.ASCII)


def test_the_script_reads_every_word_of_an_answer_that_it_is_given_and_no_other(tmp_path: Path) -> None:
    conf = edge_files(_settings(tmp_path))["nginx.conf"].decode()
    read = set(re.findall(r"\bmw_d_\w+", CODE)) | set(
        re.findall(r"\$\{?(mw_d_\w+|mw_facts)\b", _without_sets(conf))
    )
    assert read == set(ANSWER.values())


def _without_sets(conf: str) -> str:
    return re.sub(r"auth_request_set \S+ \S+;", "", conf)


def test_nginx_keeps_each_word_of_an_answer_from_its_own_header(tmp_path: Path) -> None:
    conf = edge_files(_settings(tmp_path))["nginx.conf"].decode()
    kept = set(re.findall(r"auth_request_set \$(\w+) \$(upstream_http_\w+);", conf))
    assert kept == {(name, said.answered) for said, name in ANSWER.items()}


def test_the_script_speaks_of_no_header_that_there_is_not() -> None:
    known = {str(header) for header in Header}
    assert set(re.findall(r"X-Mw-[A-Za-z-]*[A-Za-z]", COMMENTS)) <= known
    assert re.findall(r"(?i)x-mw-", CODE) == []


def test_every_input_of_a_decision_is_in_the_caches_key() -> None:
    """What the script names otherwise than nginx does: `front` is what `cut` returned."""
    key = function("key").replace("front,", "v.mw_front,")
    hashed = set(re.findall(r"\b(?:v|rawVariables)\.(\w+)", key))
    assert set(QUESTION.values()) <= hashed


def test_a_route_is_read_as_it_is_spelled() -> None:
    text = route_text(2_097_152, [Choice(90, "00", "v1.m.mesh.test"), Choice(10, "07", "v2.m.mesh.test")])
    go, send = function("go"), function("send")
    split = re.search(r"mw_d_route\.split\('(.)'\)", go)
    words = re.search(r"pick\(route, v\.request_id\)\.split\('(.)'\)", send)
    assert split is not None and words is not None
    size, *versions = text.split(split[1])
    assert pattern(go, "route[0]").fullmatch(size)
    assert [each.split(words[1])[1:] for each in versions] == [
        ["00", "v1.m.mesh.test"],
        ["07", "v2.m.mesh.test"],
    ]
    assert re.search(r"v\.mw_slot = version\[1\];\s+v\.mw_sni = version\[2\];", send)


def test_the_fourth_word_of_a_version_does_not_change_the_first_three() -> None:
    text = route_text(1, [Choice(1, "00", "v1.m", "Qwen/Q 3|é"), Choice(1, "01", "v2.m")])
    assert text == "1|1 00 v1.m Qwen%2FQ%203%7C%C3%A9|1 01 v2.m"


@given(st.text().filter(lambda text: not re.search("[\ud800-\udfff]", text)))
def test_a_name_is_one_word_that_reads_back(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._~%-]*", names_text([name])) and unquote(names_text([name])) == name


def test_who_is_counted_and_who_is_revoked_is_read_as_it_is_spelled() -> None:
    identity = Identity(issuer="corp", subject="alice", actors=("bot",))
    permit = Permit("m.infer", ("g",), "g", Limits(Rate(5, 60), None, None, "identity"), (), None)
    assert pattern(function("go"), "v.mw_d_bucket").fullmatch(bucket(permit, identity))
    assert pattern(function("revoked"), "v.mw_d_ties").fullmatch(" ".join(ties(identity, "jti")))
    assert pattern(function("over"), "v.mw_d_ends").fullmatch("1924988400")


@pytest.mark.parametrize(
    ("rate", "text"), [(Rate(10, 1), "10r/s"), (Rate(600, 60), "600r/m"), (Rate(5, 1), "5r/s"), (None, "")]
)
def test_a_rate_has_one_spelling(rate: Rate | None, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize("seconds", [3600, 86400])
def test_a_rate_that_nginx_cannot_count_has_none(seconds: int) -> None:
    with pytest.raises(ValueError, match="per second or minute"):
        rate_text(Rate(10, seconds))


def test_no_other_module_spells_a_header() -> None:
    root = Path(meshward.targets.nginx.__file__).parents[2]
    strangers = {"targets/envoy"}  # a guard's own words to clients
    found = {
        str(file.relative_to(root)): hits
        for file in root.rglob("*.py")
        if file.name != "wire.py" and not any(each in str(file) for each in strangers)
        if (hits := re.findall(r"""["']b?x-mw-\w+["']""", file.read_text(), re.IGNORECASE))
    }
    assert found == {}
