"""The model in a JSON body: all readers find the one that the edge finds, or the edge refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable
from random import Random
from typing import Any

import jiter
import orjson
import pydantic_core
import pytest
from body_reader import Found, find, put, sentences
from hypothesis import given, settings
from hypothesis import strategies as st

FOUND = {
    "first": (b'{"model":"a","x":1}', "a"),
    "last": (b'{"x":[{"model":"b"}],"model":"a"}', "a"),
    "between, as openai's embeddings": (
        b'{"input":"hi","model":"org/name","encoding_format":"base64"}',
        "org/name",
    ),
    "spread out": (b' \t\r\n{ "x" : 1 , "model"\n:\t"a" }\r\n', "a"),
    "below a tool's schema there is another": (
        b'{"model":"a","tools":[{"properties":{"model":{"type":"string"}}}]}',
        "a",
    ),
    "its key in escapes": (b'{"\\u006d\\u006Fdel":"a"}', "a"),
    "as PHP writes a slash": (b'{"model":"org\\/name"}', "org/name"),
    "letters in escapes": (b'{"model":"\\u00e9\\ud83d\\ude00\\u65E5"}', "é😀日"),
    "letters as they are": ('{"model":"é😀日"}'.encode(), "é😀日"),
    "a backslash and a quote": (b'{"model":"a\\\\u0041\\"b"}', 'a\\u0041"b'),
    "a long name": (b'{"model":"' + b"\\ud83d\\ude00" * 256 + b'"}', "😀" * 256),
    "all kinds of values": (
        b'{"a":[-0,0.5,-1.5e+10,2E-3,10,true,false,null,"",{},[]],"b":-1,"c":null,"model":"a"}',
        "a",
    ),
    "half a pair in a text": (b'{"messages":["cut \\ud83d"],"model":"a"}', "a"),
    "keys near by": (
        b'{"mode":1,"models":2,"mod":3,"my_model":4,"model.x":5,"m\\u00f6del":6,"":7,"model":"a"}',
        "a",
    ),
    "200 deep": (b'{"model":"a","x":' + b"[" * 200 + b"]" * 200 + b"}", "a"),
}


@pytest.mark.parametrize(("body", "name"), FOUND.values(), ids=FOUND)
def test_the_one_model_is_found(body: bytes, name: str) -> None:
    found = find(body)
    assert isinstance(found, Found)
    assert found.name == name == json.loads(b'"' + body[found.start : found.stop] + b'"')


REFUSED = {
    "twice": [
        b'{"model":"a","model":"a"}',
        b'{"model":"a","x":{},"\\u006dodel":"b"}',
        b'{"model":"a","model":{"model":"b"}}',
    ],
    "misspelled": [
        b'{"Model":"a"}',
        b'{"model":"a","MODEL":"b"}',
        b'{"mo\\u0044el":"a"}',
        b'{"\\u004dodel":"b","model":"a"}',
        b'{"model":"a","mo-del":"b"}',
        b'{"_model":"b"}',
        b'{"model\\u005f":"b"}',
    ],
    "odd_key": [
        b'{"model\\u0000":"b"}',
        b'{"x\\n":"b","model":"a"}',
        b'{"\\u001f":1}',
        b'{"mod\\ud800el":"b"}',
        b'{"\\udc00":1}',
        b'{"\\ud83d\\ud83d":1}',
        b'{"\\ud83dx":1}',
        b'{"\\ud83d\\n":1}',
        b'{"x\x7f":1}',
        b'{"\\u007f":1}',
    ],
    "not_json": [
        b'{"\\x6dodel":"b"}',
        b'{"\\model":"b"}',
        b'{"x":"\\m"}',
        b'{"x":["\\x6d"]}',
        b'{"x":"\\u12g4"}',
        b"{'model':'a'}",
        b'{model:"a"}',
        b'{/*"model":"b",*/"model":"a"}',
        b'{"model":"a",//\n"x":1}',
        b'{"model":"a",#\n"x":1}',
        b'/**/{"model":"a"}',
        b'//\n{"model":"a"}',
        b'#\n{"model":"a"}',
        b'({"model":"a"})',
        b')]}\'\n{"model":"a"}',
        b'+AHs-"model":"a"}',
        b'{"model":"a",}',
        b'{,"model":"a"}',
        b'{"x":1 "model":"a"}',
        b'{"x" "model":"a"}',
        b'{"x":1;"model":"a"}',
        b'{"x"="y","model":"a"}',
        b'{"x":NaN,"model":"a"}',
        b'{"x":[Infinity],"model":"a"}',
        b'{"x":01,"model":"a"}',
        b'{"x":+1,"model":"a"}',
        b'{"x":.5,"model":"a"}',
        b'{"x":1.,"model":"a"}',
        b'{"x":0x1,"model":"a"}',
        b'{"x":1e,"model":"a"}',
        b'{"x":truE,"model":"a"}',
        b'{"x":[1,],"model":"a"}',
        b'{"x":[1}],"model":"a"}',
        b'{"x":{"a":1],"model":"a"}',
        b'{"x":"a\nb","model":"a"}',
        b'{"x":"a\x00b","model":"a"}',
        b'{"x\t":1,"model":"a"}',
        b'{"model":"a"\x00}',
        b'{"model":"a",\x0b"x":1}',
        b'{"model":"a",\xc2\xa0"x":1}',
        b'\x0b{"model":"a"}',
        b'\x00{"model":"a"}',
        b'\x1e{"model":"a"}',
        b'\xc2\xa0{"model":"a"}',
        b'\xef\xbb\xbf{"model":"a"}',
        *(
            ('{"model":"a"}').encode(code)
            for code in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
        ),
        *((' {"model":"a"}').encode(code) for code in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")),
        "\ufeff{}".encode("utf-16-be"),
        b'{"model":a}',
        b'{"model"}',
        b'{"model":}',
    ],
    "not_utf8": [
        b'{"model":"\xff"}',
        b'{"x":"\xc0\xaf","model":"a"}',
        b'{"x":"\xed\xa0\x80","model":"a"}',
        b'{"x":"\xf4\x90\x80\x80"}',
        b'{"x":"\xe0\x80\x80"}',
        b'{"x":"\xf0\x80\x80\x80"}',
        b'{"x":"\xe6\x97"}',
        b'{"x":"\x80"}',
        b'{"mod\xc1\xa5l":"a"}',
        b'{"x":{"\xff":1}}',
    ],
    "after_end": [
        b'{"model":"a"}{"model":"b"}',
        b'{"model":"a"}x',
        b"{}\x00",
        b'{"model":"a"}\n[]',
        b'{"model":"a"},',
    ],
    "not_plain": [
        b'{"model":""}',
        b'{"model":"a\\n"}',
        b'{"model":"a\\u0000"}',
        b'{"model":"a\\u007f"}',
        b'{"model":"a\x7f"}',
        b'{"model":"\\u0085"}',
        b'{"model":"\\ud800"}',
        b'{"model":"\\ude00\\ud83d"}',
        b'{"model":"\\\\ud83d\\ude00"}',
        b'{"model":"' + b"a" * 257 + b'"}',
        b'{"model":"' + b"\\u0061" * 257 + b'"}',
        b'{"model":"' + b"a" * 100_000 + b'"}',
        *(
            b'{"model":' + value + b"}"
            for value in (b"1", b"-1", b"true", b"false", b"null", b'["a"]', b'{"a":1}')
        ),
    ],
    "unfinished": [
        b"{",
        b'{"model":"a"',
        b'{"model":"a',
        b'{"model',
        b'{"x":"\\',
        b'{"model":"a","x":[{}',
        b'{"x":"\\"}',
    ],
    "too_deep": [b'{"model":"a","x":' + b"[" * 201 + b"]" * 201 + b"}", b'{"a":' * 100_000],
}


@pytest.mark.parametrize(
    ("word", "body"), [(word, body) for word, bodies in REFUSED.items() for body in bodies]
)
def test_what_readers_may_differ_about_is_refused(word: str, body: bytes) -> None:
    assert find(body) == word


ABSENT = [
    b"",
    b" \r\n",
    b"{}",
    b' { "x" : 1 } ',
    b'{"x":{"model":"a"}}',
    b'[{"model":"a"}]',
    b'"model"',
    b"1",
    b"-1",
    b"true",
    b"null",
    b"hello",
    b"RIFF\x00\x00\x00\x00WAVE",
    b"fLaC\x00",
    b"OggS\x00",
    b"ID3\x04{",
    b"\xff\xfb\x90\x64",
    b"\xff",
    b"\x00\x00\x00\x20ftypM4A {",
    b"\x1a\x45\xdf\xa3",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
]


@pytest.mark.parametrize("body", ABSENT)
def test_a_body_that_no_reader_takes_for_an_object_with_a_model_has_none(body: bytes) -> None:
    assert find(body) == "absent"


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (None, None),
        ("application/json; charset=utf-8", None),
        ('application/json;charset="UTF-8"', None),
        ("text/plain; charset=utf8; x=y", None),
        ("application/json; charset=utf-7", "encoding"),
        ("application/json; charset=utf-8; charset=utf-16", "encoding"),
        ("application/json; charset=utf-8x", "encoding"),
        ("application/json; charset*=utf-8''utf-7", "encoding"),
        ("application/json; Charset=Shift_JIS", "encoding"),
        ("application/x-www-form-urlencoded", "form_urlencoded"),
        ("multipart/mixed; boundary=x", "form_boundary"),
        ("application/json, multipart/form-data; boundary=x", "form_boundary"),
    ],
)
def test_the_content_type_may_not_make_it_another_text(kind: str | None, word: str | None) -> None:
    found = find(b'{"model":"a"}', kind)
    assert found == (word or Found(10, 11, "a"))


# --- readers ------------------------------------------------------------------------------------------------------


def folded(key: str) -> str:
    return re.sub("[-_]", "", key).lower()


def pairs(body: bytes) -> list[tuple[str, Any]]:
    """All members of the top-level object as Python's own reader finds them, in whatever encoding it guesses."""
    members = json.loads(body, object_pairs_hook=lambda pairs: pairs)
    first = body.decode(json.detect_encoding(body), "surrogatepass").lstrip(" \t\r\n\ufeff")[:1]
    return members if first == "{" else []


