"""The fast way to read a line takes nothing that the strict one refuses, and reads the same."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.audit import flat
from tests.audit.making import edge_bytes, guard_bytes, new_rid

PLAIN = [edge_bytes(new_rid()), guard_bytes(new_rid())]
# Where JSON's readers are known to differ, and what the count of quotes could be fooled by.
HOSTILE = [
    b'{"a":"x","a":"y"}',
    b'{"a":"x","b":"y","a":"z"}',
    b'{"a":["x"]}',
    b'{"a":["x","y"],"b":1}',
    b'{"a":{"b":"c"}}',
    b'{"a":"x","a":["y","z"]}',
    b'{"a":"x","a":1,"b":"y"}',
    b'{"a":"x",}',
    b'{"a":"x"}{"b":"y"}',
    b'{"a":"x"} {',
    b'\xef\xbb\xbf{"a":"x"}',
    b'{"a":"\x01"}',
    b'{"a":"\x7f"}',
    b'{"a":"\xff"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"\xc0\xae":"x"}',
    b'{"a":"\\ud800"}',
    b'{"a":"\\ud83d\\ude00"}',
    b'{"a":"\\ude00\\ud83d"}',
    b'{"a":"x","\\u0061":"y"}',
    b'{"a":"\\"\\"\\"\\"","a":"x"}',
    b'{"a":"\\u0022","b":"\\\\","c":"\\/\\n\\u0000"}',
    b'{"a":"\\x"}',
    b'{"a":"\\u00e"}',
    b'{"a":NaN,"b":"x"}',
    b'{"a":Infinity}',
    b'{"a":1e999}',
    b'{"a":123456789012345678901234567890}',
    b'{"a":-0,"b":01}',
    b'{"a":null,"b":true}',
    b"{'a':'x'}",
    b'{"a":"x"/**/}',
    b'{"a" :\t"x"\r\n}',
    b'{"":""}',
    b"{}",
    b'"a"',
    b"[]",
    b"",
]


def outcome(read: Callable[[bytes], object], body: bytes) -> object:
    try:
        return read(body)
    except (ValueError, RecursionError):
        return "refused"


def assert_read_alike(body: bytes) -> None:
    assert outcome(flat.read, body) == outcome(flat._strict, body)


@pytest.mark.parametrize("body", HOSTILE)
def test_both_ways_read_alike_what_readers_differ_in(body: bytes) -> None:
    assert_read_alike(body)


@given(st.sampled_from(PLAIN), st.data())
def test_both_ways_read_alike_lines_that_were_cut_and_pasted(line: bytes, data: st.DataObject) -> None:
    """A member twice, a quote more or less, another's bytes in the middle: all at the places where tokens end."""
    ends = [at for at, byte in enumerate(line) if byte in b'"{},:']
    start, stop, into = (data.draw(st.sampled_from(ends)) for _ in range(3))
    pasted = data.draw(
        st.sampled_from([line[start:stop], b'"', b"\\", b"[", b'{"a":', b"1", b"null", b"\xff"])
    )
    assert_read_alike(line[:into] + pasted + line[into:])
    assert_read_alike(line[:into] + pasted + line[into + 1 :])


@given(st.sampled_from(PLAIN), st.integers(0, 2000), st.binary(max_size=3))
def test_both_ways_read_alike_lines_with_other_bytes(line: bytes, at: int, other: bytes) -> None:
    assert_read_alike(line[:at] + other + line[at + len(other) :])


@pytest.mark.parametrize("at", range(25))
@pytest.mark.parametrize("line", PLAIN)
def test_each_member_twice_is_refused(line: bytes, at: int) -> None:
    members = line[1:-1].split(b',"')
    member = b'"' + members[at % len(members)].removeprefix(b'"')
    for twice in (b"{" + member + b"," + line[1:], line[:-1] + b"," + member + b"}"):
        with pytest.raises(ValueError, match="a name occurs twice"):
            flat.read(twice)


def test_what_the_proxies_write_is_read_the_fast_way() -> None:
    assert all(flat._plain(line) == json.loads(line) for line in PLAIN)
    assert flat._plain(edge_bytes(new_rid(), path="/caf\u00e9").decode("unicode_escape").encode()) is not None
