"""Changes that look like nothing, as files: `plan` names who gains and exits as a widening, `--watch` takes none.

By hand, in a case's directory: `meshward plan after.yaml --against before.yaml`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply import transaction
from meshward.apply.follow import watch
from meshward.apply.revisions import Revisions
from meshward.apply.sources import read_policy
from meshward.apply.transaction import ApplyRequest, apply
from meshward.callers.revocations import Revoked
from meshward.cli.main import app
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.plan.resolve import resolve
from tests.instance.test_followed import followed

CASES = sorted(path for path in (Path(__file__).parent / "widening").iterdir() if path.is_dir())
"""Whole policies: `before.yaml`, and `after.yaml`, which says in its second line who gains what."""


@pytest.fixture(params=CASES, ids=[path.name for path in CASES])
def case(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def gain(case: Path) -> str:
    return (case / "after.yaml").read_text().splitlines()[1].removeprefix("# gains: ")


def running(case: Path) -> Any:
    """As much of a running mesh as an apply asks before it changes anything: whoever goes on fails here."""
    policy = read_policy(case / "before.yaml").policy
    live = SimpleNamespace(policy=policy, plan=resolve(policy), revision=7, site=None)
    nothing = contextlib.nullcontext
    changes = SimpleNamespace(change=lambda *_: nothing())
    return SimpleNamespace(
        live=live,
        running=SimpleNamespace(unsettled=False),
        changes=changes,
        turn=nothing,
        revoked=Revoked(),
        revisions=Revisions(case),
    )


@pytest.fixture(autouse=True)
def no_hop_was_shut_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "let_back", lambda _: [])


def plan(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        app(["plan", *map(str, arguments)], exit_on_error=False)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_plan_names_who_gains_and_exits_as_a_widening(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = plan(case / "after.yaml", "--against", case / "before.yaml")
    printed = capsys.readouterr().out
    assert code == Exit.UNSAFE and "Nobody gains" not in printed
    assert any(line.startswith("! widening: ") and gain(case) in line for line in printed.splitlines()), (
        printed
    )


def test_who_gains_is_told_also_of_what_is_not_enforced_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (CASES[0].parent / "workload-id" / "before.yaml").read_text()
    agent = "agents: {{aide: {{credential: {{workload: nightly}}, acts_for: [user], models: all, actions: [{}]}}}}\n"
    for name, action in (("before", "infer"), ("after", "manage")):
        (tmp_path / name).write_text(before + agent.format(action))
    code = plan(tmp_path / "after", "--against", tmp_path / "before")
    said = capsys.readouterr()
    assert code == Exit.UNSAFE and "MW1001" in said.err, said.err
    assert any(line.startswith("! widening: ") and "aide" in line for line in said.out.splitlines()), said.out


def test_nothing_widens_where_nothing_changes(case: Path) -> None:
    assert plan(case / "before.yaml", "--against", case / "before.yaml") == Exit.OK


def test_watch_does_not_take_it(case: Path) -> None:
    said: list[str] = []
    watch._apply(watch.Plain(case / "after.yaml"), running(case), "root", said.append)
    assert len(said) == 1 and "is not applied: this widens access" in said[0] and gain(case) in said[0]


def test_apply_takes_it_with_leave_alone(case: Path) -> None:
    document = read_policy(case / "after.yaml")
    with pytest.raises(MeshwardError) as refused:
        apply(running(case), document, ApplyRequest("root"), lambda _: None)
    assert refused.value.exit_code == Exit.UNSAFE
    with pytest.raises(AttributeError):  # it goes on, to what is not there
        apply(running(case), document, ApplyRequest("root", allow=frozenset({"widening"})), lambda _: None)


def test_a_start_with_watch_does_not_take_it(case: Path, tmp_path: Path) -> None:
    before, after = (read_policy(case / name).policy for name in ("before.yaml", "after.yaml"))
    policy, said = followed(tmp_path, before, after)
    assert policy is None and gain(case) in said[0] and "revision 1 runs" in said[1]
    assert followed(tmp_path, before, before) == (before, [])