def last_ones(reader: Callable[[bytes], Any]) -> Callable[[bytes], list[tuple[str, Any]]]:
    def members(body: bytes) -> list[tuple[str, Any]]:
        value = reader(body)
        return list(value.items()) if isinstance(value, dict) else []

    return members


READERS = {
    "json": pairs,
    "json, forgiving": last_ones(lambda body: json.loads(body, strict=False)),
    "json, first object only": last_ones(
        lambda body: json.JSONDecoder().raw_decode(body.decode().lstrip())[0]
    ),
    "orjson": last_ones(orjson.loads),
    "jiter": last_ones(jiter.from_json),
    "pydantic": last_ones(pydantic_core.from_json),
}


def models(body: bytes) -> dict[str, list[tuple[str, Any]]]:
    """What each reader that takes the body at all could take for the model."""
    answers = {}
    for name, reader in READERS.items():
        try:
            answers[name] = [(key, value) for key, value in reader(body) if folded(key) == "model"]
        except (ValueError, RecursionError):
            continue
    return answers


def agrees(body: bytes) -> Found | str:
    found = find(body)
    if isinstance(found, Found):
        expected = [("model", found.name)]
        assert json.loads(b'"' + body[found.start : found.stop] + b'"') == found.name
    elif found == "absent":
        expected = []
    else:
        return found
    for name, answer in models(body).items():
        assert answer == expected, name
    return found


