"""Two changes that together give `manage` away: what was forgotten between them is asked of the revisions before."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply import transaction
from meshward.apply.counters import Counters
from meshward.apply.forgotten import once_managed
from meshward.apply.revisions import STAGED, Revision, Revisions
from meshward.apply.transaction import ApplyRequest, apply
from meshward.callers.revocations import Revoked
from meshward.cli.main import app
from meshward.compare.change import compare
from meshward.instance.prepare import followed_policy
from meshward.kit.canonical import canonical_json
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.plan.resolve import resolve
from meshward.policy.parse import Document, Source, parse
from meshward.policy.schema import Policy

FIRST: dict[str, Any] = {
    "version": 1,
    "trust_domain": "one.test",
    "issuers": {"corp": {"profile": "oidc", "issuer": "https://idp.test", "audience": "a"}},
    "roles": {
        "user": [{"issuer": "corp", "group": "users"}],
        "boss": [{"issuer": "corp", "group": "bosses"}],
    },
    "servers": {
        "mine": {"infer": ["POST /run"], "manage": ["POST /stop"]},
        "loose": {"infer": ["POST /run", "POST /stop"]},
    },
    "models": {
        "m1": {"versions": {"v1": {"server": "mine", "url": "http://127.0.0.1:9001"}}},
        "m2": {"versions": {"v1": {"server": "loose", "url": "http://127.0.0.1:9002"}}},
    },
    "grants": [
        {"id": "use", "roles": ["user"], "models": "all", "actions": ["infer"]},
        {"id": "rule", "roles": ["boss"], "models": "all", "actions": ["manage"]},
    ],
}
Edit = Callable[[dict[str, Any]], object]


def edited(*edits: Edit) -> Policy:
    text = copy.deepcopy(FIRST)
    for edit in edits:
        edit(text)
    return Policy.model_validate(text)


def without_m1(text: dict[str, Any]) -> None:
    del text["models"]["m1"]


def without_stop(text: dict[str, Any]) -> None:
    del text["servers"]["mine"]["manage"]


def m2_moves(text: dict[str, Any]) -> None:
    text["models"]["m2"]["versions"]["v1"]["url"] = "http://localhost:9001"


def m1_by_replica(text: dict[str, Any]) -> None:
    text["models"]["m2"]["versions"]["v1"]["replicas"] = ["http://127.0.0.1:9001"]


def stop_is_infer(text: dict[str, Any]) -> None:
    text["servers"]["mine"] = {"infer": ["POST /run", "POST /stop"]}


TWO_STEPS: list[tuple[list[Edit], list[Edit]]] = [
    ([without_m1], [without_m1, m2_moves]),
    ([without_m1], [without_m1, m1_by_replica]),
    ([without_stop], [stop_is_infer]),
]


def accepted(state: Path, *policies: Policy) -> Revisions:
    revisions = Revisions(state)
    for number, policy in enumerate(policies, 1):
        revision = Revision(number, STAGED, policy.digest, number - 1, "root", 0.0, "")
        revisions.stage(policy, revision)
        revisions.accept(revision)
        Counters().also_running(number, policy.digest).save(state)
    return revisions


@pytest.fixture(params=TWO_STEPS, ids=["server", "replica", "route"])
def steps(request: pytest.FixtureRequest) -> tuple[Policy, Policy, Policy]:
    between, last = request.param
    return edited(), edited(*between), edited(*last)


def written(policy: Policy) -> bytes:
    return canonical_json(policy.model_dump(mode="json", by_alias=True, exclude_unset=True)).encode()


def document(policy: Policy) -> Document:
    return parse([Source("policy.json", written(policy))])


def test_each_step_is_harmless_and_both_together_name_who_gains(steps: Any, tmp_path: Path) -> None:
    first, between, last = map(resolve, steps)
    assert not compare(first, between).widening and not compare(between, last).widening
    assert any("POST /stop" in each for each in compare(first, last).widening)
    (said,) = once_managed(accepted(tmp_path, *steps[:2]), between, last)
    assert said.startswith("user gains m") and "POST /stop" in said and "m1.manage in revision 1" in said
    assert once_managed(accepted(tmp_path, *steps[:2]), first, between) == []


def test_a_start_with_watch_does_not_take_it(steps: Any, tmp_path: Path) -> None:
    said: list[str] = []
    assert followed_policy(accepted(tmp_path, *steps[:2]), steps[2], said.append) is None
    assert "in revision 1" in said[0] and "revision 2 runs" in said[1]


def test_plan_says_so_and_exits_as_a_widening(
    steps: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted(tmp_path / "state", *steps[:2])
    path = tmp_path / "last.yaml"
    path.write_bytes(written(steps[2]))
    with pytest.raises(SystemExit) as ended:
        app(["plan", str(path), "--state", str(tmp_path / "state")], exit_on_error=False)
    printed = capsys.readouterr().out
    assert ended.value.code == Exit.UNSAFE and "! widening: user gains m" in printed, printed


def test_plan_against_a_file_knows_them_where_it_is_told_of_a_state(
    steps: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted(tmp_path / "state", *steps[:2])
    for name, policy in (("now", steps[1]), ("then", steps[2])):
        (tmp_path / name).write_bytes(written(policy))
    asked = ["plan", str(tmp_path / "then"), "--against", str(tmp_path / "now")]
    for more, code in ([], Exit.OK), (["--state", str(tmp_path / "state")], Exit.UNSAFE):
        with pytest.raises(SystemExit) as ended:
            app([*asked, *more], exit_on_error=False)
        assert ended.value.code == code, more
        assert ("in revision 1" in capsys.readouterr().out) is bool(more)


def stop_is_described(text: dict[str, Any]) -> None:
    text["servers"]["mine"] = {"infer": ["POST /run"], "describe": ["POST /stop"]}


def helper(text: dict[str, Any]) -> None:
    """A model at the server of m1 that opens, to whoever is given it, what is `m1.manage`."""
    text["servers"]["told"] = {"describe": ["POST /stop"]}
    text["models"]["m3"] = {"versions": {"v1": {"server": "told", "url": "http://127.0.0.1:9001"}}}


def described_to_users(text: dict[str, Any]) -> None:
    text["grants"].append({"id": "tell", "roles": ["user"], "models": "all", "actions": ["describe"]})


MORE_STEPS: list[list[list[Edit]]] = [
    [[], [without_m1], [helper, without_m1], [helper, without_m1, described_to_users]],
    [[], [helper], [helper, without_m1], [helper, without_m1, described_to_users]],
    [[], [without_stop], [stop_is_described], [stop_is_described, described_to_users]],
    [[helper], [helper, without_m1], [helper, without_m1, described_to_users]],
]


@pytest.mark.parametrize(
    "steps", MORE_STEPS, ids=["gone first", "gone between", "route", "from the beginning"]
)
def test_what_leads_to_managed_routes_needs_leave_before_and_when_somebody_gets_it(
    steps: list[list[Edit]], tmp_path: Path
) -> None:
    policies = [edited(*edits) for edits in steps]
    plans = list(map(resolve, policies))
    revisions = accepted(tmp_path, *policies[:-1])
    (said,) = once_managed(revisions, *plans[-2:])
    assert said.startswith("user gains m") and "POST /stop" in said and "m1.manage in revision" in said
    opened = [
        [*compare(*pair).widening, *once_managed(Revisions(tmp_path), *pair)]
        for pair in itertools.pairwise(plans[:-1])
    ]
    told = [each for step in opened for each in step]
    assert all("describe comes to lead on POST /stop" in each for each in told)
    assert bool(told) == (steps[0] == [])  # what was there at the beginning, no change opened


def test_an_apply_takes_it_with_leave_alone(
    steps: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = contextlib.nullcontext
    monkeypatch.setattr(transaction, "let_back", lambda _: [])
    live = SimpleNamespace(policy=steps[1], plan=resolve(steps[1]), revision=2, site=None)
    mesh: Any = SimpleNamespace(
        live=live,
        running=SimpleNamespace(unsettled=False),
        changes=SimpleNamespace(change=lambda *_: nothing()),
        turn=nothing,
        revoked=Revoked(),
        revisions=accepted(tmp_path, *steps[:2]),
    )
    with pytest.raises(MeshwardError) as refused:
        apply(mesh, document(steps[2]), ApplyRequest("root"), lambda _: None)
    assert refused.value.exit_code == Exit.UNSAFE and "in revision 1" in refused.value.message
    with pytest.raises(AttributeError):  # it goes on, to what is not there
        apply(mesh, document(steps[2]), ApplyRequest("root", allow=frozenset({"widening"})), lambda _: None)


def test_the_newest_that_knew_it_is_asked(tmp_path: Path) -> None:
    """What was given with leave is no news; and a revision that cannot be read hinders nothing."""
    given, gone = edited(stop_is_infer), edited(without_stop)
    revisions = accepted(tmp_path, edited(), given, gone)
    assert once_managed(revisions, resolve(gone), resolve(given)) == []
    (tmp_path / "revisions" / "0002.policy.json").write_text("{}")
    assert len(once_managed(revisions, resolve(gone), resolve(given))) == 1
    (tmp_path / "revisions" / "0001.json").write_text("{}")
    assert once_managed(revisions, resolve(gone), resolve(given)) == []
