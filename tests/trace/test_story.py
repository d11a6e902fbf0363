"""A request's story says who, what, by which grant, at both hops, and does not hide what differs."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from meshward.audit.records import Records
from meshward.audit.store import Batch, Store
from meshward.kit.text import spelled_out
from meshward.testing.waiting import DEADLINE
from meshward.trace.reasons import remedy
from meshward.trace.story import Story, explain_missing, story, wait_for
from meshward.trace.text import style_story
from tests.audit.making import DIGEST, EDGE_ID, GUARD, edge, facts_text, guard, new_rid

INSIDER = "spiffe://mesh.example/model/other"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def told(store: Store, rid: str, batch: Batch) -> Story:
    store.write(batch, time.time())
    result = story(Records(store.path.parent), rid)
    assert result is not None
    return result


def test_a_permitted_request_is_told_at_both_hops(store: Store):
    rid = new_rid()
    lines = told(store, rid, Batch(edges=[edge(rid)], guards=[guard(rid)])).lines()
    assert lines[0] == f"request {rid}" and lines[1] == "permitted by both hops (200)"
    text = "\n".join(lines)
    hops = ("POST /embed", "from the cache", GUARD, EDGE_ID, "12 ms", "8 ms")
    digests = (f"{DIGEST} measured by the edge", f"{DIGEST} told to the guard")
    for fact in ("okta:00u1", "data-scientist", "minilm.infer", "ds-embeddings", *hops, *digests):
        assert fact in text, fact
    assert "DISAGREE" not in text


def test_json_has_the_facts_of_both_hops(store: Store):
    rid = new_rid()
    value = json.loads(json.dumps(told(store, rid, Batch(edges=[edge(rid)], guards=[guard(rid)])).as_json()))
    assert value["request_id"] == rid and value["agrees"] and value["complete"] and value["also"] == []
    assert value["edge"]["sub"] == value["guard"]["sub"] == "okta:00u1"
    assert value["edge"]["perm"] == value["guard"]["scope"] == "minilm.infer"
    assert value["edge"]["reqd"] in value["guard"]["told_reqd"]


def test_a_refusal_names_the_layer_the_reason_and_what_to_do(store: Store):
    rid = new_rid()
    refused = edge(rid, status="403", reason="no_grant", layer="edge", guard="", facts=facts_text(grant=""))
    result = told(store, rid, Batch(edges=[refused]))
    assert result.lines()[1:3] == [
        "refused by the edge: no_grant (403)",
        f"  what to do: {remedy('no_grant')}",
    ]
    assert result.as_json()["refused_by"] == "edge" and result.as_json()["reason"] == "no_grant"
    assert result.as_json()["guard"] is None


def test_a_guards_own_refusal_is_shown_as_a_disagreement(store: Store):
    rid = new_rid()
    denied = guard(rid, status="403", details="rbac_access_denied_matched_policy[none]")
    lines = told(store, rid, Batch(edges=[edge(rid, status="403")], guards=[denied])).lines()
    assert lines[1] == "edge and guard do not tell the same"
    assert "  DISAGREE verdict: edge `permitted`, guard `guard_forbidden`" in lines


def test_every_record_under_one_id_is_told_the_true_one_first(store: Store):
    rid = new_rid()
    batch = Batch(edges=[edge(rid)], guards=[guard(rid, peer=INSIDER, sub="root"), guard(rid)])
    result = told(store, rid, batch)
    assert [record.agrees for record in result.records] == [True, False]
    assert not result.agrees and not result.as_json()["agrees"]
    assert result.as_json()["edge"]["sub"] == "okta:00u1" and len(result.as_json()["also"]) == 1
    text = "\n".join(result.lines())
    assert "the caller was not the edge" in text and INSIDER in text


def test_a_missing_half_is_said_as_waiting_first_and_as_missing_then(store: Store):
    rid = new_rid()
    assert told(store, rid, Batch(edges=[edge(rid)])).lines()[1] == (
        f"forwarded by the edge, nothing yet from the guard {GUARD}"
    )
    store.settle(time.time() + 60)
    late = story(store, rid)
    assert late is not None and late.lines()[1] == f"forwarded by the edge, no line of the guard {GUARD}"
    assert late.as_json()["missing"] == "guard"


def test_waiting_ends_when_the_other_half_comes(store: Store):
    rid = new_rid()
    store.write(Batch(edges=[edge(rid)]), time.time())
    reader = Records(store.path.parent)
    found: list[Story | None] = []

    def wait() -> None:
        own = Records(store.path.parent)
        found.append(wait_for(own, rid, patience=DEADLINE))

    waiter = threading.Thread(target=wait)
    waiter.start()
    store.write(Batch(guards=[guard(rid)]), time.time())
    waiter.join(DEADLINE)
    assert found[0] is not None and found[0].agrees
    assert wait_for(reader, new_rid(), patience=0.0) is None


def test_an_unknown_id_has_its_possible_reasons(store: Store):
    batch = Batch()
    batch.refusals[(int(time.time()), "edge", "token_expired")] = 3
    batch.refusals[(int(time.time()) - 1, "edge", "token_expired")] = 2
    batch.refusals[(int(time.time()) - 4000, "edge", "no_credentials")] = 9
    batch.edges.append(edge(new_rid(), t="1700000000.5"))
    store.write(batch, time.time())
    reasons = explain_missing(store, new_rid(), ["RECORDS ARE NOT KEPT"])
    assert reasons[0] == "RECORDS ARE NOT KEPT"
    assert "in the last 5 minutes: 5 token_expired" in reasons[1] and "no_credentials" not in reasons[1]
    assert "2023-11-14T22:13:20.500Z" in reasons[2]
    assert len(explain_missing(store, new_rid())) == 2
    assert "32 lower-case hex" in explain_missing(store, "nonsense")[0]


HOSTILE = "\x1b]0;owned\x07\x1b[2J[bold red]x[/] \u202egnp\r\nrequest forged\x9b1m"


def test_what_callers_write_cannot_steer_a_terminal_or_forge_a_line(store: Store):
    rid = new_rid()
    batch = Batch(
        edges=[edge(rid, path=HOSTILE, facts=facts_text(sub=HOSTILE))], guards=[guard(rid, sub=HOSTILE)]
    )
    result = told(store, rid, batch)
    assert all(line.isprintable() for line in result.lines())
    assert sum(line.startswith("request ") for line in result.lines()) == 1
    out = io.StringIO()
    Console(file=out, width=40).print(style_story(result), soft_wrap=True)
    assert out.getvalue() == "\n".join(result.lines()) + "\n"
    assert "[bold red]x[/]" in out.getvalue()


def test_a_record_that_counts_others_says_so_and_a_request_that_was_counted_is_explained(store: Store):
    rid, old = new_rid(), f"{time.time() - 1000:.3f}"
    few = {"status": "403", "reason": "no_grant", "layer": "edge", "guard": ""}
    result = told(store, rid, Batch(edges=[edge(rid, **few, n="995"), edge(new_rid(), **few, t=old, n="7")]))
    assert result.lines()[1:3] == [
        "refused by the edge: no_grant (403)",
        "  one of 995 of this identity, for this reason, in that second, "
        "whatever was asked for: the others have no record",
    ]
    assert result.as_json()["count"] == 995
    store.write(Batch(edges=[edge(new_rid(), **few), edge(new_rid(), **few, path='/"n":"5"')]), time.time())
    (why,) = (each for each in explain_missing(store, new_rid()) if "X-Counted-As" in each)
    assert "in the last 5 minutes: 994 no_grant)" in why


def test_a_terminal_gets_styles_and_the_same_words(store: Store):
    rid = new_rid()
    result = told(store, rid, Batch(edges=[edge(rid)], guards=[guard(rid)]))
    out = io.StringIO()
    Console(file=out, force_terminal=True).print(style_story(result), soft_wrap=True)
    assert "\x1b[" in out.getvalue() and rid in out.getvalue()


@pytest.mark.parametrize("value", ["99999999999.9", "999999999999", "-1", "1e9", "nan", "", "٣"])
def test_a_hostile_time_stamp_is_told_all_the_same(store: Store, value: str):
    rid = new_rid()
    assert told(store, rid, Batch(guards=[guard(rid, t=value, status=value, dur=value)])).lines()


def test_printable_spells_out_what_hides():
    assert spelled_out("a\u202eb\x1b\u200b") == "a\\u202eb\\x1b\\u200b"
    assert spelled_out("Zoë 日本") == "Zoë 日本"