def spelled(text: str, random: Random) -> str:
    """A JSON string in one of its many spellings."""
    out = []
    for unit in text.encode("utf-16-be", "surrogatepass").hex(" ", 2).split():
        plain = json.dumps(chr(int(unit, 16)))[1:-1]
        out.append(random.choice([plain, f"\\u{unit}", f"\\u{unit.upper()}"]))
    return '"' + "".join(out) + '"'


OTHERS = ["models", "mode", "", "x", "é", "\ufeffmodel", "model "]
ODD = ["model", "Model", "mODEL", "mo-del", "model_", "mo\0del", "model\ud800"]
NAMES = ["a", "org/name", "é😀", "x\\", '"model":"d"']
VALUES = [*NAMES, "", "a\n", 1, None, True, [], {}, {"model": "c"}, [{"model": "c"}], 1.5e300]
SPACES = ["", "", "", " ", "\n", "\r\n\t"]


def written(value: Any, random: Random) -> str:
    space = random.choice(SPACES)
    if isinstance(value, str):
        return spelled(value, random)
    if isinstance(value, dict):
        members = [
            f"{space}{spelled(key, random)}{space}:{space}{written(one, random)}"
            for key, one in value.items()
        ]
        return "{" + ",".join(members) + space + "}"
    if isinstance(value, list):
        return "[" + ",".join(space + written(one, random) for one in value) + space + "]"
    return json.dumps(value)


