"""What strangers choose becomes no string of Lua's before they are known: Lua keeps each string once, found by a hash.

LuaJIT before July 2024 lets anybody choose strings that meet under one hash (CVE-2024-39702). What a permitted caller
sends does become strings: his body, its type, the name in it.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from edge_harness import DOMAIN, Edge, message, refusal, running

# --- which variables are read as strings --------------------------------------------------------------------------

_RECORD = """
local asked = io.open("%s", "a")
asked:setvbuf("no")
local meta = getmetatable(ngx.var)
local get = meta.__index
meta.__index = function(self, name) asked:write(name, "\\n") return get(self, name) end
"""
# Of a fixed set, or our own: what is cut from the target, or said about a caller, is not among them.
_OURS = re.compile(r"mw_(?!(?:path|model|target|facts|d_\w+)$)\w+|uri|request_id|remote_addr")
_TARGET = {"request_uri", "mw_path"}


@pytest.fixture(scope="module")
def recorder() -> Iterator[tuple[Edge, Path]]:
    """An edge that writes down which of nginx' variables its Lua reads as strings, and where."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o777)
        record = _RECORD.replace("%s", str(directory / "asked"))
        with running(lambda file, text: record + text if file == "lua/phases/start.lua" else text) as edge:
            yield edge, directory / "asked"


# Each is refused somewhere: what is sent, its status, and what of it becomes strings. The host only where it is ours.
_REFUSED: dict[str, tuple[bytes, int, set[str]]] = {
    "host": (message("POST", "/m/minilm/a", "t", b"{}", Host="x" * 100), 421, _TARGET),
    "method": (message("BREW", "/m/minilm/a", "t", b"{}"), 405, _TARGET),
    "target": (message("POST", "/m/minilm/%41" + "a" * 2000, "t", b"{}"), 400, {"mw_path"}),
    "header": (message("POST", "/m/minilm/a", "\xe9" * 2000, b"{}"), 401, _TARGET | {"http_host"}),
    "query": (
        message("POST", "/m/minilm/a?access_token=" + "a" * 2000, "t", b"{}"),
        401,
        _TARGET | {"http_host"},
    ),
    "upgrade": (message("POST", "/m/minilm/a", "t", b"{}", Upgrade="x" * 100), 400, _TARGET),
    "size": (message("POST", "/m/minilm/a", "t", Content_Length="99999999"), 413, _TARGET),
    "credential": (message("POST", "/m/minilm/a", "t" * 4000, b"{}", X="x" * 100), 401, _TARGET),
    "credential at v1": (message("POST", "/v1/x", "t" * 4000, b'{"model":"x"}'), 401, _TARGET),
    "front": (message("POST", "/elsewhere/" + "a" * 2000, "t", b"{}"), 404, _TARGET),
}


def theirs(asked: Path) -> set[str]:
    return {name for name in asked.read_text().split() if not _OURS.fullmatch(name)}


@pytest.mark.parametrize("what", _REFUSED)
def test_of_a_strangers_request_only_a_target_becomes_strings(recorder: tuple[Edge, Path], what: str) -> None:
    edge, asked = recorder
    edge.reset()
    edge.decision.answer = lambda _: refusal(401, "token_malformed")
    sent, status, may = _REFUSED[what]
    os.truncate(asked, 0)
    with edge.client() as client:
        client.send(sent)
        assert client.response().status == status
    assert "mw_reason" in asked.read_text().split(), "the recorder is awake"
    assert theirs(asked) <= may


def test_nor_does_a_certificate_of_a_workload(recorder: tuple[Edge, Path]) -> None:
    edge, asked = recorder
    edge.reset()
    edge.decision.answer = lambda _: refusal(401, "workload_unknown")
    workload = edge.pki.leaf_pem(x509.UniformResourceIdentifier(f"spiffe://{DOMAIN}/ns/jobs/sa/scorer"))
    os.truncate(asked, 0)
    with edge.client(certificate=workload) as client:
        assert client.request("POST", "/m/minilm/a", None, b"{}").status == 401
    assert edge.decision.received[-1].get("X-Mw-Certificate"), "it was asked about"
    assert theirs(asked) <= _TARGET


# --- strings that collide -----------------------------------------------------------------------------------------


def crc32c(crc: int, data: bytes) -> int:
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1))
    return crc


def unseeded(free: bytes) -> int:
    """What LuaJIT's hash makes of the bytes 8 to 15 and 24 to 31 of a string: no seed touches them."""
    return crc32c(crc32c(0, free[:8]), free[8:])


_BASE = b"@" * 16  # and up to `O`: of each byte the low four bits are free, and all are plain in a target


def kernel() -> list[int]:
    """Sets of those 64 bits that can be turned without a change of the hash: CRC is linear, so by elimination."""
    rows: dict[int, tuple[int, int]] = {}
    found = []
    for k in range(64):
        value, combination = unseeded(turned(1 << k)) ^ unseeded(_BASE), 1 << k
        while value and value.bit_length() in rows:
            row, of = rows[value.bit_length()]
            value, combination = value ^ row, combination ^ of
        if value:
            rows[value.bit_length()] = value, combination
        else:
            found.append(combination)
    return found


def turned(bits: int) -> bytes:
    return bytes(byte ^ (bits >> 4 * i & 15) for i, byte in enumerate(_BASE))


def colliding(count: int, before: bytes) -> Iterator[bytes]:
    """So many strings of 32 bytes that meet under one hash: eight bytes, and the same eight between what is free."""
    basis = kernel()
    assert len(before) == 8 and count <= 1 << len(basis)
    for number in range(count):
        bits = 0
        for j, each in enumerate(basis):
            bits ^= each if number >> j & 1 else 0
        free = turned(bits)
        yield before + free[:8] + b"collides" + free[8:]


def test_the_strings_collide() -> None:
    made = list(colliding(2000, b"/m/one/a"))
    assert len(set(made)) == 2000
    assert len({unseeded(each[8:16] + each[24:32]) for each in made}) == 1


def lua_strings(pid: int) -> set[bytes]:
    """Those of them that are, or lately were, strings of this worker's Lua, which has a string's length before it."""
    form = re.compile(struct.pack("<I", 32) + rb"(.{8}[@-O]{8}collides[@-O]{8})", re.DOTALL)
    found: set[bytes] = set()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, rights, *_ = line.split()
            if rights == "rw-p":
                start, end = (int(each, 16) for each in where.split("-"))
                with contextlib.suppress(OSError):  # what was given back meanwhile
                    found |= set(form.findall(os.pread(memory.fileno(), end - start, start)))
    return found


COUNT = 3000
HEADERS = [
    "Authorization",
    "User-Agent",
    "Content-Type",
    "Cookie",
    "X-Any",
    "Traceparent",
    "Content-Encoding",
]


def test_what_strangers_choose_to_collide_never_meets() -> None:
    """But the targets, which are cut into model and path: of those only some are there at any time."""
    with running(cold_rate="900000r/s", cold_burst=COUNT) as edge, edge.client() as client:
        edge.decision.answer = lambda _: refusal(401, "token_malformed")
        (pid,) = edge.workers()
        for value, body in zip(colliding(COUNT, b"Bearer  "), colliding(COUNT, b'{"model"'), strict=True):
            text = value.decode()
            answer = client.request("POST", "/v1/x", None, body, **dict.fromkeys(HEADERS, text))
            assert answer.status == 401
        assert lua_strings(pid) == set()
        for target in colliding(COUNT, b"/m/one/a"):
            assert client.request("GET", target.decode()).status == 401
        found = lua_strings(pid)
        assert found, "they would have been seen"
        assert len(found) < COUNT / 4
