"""The quoter against the real nginx: what it accepts, nginx reads back byte for byte; all else it refuses."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from edge_harness import nginx_binary

from meshward.kit.errors import MeshwardError
from meshward.targets.nginx.emit import (
    IfCondition,
    Key,
    Regex,
    Variable,
    block,
    join_values,
    mapping,
    quote,
    simple,
    text,
)
from meshward.testing.stand_ins import free_port
from meshward.testing.waiting import eventually

_ALPHABET = [
    *"ab/ \"'\\;{}#$\n\r\t\0\x0b\x0c%?&=,.-_~^|()[]*+!@:<>`",
    *("é", "\u00a0", "\u2028", "${a}", "$host", "$1", '\\"', "\\\\", "# ", "include", "%{"),
    *("\x85", "\u202e", "a" * 50, "\x7f", "\x1b"),
]
_CHOSEN = [
    "",
    "a\\",
    "#x",
    "$",
    "${",
    "a" * 2000,
    "a" * 4090,
    'x"; } location = /p { return 200 PWN; } #',
    "'",
    "\\t",
]


def _strings(count: int) -> Iterator[str]:
    random_ = random.Random(7)
    yield from _CHOSEN
    for _ in range(count):
        yield "".join(random_.choice(_ALPHABET) for _ in range(random_.randint(0, 12)))


def _accepted(strings: Iterator[str]) -> list[tuple[str, str]]:
    found = []
    for string in strings:
        try:
            found.append((string, quote(string)))
        except MeshwardError as error:
            assert error.code.number == "MW1201"
    return found


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="mwq-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def _serve(directory: Path, inside: str) -> Iterator[int]:
    port = free_port()
    conf = directory / "c.conf"
    main = f"daemon off; master_process off; pid {directory}/p; error_log {directory}/e; events {{}}\n"
    http = f"http {{ access_log off; server {{ listen 127.0.0.1:{port};\n{inside} }} }}"
    conf.write_text(main + http, encoding="utf-8", newline="")
    judged = subprocess.run([nginx_binary(), "-t", "-q", "-c", conf], capture_output=True, text=True)
    assert judged.returncode == 0, judged.stderr
    process = subprocess.Popen([nginx_binary(), "-c", conf], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
        yield port
    finally:
        process.terminate()
        process.wait(60)


def test_what_the_quoter_accepts_nginx_reads_back_byte_for_byte(directory: Path) -> None:
    accepted = _accepted(_strings(3000))
    assert len(accepted) > 300
    places = (f"location = /{i} {{ return 200 {quoted}; }}\n" for i, (_, quoted) in enumerate(accepted))
    for port in _serve(directory, "location = /p { return 200 SAFE; }\n" + "".join(places)):
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            assert client.get("/p").text == "SAFE"
            got = [client.get(f"/{i}").content.decode() for i in range(len(accepted))]
    assert got == [string for string, _ in accepted]


@pytest.mark.parametrize(
    "bad", ["a\nb", "a\0", "\x7f", "$x", "a$", "${x}", "\u2028", "\u202e", "\u00a0", "a" * 2001]
)
def test_the_quoter_refuses_what_nginx_cannot_be_told(bad: str) -> None:
    with pytest.raises(MeshwardError):
        quote(bad)
    with pytest.raises(MeshwardError):
        text([simple("return", "200", bad)])
    with pytest.raises(MeshwardError):
        text([simple("return", "200", join_values("x", bad))])
    with pytest.raises(MeshwardError):
        text([block("if", IfCondition(Variable("x"), "=", bad), inside=[])])


def test_no_hostile_string_becomes_a_directive(directory: Path, shared_data: Path) -> None:
    crossplane = pytest.importorskip("crossplane")
    strings = json.loads((shared_data / "vectors/config_injection_visible.json").read_text())["strings"]
    accepted = _accepted(iter(strings))
    for string, _ in accepted:
        conf = directory / "c.conf"
        rows = mapping(Variable("host"), "mw_x", "", (Key(string), "1"))
        inside = [
            simple("return", "200", string),
            simple("add_header", "X", join_values(string, Variable("host"))),
        ]
        conf.write_text(
            text([block("http", inside=[rows, block("server", inside=inside)])]), encoding="utf-8"
        )
        parsed = crossplane.parse(str(conf), single=True, strict=False)["config"][0]["parsed"]
        (http,) = parsed
        assert [d["directive"] for d in http["block"]] == ["map", "server"]
        answer, header = http["block"][1]["block"]
        arguments = [
            a.replace("\\\\", "\\") for a in [*answer["args"], *header["args"]]
        ]  # crossplane leaves `\\\\`
        assert arguments == ["200", string, "X", string + "${host}"]


@pytest.mark.parametrize("word", ["default", "include", "hostnames", "volatile", "~^.*$x", "~a", "\\x"])
def test_a_map_key_is_never_a_keyword_or_an_expression(directory: Path, word: str) -> None:
    if "$" in word:
        with pytest.raises(MeshwardError):
            str(Key(word))
        return
    conf = directory / "map.conf"
    tree = mapping(Variable("http_x"), "mw_x", "no", (Key(word), "yes"))
    conf.write_text(text([tree]))
    inside = "location / { return 200 $mw_x; }"
    head = f"}} include {conf}; server {{ listen 127.0.0.1:1;"
    for port in _serve(directory, inside + head):
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            assert client.get("/", headers={"X": word}).text == "yes"
            assert client.get("/", headers={"X": "other"}).text == "no"


@pytest.mark.parametrize("pattern", ["(a)", "(?<n>a)", "^/(.*)", "(?P<x>a)"])
def test_a_map_never_captures(pattern: str) -> None:
    with pytest.raises(MeshwardError):
        Regex(pattern)


def test_names_of_directives_and_variables_are_names() -> None:
    for bad in ("a b", "a;", "A", "", "1a", "a}"):
        with pytest.raises(MeshwardError):
            text([simple(bad)])
        with pytest.raises(MeshwardError):
            Variable(bad)