def document(members: list[tuple[str, Any]], random: Random) -> str:
    texts = [
        f"{spelled(key, random)}{random.choice(SPACES)}:{written(value, random)}" for key, value in members
    ]
    return random.choice(SPACES) + "{" + random.choice([",", ", "]).join(texts) + "}" + random.choice(SPACES)


def members(random: Random) -> list[tuple[str, Any]]:
    """Mostly with one model, sometimes with none, a second, or one in another spelling."""
    chosen = [(random.choice(OTHERS), random.choice(VALUES)) for _ in range(random.randrange(4))]
    if random.random() < 0.8:
        chosen.append(("model", random.choice(NAMES + VALUES)))
    if random.random() < 0.25:
        chosen.append((random.choice(ODD), random.choice(VALUES)))
    random.shuffle(chosen)
    return chosen


randoms = st.randoms(use_true_random=False)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
MARKS = (
    b"|\"|\\|'|{|}|[|]|,|:|/**/|//\n|#|\x00|\n| |-|0|e|.|m|NaN|\xef\xbb\xbf|\xff|\xc2\xa0|\xed\xa0\x80".split(
        b"|"
    )
)
PIECES = b'\\u0000|\\ud800|\\udc00|\\x6d|"model":"b",|"Model":"b",|,"model":"b"|{"model":"b"}|model'.split(
    b"|"
)


def cut(body: bytes, random: Random) -> bytes:
    """The body with up to three pieces put in, taken out, or put in place of others."""
    for _ in range(random.choice([0, 1, 1, 2, 3])):
        at = random.randrange(len(body) + 1)
        body = body[:at] + random.choice(MARKS + PIECES) + body[at + random.choice([0, 0, 1, 2]) :]
    return body


@settings(max_examples=400, deadline=None)
@given(randoms, st.sampled_from(ENCODINGS))
def test_no_reader_finds_another_model(random: Random, encoding: str) -> None:
    agrees(document(members(random), random).encode(encoding, "surrogatepass"))


@settings(max_examples=500, deadline=None)
@given(randoms)
def test_no_reader_finds_another_model_in_a_body_cut_at_any_place(random: Random) -> None:
    agrees(cut(document(members(random), random).encode("utf-8", "surrogatepass"), random))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=12), st.sampled_from([b'{"model":"a"}', b"{}", b"[1]"]))
def test_nothing_before_an_object_hides_it(before: bytes, rest: bytes) -> None:
    agrees(before + rest)


plain_names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=256)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=20,
)
other_keys = st.text(st.characters(exclude_categories=["Cc", "Cs"])).filter(
    lambda key: folded(key) != "model"
)


