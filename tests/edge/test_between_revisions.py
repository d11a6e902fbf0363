"""Between two revisions a permit must hold under both; files of two revisions are no whole; the revoked stay out."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshward.callers.revocations import FILE, Revoked, edge_text, load_revoked, ties, token_name
from meshward.callers.revocations import save_text as revoked_text
from meshward.decide.between import decide_between
from meshward.decide.decide import Decider, decide
from meshward.decide.types import Denial, Identity, Permit, Request
from meshward.edge.decision_state import load
from meshward.edge.instance_view import save_text
from meshward.kit.errors import MeshwardError
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from meshward.policy.values import Route
from meshward.tokens.key_store import load_or_create
from tests.edge.mesh import LIVE, POLICY

ROUTE = Route("POST", "/embed")
SCIENTIST = Identity(issuer="corp", subject="a", groups=("science",))
ASKED = Request(model="minilm", action="infer", at=1_800_000_000)


def plan_of(edit: Any = None) -> Plan:
    policy = copy.deepcopy(POLICY)
    if edit is not None:
        edit(policy)
    return resolve(Policy.model_validate(policy))


def under_both(edit: Any, identity: Identity = SCIENTIST, route: Route = ROUTE) -> Permit | Denial:
    now = plan_of()
    permit = decide(now, identity, ASKED)
    assert isinstance(permit, Permit)
    return decide_between(permit, Decider(now), Decider(plan_of(edit)), identity, ASKED, route)


def test_what_both_permit_goes_on_unchanged() -> None:
    found = under_both(lambda policy: policy["grants"].append({**policy["grants"][0], "id": "more"}))
    assert found == decide(plan_of(), SCIENTIST, ASKED)


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p["grants"].pop(0),
        lambda p: p["roles"].update(scientist=[{"issuer": "corp", "group": "others"}]),
        lambda p: p.update(denies=[{"id": "no", "roles": ["scientist"]}]),
        lambda p: p["servers"].update(mine={"manage": ["POST /embed"], "infer": ["POST /v1/embeddings"]}),
        lambda p: p["servers"].update(mine={"infer": ["POST /v1/embeddings"]}),
        lambda p: p["issuers"]["corp"].update(audience="other"),
        lambda p: p["models"].pop("minilm") and p["grants"].pop(0),
    ],
)
def test_what_the_next_revision_takes_is_closed_already(edit: Any) -> None:
    found = under_both(edit)
    assert isinstance(found, Denial) and found.holds_until == ASKED.at, "it must not be kept"


def test_a_permit_holds_no_longer_than_under_either() -> None:
    found = under_both(lambda policy: policy["grants"][0].update(expires="2030-01-01"))
    assert isinstance(found, Permit) and found.holds_until is not None


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    load_or_create(tmp_path / "keys")
    (tmp_path / FILE).write_text(revoked_text(Revoked()))
    return tmp_path


def write(directory: Path, live: Any, policy: Any, following: Any = None) -> None:
    (directory / "live.json").write_text(save_text(live))
    (directory / "policy.json").write_text(json.dumps(policy))
    if following is not None:
        (directory / "next.json").write_text(json.dumps(following))


def other() -> dict[str, Any]:
    changed = copy.deepcopy(POLICY)
    changed["grants"].pop()
    return changed


def test_files_of_two_revisions_are_refused(directory: Path) -> None:
    mine, theirs = plan_of().digest, resolve(Policy.model_validate(other())).digest
    write(directory, replace(LIVE, policy=mine, until=theirs), POLICY, other())
    state = load(directory)
    assert state.next is not None and state.next.plan.digest == theirs
    for live, policy, following in (
        (replace(LIVE, policy=theirs), POLICY, None),
        (replace(LIVE, policy=mine, until=theirs), POLICY, POLICY),
        (replace(LIVE, policy=mine, until=mine), POLICY, other()),
    ):
        write(directory, live, policy, following)
        with pytest.raises(MeshwardError) as refusal:
            load(directory)
        assert refusal.value.code.number == "MW2031"
    (directory / "next.json").unlink()
    write(directory, replace(LIVE, policy=mine, until=theirs), POLICY)
    with pytest.raises(MeshwardError):
        load(directory)


def test_revocations_end_when_they_say() -> None:
    a, b, c = (Identity("corp", name) for name in "abc")
    revoked = Revoked({"corp:a": None, "corp:b": 100}, {"t": 100}, {"helper": 100})
    assert revoked.hits(a, None, 10**10) and revoked.hits(b, None, 99.9)
    assert not revoked.hits(b, None, 100) and not revoked.hits(c, None, 0)
    assert revoked.hits(c, "t", 99) and not revoked.hits(c, ["t"], 99)
    numbers = Revoked(tokens={"7": None, "true": None, "7.5": None, '["a"]': None})
    for jti in (7, "7", 7.0, True, 7.5, ["a"]):
        assert numbers.hits(c, jti, 0) and ties(c, jti)[1] == ties(c, token_name(jti))[1], jti
    for jti in (1, 70, False, None, "", 7.25, ["b"], "07"):
        assert not numbers.hits(c, jti, 0), jti
    for chain in (("helper",), ("other", "helper"), ("other", "third", "helper")):
        acting = replace(c, actors=chain)
        assert revoked.hits(acting, None, 99) and not revoked.hits(acting, None, 100), chain
    assert not revoked.hits(replace(c, actors=("other", "corp:a", "t")), None, 0), "names are of a kind"
    assert revoked.standing(100) == Revoked({"corp:a": None})


def test_the_edge_is_told_by_ties_that_name_nobody() -> None:
    caller = Identity("corp", "a", actors=("helper", "other"))
    own = ties(caller, "t")
    assert len(set(own)) == 4 and ties(caller, None) == [own[0], *own[2:]]
    told = edge_text(Revoked({"corp:a": None}, {"t": 100}, {"other": 10**12, "helper": 0}))
    lines = dict(line.split(" ") for line in told.splitlines()[:-1])
    untils = [lines[tie] for tie in own]
    assert untils == ["0000000000", "0000000100", "0000000001", "9999999999"], (
        "0 is for ever, a past one is not"
    )
    assert told.endswith("end\n") and len(told) == 4 * 44 + 4
    assert not any(name in told for name in ("corp", "helper", "other"))
    assert edge_text(Revoked()) == "end\n"


def test_damaged_revocations_stop_the_service(directory: Path) -> None:
    assert load_revoked(directory) == Revoked()
    (directory / FILE).unlink()
    with pytest.raises(MeshwardError, match="it is gone") as told:
        load_revoked(directory)
    assert told.value.code.number == "MW2032", "never nobody"
    (directory / FILE).write_text(revoked_text(Revoked({"corp:a": 5}, {"t": None})))
    assert load_revoked(directory) == Revoked({"corp:a": 5}, {"t": None})
    (directory / FILE).write_text('{"subjects": {"corp:a": 5}, "tokens": {}}')
    assert load_revoked(directory) == Revoked({"corp:a": 5}), "as written before agents could be revoked"
    write(directory, LIVE, POLICY)
    for broken in ("", "{", "[]", '{"subjects": []}', '{"agents": {"a": "x"}}', '{"more": {}}'):
        (directory / FILE).write_text(broken)
        with pytest.raises(MeshwardError):
            load(directory)
