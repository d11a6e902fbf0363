"""Two lines become one record; no line can get into, or over, another request's record."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.audit.join import Record, arrange, counted_reason, guard_refusal, record_id
from meshward.audit.lines import EdgeLine, parse
from tests.audit.making import GUARD, edge, facts_text, guard, new_rid, refused_bytes, unknown_bytes

RID = "0" * 31 + "1"
INSIDER = "spiffe://mesh.example/model/other"


def joined(edge_changes: dict[str, str] | None = None, guard_changes: dict[str, str] | None = None) -> Record:
    return Record(RID, edge(RID, **(edge_changes or {})), guard(RID, **(guard_changes or {})))


def what(record: Record) -> set[str]:
    return {disagreement.what for disagreement in record.disagreements}


def test_the_two_lines_of_one_request_agree():
    (record,) = arrange(RID, [edge(RID)], [guard(RID)])
    assert record.agrees and record.complete and not record.waiting and not record.reused
    assert (record.facts.sub, record.facts.perm, record.status) == ("okta:00u1", "minilm.infer", 200)


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("sub", "subject"),
        ("scope", "permission"),
        ("model", "model"),
        ("action", "action"),
        ("grant", "grant"),
        ("rev", "revision"),
        ("txn", "transaction"),
        ("told_reqd", "prompt digest"),
        ("guard", "guard"),
        ("peer", "peer"),
        ("method", "method"),
        ("path", "path"),
        ("status", "status"),
    ],
)
def test_each_difference_is_a_disagreement(field: str, name: str):
    record = joined(guard_changes={field: "418" if field == "status" else "other"})
    assert what(record) == {name}
    assert not record.agrees


@pytest.mark.parametrize("field", ["sub", "scope", "grant", "rev", "txn", "model", "action"])
def test_a_claim_that_the_guard_did_not_see_is_a_disagreement(field: str):
    assert not joined(guard_changes={field: ""}).agrees


def test_paths_below_the_models_base_are_compared():
    assert joined({"path": "/m/minilm/embed"}).agrees
    assert joined({"path": "/m/minilm"}, {"path": "/"}).agrees
    assert what(joined({"path": "/m/minilm/embed", "front": "v1"})) == {"path"}


def test_a_trust_domain_of_its_own_is_no_peer():
    assert what(joined(guard_changes={"peer": "spiffe://evil.example/edge"})) == {"peer"}
    assert what(
        joined(guard_changes={"peer": "spiffe://mesh.example/edge,spiffe://mesh.example/model/a"})
    ) == {"peer"}


def test_the_guard_refusing_what_the_edge_permitted_is_a_disagreement_about_the_verdict():
    refused = {"status": "403", "details": "rbac_access_denied_matched_policy[none]"}
    record = joined({"status": "403"}, refused)
    assert what(record) == {"verdict"}
    assert record.refused_by == "guard"
    nothing_verified = {
        "status": "401",
        "details": "jwt_authn_access_denied{Jwt_is_missing}",
    } | dict.fromkeys(("sub", "scope", "grant", "rev", "txn", "model", "action"), "")
    assert what(joined({"status": "401"}, nothing_verified)) == {"verdict"}


def test_the_guards_limit_is_no_disagreement():
    limited = {"status": "429", "flags": "RL", "details": "request_rate_limited"}
    assert joined({"status": "429"}, limited).agrees
    assert guard_refusal(guard(RID, **limited)) == "guard_rate_limited"


def test_a_models_own_403_is_not_the_guards():
    record = joined({"status": "403"}, {"status": "403"})
    assert record.agrees and record.refused_by is None


def test_a_request_that_the_edge_refused_and_a_guard_saw_is_a_disagreement():
    (record,) = arrange(RID, [edge(RID, layer="edge", reason="no_grant", status="403")], [guard(RID)])
    assert "verdict" in what(record)


def test_a_request_forwarded_without_an_identity_is_a_disagreement():
    assert "identity" in what(joined({"facts": ""}))
    assert "facts" in what(joined({"facts": "bm90IGpzb24"}))


@pytest.mark.parametrize("status", ["499", "000", "502", "504"])
def test_a_client_that_left_does_not_make_the_hops_disagree(status: str):
    assert joined({"status": status, "last": "0"}, {"status": "0", "flags": "DC"}).agrees


def test_an_answer_is_complete_only_if_both_saw_its_end():
    assert not joined({"last": "0"}).complete
    assert not joined({"done": ""}).complete
    assert not joined(guard_changes={"flags": "UPE"}).complete
    assert not joined(guard_changes={"flags": "RL,DC"}).complete
    assert joined({"status": "503"}, {"status": "503", "flags": "URX,UF"}).complete


def test_each_half_alone_is_missing_the_other():
    (alone,) = arrange(RID, [edge(RID)], [])
    assert (alone.missing, alone.waiting, alone.agrees) == ("guard", True, False)
    (seen,) = arrange(RID, [], [guard(RID)])
    assert (seen.missing, seen.waiting, seen.agrees) == ("edge", True, False)
    (refused,) = arrange(RID, [edge(RID, layer="edge", status="403", guard="")], [])
    assert (refused.missing, refused.waiting, refused.agrees) == (None, False, True)


def test_an_insider_who_reuses_an_id_gets_a_record_of_their_own_in_every_order():
    mine, theirs, real = edge(RID), guard(RID, peer=INSIDER, uid="u-2", sub="workload:other"), guard(RID)
    for order in itertools.permutations([theirs, real]):
        first, second = arrange(RID, [mine], list(order))
        assert (first.edge, first.guard, first.agrees, first.reused) == (mine, real, True, False)
        assert (second.edge, second.guard, second.agrees, second.reused) == (None, theirs, False, True)


def test_an_insider_cannot_stand_in_for_the_guards_missing_line():
    first, second = arrange(RID, [edge(RID)], [guard(RID, peer=INSIDER)])
    assert (first.guard, first.missing) == (None, "guard")
    assert (second.edge, what(second)) == (None, {"request id", "peer"})


def test_the_same_line_twice_is_one_line():
    assert len(arrange(RID, [edge(RID, t="1.0")] * 2, [guard(RID, t="1.0")] * 3)) == 1


LINES = st.fixed_dictionaries(
    {
        "peer": st.sampled_from(["spiffe://mesh.example/edge", INSIDER]),
        "uid": st.uuids().map(str),
        "sub": st.sampled_from(["okta:00u1", "okta:root"]),
        "status": st.sampled_from(["200", "403"]),
    }
)


@given(
    st.lists(st.sampled_from(["200", "499"]), max_size=3, unique=True),
    st.lists(LINES, max_size=5),
)
def test_no_line_is_lost_or_doubled_or_given_to_a_stranger(edges: list[str], guards: list[dict[str, str]]):
    records = arrange(
        RID, [edge(RID, status=status) for status in edges], [guard(RID, **line) for line in guards]
    )
    assert sorted(r.edge.status for r in records if r.edge) == sorted(edges)
    assert sorted(r.guard.uid for r in records if r.guard) == sorted(line["uid"] for line in guards)
    assert all(r.guard.peer != INSIDER for r in records if r.edge and r.guard)
    assert sum(1 for r in records if r.agrees) <= 1


@given(st.permutations(range(4)), st.integers(0, 3))
def test_the_true_half_is_found_in_any_order_and_in_any_batches(order: list[int], split: int):
    """What came first does not matter: a later batch is joined with the halves that are already there."""
    mine = edge(RID, t="1.0")
    lines = [
        guard(RID, t="1.0", uid="true"),
        guard(RID, uid="a", sub="okta:root"),
        guard(RID, uid="b", peer=INSIDER),
    ]
    lines.append(guard(RID, uid="c", told_reqd="sha-256=:other:"))
    mixed = [lines[index] for index in order]
    early = arrange(RID, [mine], mixed[:split])
    again = arrange(
        RID, [r.edge for r in early if r.edge], [r.guard for r in early if r.guard] + mixed[split:]
    )
    for records in (arrange(RID, [mine], mixed), again):
        first = records[0]
        assert (first.edge, first.guard, first.agrees) == (mine, lines[0], True)
        assert all(record.reused and not record.agrees for record in records[1:])


@pytest.mark.parametrize(
    "rid", ["A" * 32, "0" * 31, "0" * 33, f"{RID},{RID}", RID + "\n", "../x", "é" * 32, "٠" * 32]
)
def test_an_id_that_nginx_does_not_make_is_no_key(rid: str):
    line = guard(rid, peer=INSIDER)
    key = record_id(line)
    assert key.startswith("stray-") and record_id(line) == key
    (record,) = arrange(key, [], [line])
    assert {"request id", "peer"} <= what(record)


def test_only_requests_without_an_identity_are_counted():
    def reason(raw: bytes) -> str | None:
        (line,) = parse(raw, "edge")
        assert isinstance(line, EdgeLine)
        return counted_reason(line)

    assert reason(unknown_bytes(new_rid(), "token_expired")) == "token_expired"
    assert reason(unknown_bytes(new_rid(), 'x"\n')) == "other"
    assert reason(refused_bytes(new_rid(), "", facts="", status="200")) == "public"
    assert reason(refused_bytes(new_rid())) is None
    assert reason(refused_bytes(new_rid(), facts="", guard=GUARD)) is None
    assert reason(refused_bytes(new_rid(), facts=facts_text())) is None
