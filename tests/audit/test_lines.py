"""Lines are read whole or not at all: nothing raises, nothing merges, nobody speaks for another."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.audit.lines import (
    MAX_LINE,
    EdgeLine,
    Facts,
    Garbage,
    GuardLine,
    decode_facts,
    edge_line,
    guard_line,
    parse,
    values_of,
)
from tests.audit.making import FACTS, edge_bytes, facts_text, guard_bytes, new_rid

NASTY = [
    '","sub":"root',
    '"}\n{"v":"1","hop":"edge","rid":"',
    "\\",
    '\\"',
    "\u2028",
    "\x00",
    "{",
    '{"',
    "é\u202e",
]


def test_an_edge_line_is_read_with_its_facts():
    rid = new_rid()
    (line,) = parse(edge_bytes(rid), "edge")
    assert isinstance(line, EdgeLine)
    assert (line.rid, line.status, line.forwarded) == (rid, "200", True)
    assert line.claims is not None
    assert (line.claims.sub, line.claims.roles, line.claims.rev) == (FACTS["sub"], ("data-scientist",), "7")


def test_envoys_null_is_absent_and_its_digits_are_text():
    raw = guard_bytes(new_rid(), sub=None).replace(b'"status":"200"', b'"status":200')
    (line,) = parse(raw, "guard")
    assert isinstance(line, GuardLine)
    assert (line.sub, line.status) == ("", "200")


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_whatever_the_bytes_parsing_does_not_raise(raw: bytes):
    for hop in ("edge", "guard"):
        for line in parse(raw, hop):
            assert isinstance(line, Garbage)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    )
)
def test_other_json_is_garbage(value: object):
    raw = json.dumps(value).encode()
    assert all(isinstance(line, Garbage) for line in parse(raw, "edge"))


@given(st.data())
def test_a_torn_record_never_mixes_with_the_next(data: st.DataObject):
    """A full disk cuts a record anywhere and the next lands on its line: it comes out as it was written."""
    hostile = data.draw(st.sampled_from(NASTY) | st.text(max_size=40))
    first = edge_bytes(new_rid(), path="/first" + hostile, method="FIRST")
    second = edge_bytes(new_rid(), path="/second" + hostile, model=hostile, method="SECOND")
    cut = data.draw(st.integers(1, len(first) - 1))
    lines = parse(first[:cut] + second, "edge")
    assert [line for line in lines if not isinstance(line, Garbage)] == parse(second, "edge")
    assert any(isinstance(line, Garbage) for line in lines)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=4))
def test_several_torn_records_on_one_line_leave_the_whole_ones(cuts: list[int]):
    torn = b"".join(edge_bytes(new_rid(), method="TORN")[:cut] for cut in cuts)
    whole = [edge_bytes(new_rid()), edge_bytes(new_rid())]
    kept = [line for line in parse(torn + b"".join(whole), "edge") if not isinstance(line, Garbage)]
    assert kept == [*parse(whole[0], "edge"), *parse(whole[1], "edge")]


@given(st.sampled_from(NASTY) | st.text(max_size=60))
def test_what_a_caller_writes_stays_inside_its_field(text: str):
    clean = text.encode("utf-8", "replace").decode()
    rid = new_rid()
    (line,) = parse(edge_bytes(rid, path=text, model=text), "edge")
    assert isinstance(line, EdgeLine)
    assert (line.rid, line.path, line.model) == (rid, clean, clean)
    assert line.claims is not None and line.claims.sub == FACTS["sub"]


@given(st.sampled_from(["\ud800", "a\udfff", "\x00", "\x1b[31m"]))
def test_texts_that_nothing_can_store_are_made_storable(text: str):
    raw = edge_bytes(new_rid(), model=text, facts=facts_text(sub=text))
    (line,) = parse(raw, "edge")
    assert isinstance(line, EdgeLine) and line.claims is not None
    (line.model + line.claims.sub).encode()


def test_a_repeated_key_is_no_record():
    raw = edge_bytes(new_rid()).replace(
        b'"status":"200"', b'"status":"200","rid":"' + new_rid().encode() + b'"'
    )
    assert parse(raw, "edge") == [Garbage("not_a_record", len(raw))]


@pytest.mark.parametrize("value", [b"true", b"[]", b'["a"]', b'{"v":"1"}', b"NaN"])
def test_a_value_that_is_no_text_makes_no_record(value: bytes):
    raw = edge_bytes(new_rid()).replace(b'"pid":"77"', b'"pid":' + value)
    assert all(isinstance(line, Garbage) for line in parse(raw, "edge"))


def test_a_nested_record_is_not_taken_for_one():
    inner = edge_bytes(new_rid())
    raw = edge_bytes(new_rid()).replace(b'"pid":"77"', b'"pid":' + inner)
    assert all(isinstance(line, Garbage) for line in parse(raw, "edge"))


def test_a_guards_log_cannot_speak_for_the_edge():
    raw = edge_bytes(new_rid())
    assert parse(raw, "guard") == [Garbage("wrong_hop", len(raw))]


def test_an_overlong_record_is_garbage_and_the_next_on_its_line_is_not():
    long = edge_bytes(new_rid(), path="/" + "a" * MAX_LINE)
    good = edge_bytes(new_rid())
    assert parse(long, "edge") == [Garbage("too_long", len(long))]
    assert parse(long + good, "edge") == [Garbage("too_long", len(long)), *parse(good, "edge")]


def test_deep_nesting_and_many_starts_cost_little():
    for raw in (b"[" * MAX_LINE, b'{"a":' * 12_000, b'{"' * 30_000, b'{"a' * 20_000):
        assert all(isinstance(line, Garbage) for line in parse(raw, "edge"))


def test_zeros_of_an_erased_stretch_are_skipped():
    raw = edge_bytes(new_rid())
    assert parse(b"\0" * 5000 + raw, "edge") == parse(raw, "edge")
    assert parse(b"\0" * 5000, "edge") == []


def test_a_byte_that_is_not_utf8_does_not_cost_the_record():
    (line,) = parse(edge_bytes(new_rid(), path="/MARK").replace(b"MARK", b"\xff"), "edge")
    assert isinstance(line, EdgeLine) and line.path == "/\ufffd"


UNREADABLE = ["", "!", "e30", "bnVsbA", "W10", facts_text(sub=["a"]), facts_text(roles="a"), "ab\u20ac"]


@pytest.mark.parametrize("text", UNREADABLE)
def test_facts_that_cannot_be_read_are_none(text: str):
    assert decode_facts(text) is None


def test_facts_with_a_repeated_key_are_none():
    assert decode_facts("eyJzdWIiOiJhIiwic3ViIjoiYiJ9") is None  # {"sub":"a","sub":"b"}


def test_numbers_among_the_facts_are_text():
    facts = decode_facts(facts_text(rev=7, exp=1700000000))
    assert isinstance(facts, Facts) and (facts.rev, facts.exp) == ("7", "1700000000")


@given(st.sampled_from(NASTY) | st.text(max_size=20))
def test_a_line_survives_its_own_values(text: str):
    (edge,) = parse(edge_bytes(new_rid(), model=text), "edge")
    (guard,) = parse(guard_bytes(new_rid(), sub=text), "guard")
    assert isinstance(edge, EdgeLine) and isinstance(guard, GuardLine)
    assert edge_line(values_of(edge), edge.text) == edge
    assert guard_line(values_of(guard), guard.text) == guard


def test_what_a_guard_verified_stands_in_one_field() -> None:
    line = '{"v":"1","hop":"guard","rid":"r","who":"7 science 0d5e m.1.infer okta:a b - c"}'
    (read,) = parse(line.encode(), "guard")
    assert isinstance(read, GuardLine)
    assert (read.rev, read.grant, read.txn, read.scope) == ("7", "science", "0d5e", "m.1.infer")
    assert (read.model, read.action, read.sub) == ("m.1", "infer", "okta:a b - c")
    for who in ("", "-", "- - - - -", "7", "7 a"):
        (read,) = parse(line.replace("7 science 0d5e m.1.infer okta:a b - c", who).encode(), "guard")
        assert isinstance(read, GuardLine) and (read.sub, read.scope, read.model, read.action) == (
            "",
            "",
            "",
            "",
        )


def test_a_guards_line_of_an_earlier_release_is_read_as_it_was() -> None:
    old = '{"v":"1","hop":"guard","rid":"r","sub":"okta:a","scope":"m.infer","model":"m","action":"infer"}'
    (read,) = parse(old.encode(), "guard")
    assert isinstance(read, GuardLine) and guard_line(values_of(read), read.text) == read
    assert (read.sub, read.model, read.action) == ("okta:a", "m", "infer")