@settings(max_examples=100, deadline=None)
@given(
    plain_names,
    plain_names,
    st.dictionaries(other_keys, trees, max_size=5),
    st.integers(0, 5),
    st.booleans(),
    randoms,
)
def test_what_compliant_writers_write_is_found_and_only_the_model_changes(
    name: str, new: str, others: dict[str, Any], at: int, ascii_only: bool, random: Random
) -> None:
    items = list(others.items())
    value = dict([*items[:at], ("model", name), *items[at:]])
    for text in (
        json.dumps(value, ensure_ascii=ascii_only),
        json.dumps(value, indent=2),
        written(value, random),
    ):
        body = text.encode("utf-8", "surrogatepass")
        found = agrees(body)
        assert isinstance(found, Found)
        assert found.name == name
        changed = put(body, found, new)
        assert json.loads(changed) == value | {"model": new}
        tail = len(body) - found.stop
        assert changed[: found.start] == body[: found.start]
        assert changed[len(changed) - tail :] == body[found.stop :]
        assert find(changed) == Found(found.start, len(changed) - tail, new)


NODE = """
const lines = require("fs").readFileSync(0, "utf8").split("\\n").slice(0, -1);
for (const line of lines) {
    const bytes = Buffer.from(line, "base64");
    let out = null;
    try {
        const members = Object.entries(JSON.parse(bytes.toString("utf8")));
        out = members.filter(([key]) => /^model$/i.test(key.replace(/[-_]/g, "")));
    } catch {}
    console.log(JSON.stringify(out));
}
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_node_finds_no_other_model() -> None:
    random = Random(7)
    texts = (document(members(random), random) for _ in range(3000))
    bodies = [cut(text.encode("utf-8", "surrogatepass"), random) for text in texts]
    lines = b"".join(b64encode(body) + b"\n" for body in bodies)
    answers = subprocess.run(
        ["node", "-e", NODE], input=lines, capture_output=True, check=True
    ).stdout.splitlines()
    kinds = []
    for body, line in zip(bodies, answers, strict=True):
        found, answer = find(body), json.loads(line)
        kinds.append(found if isinstance(found, str) else "found")
        if answer is not None and isinstance(found, Found):
            assert answer == [["model", found.name]]
        elif answer is not None and found == "absent" and body.lstrip().startswith(b"{"):
            assert answer == []
    assert kinds.count("found") > 150
    assert {"absent", "twice", "misspelled", "odd_key", "not_json"} <= set(kinds)


# --- work ---------------------------------------------------------------------------------------------------------

HARD = {
    "a text": b'{"model":"a","x":"%s"}' % (b"a" * 1_000_000),
    "backslashes": b'{"model":"a","x":"%s"}' % (b"\\\\" * 500_000),
    "brackets": b'{"model":"a","x":[%s0]}' % (b"[]," * 300_000),
    "keys": b'{"model":"a"%s}' % b"".join(b',"%d":1' % i for i in range(100_000)),
    "keys in escapes": b'{"model":"a"%s}' % (b',"\\u006dode":1' * 70_000),
    "spaces behind": b'{"model":"a"}' + b" " * 1_000_000,
    "spaces before": b" " * 1_000_000 + b'{"model":"a"}',
    "control characters before": b"\x01" * 1_000_000,
}


@pytest.mark.parametrize("body", HARD.values(), ids=HARD)
def test_others_get_their_turn_every_few_bytes(body: bytes) -> None:
    pauses: list[int] = []
    find(body, pauses=pauses)
    assert len(pauses) >= len(body) // 65536


def test_every_problem_has_a_sentence() -> None:
    words = (
        set(REFUSED)
        | {"absent", "encoding", "other", "needed", "in_pieces", "slow"}
        | {"form_boundary", "form_file", "form_head", "form_shape", "form_urlencoded", "form_at_v1"}
    )
    assert set(sentences()) == words
    for sentence in sentences().values():
        assert re.fullmatch(r"[\x20-\x7e]{1,200}", sentence)
        assert sentence.endswith(".")
