"""`plan --target` and `apply --target` as a person meets them, at an API server in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

import meshward.cluster.connection
from meshward.cli import apply as apply_verb
from meshward.cli import plan as plan_verb
from meshward.cli.cluster import ClusterOptions
from tests.cluster.fake import FakeServer
from tests.render.render_cases import KEY, SITE, policy_of

MANAGED = {
    "servers": {"plain": {"infer": ["POST /run"], "manage": ["POST /load"]}},
    "grants": [
        *policy_of()["grants"],
        {"id": "wide", "roles": ["r"], "models": ["a"], "actions": ["manage"]},
    ],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, FakeServer]:
    """A policy, one that widens, a site and keys; and the server that any kubeconfig names."""
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy_of()))
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(policy_of(**MANAGED)))
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [KEY]}))
    server = FakeServer(page=100)
    monkeypatch.setattr(meshward.cluster.connection, "connect", lambda _: server)
    return tmp_path, server


def do(verb: Any, place: Path, name: str = "policy", **over: Any) -> int:
    options = ClusterOptions("istio", keys=place / "keys.json")
    given = {"site": place / "site.yaml", "cluster": options, **over}
    with pytest.raises(SystemExit) as ended:
        verb.command(place / f"{name}.yaml", **given)
    return int(ended.value.code or 0)


def test_plan_says_who_gains_first_then_the_objects(
    here: tuple[Path, FakeServer], capsys: pytest.CaptureFixture[str]
) -> None:
    place, server = here
    assert do(plan_verb, place) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Against nothing: none was applied here yet:"
    gains = [number for number, line in enumerate(lines) if " gains " in line]
    objects = [number for number, line in enumerate(lines) if line.startswith("+ AuthorizationPolicy ")]
    assert gains
    assert max(gains) < min(objects)
    assert "+ AuthorizationPolicy models/mw-a.v1" in lines
    assert lines[-1].startswith("plan ")
    assert not server.objects


def test_apply_then_nothing_then_a_widening_that_needs_leave(
    here: tuple[Path, FakeServer], capsys: pytest.CaptureFixture[str]
) -> None:
    place, _ = here
    assert do(apply_verb, place, reason="first") == 0
    out = capsys.readouterr().out
    assert "2 AuthorizationPolicy: taken by the API server; proxies are not asked" in out
    assert "revision 1 is taken by the API server: " in out
    assert do(apply_verb, place) == 0
    assert capsys.readouterr().out == "Nothing to change: this is revision 1 already.\n"
    assert do(plan_verb, place, "wide") == 4
    out = capsys.readouterr().out
    assert "! widening: group g of i gains a.manage, by r" in out
    assert "~ AuthorizationPolicy models/mw-a.v1: spec.rules" in out
    assert do(apply_verb, place, "wide") == 4
    assert "MW5074" in capsys.readouterr().err
    assert do(apply_verb, place, "wide", allow=["widening"]) == 0
    assert "revision 2 is taken" in capsys.readouterr().out


def test_as_json(here: tuple[Path, FakeServer], capsys: pytest.CaptureFixture[str]) -> None:
    place, _ = here
    assert do(plan_verb, place, json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["base"], told["interrupted"]) == (True, 0, None)
    assert {"do": "create", "kind": "PeerAuthentication"}.items() <= next(
        each for each in told["objects"] if each["name"] == "mw-strict"
    ).items()
    assert do(apply_verb, place, json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["revision"], told["changed"], told["removed"]) == (True, 1, True, 0)
    assert do(apply_verb, place, "wide", json=True) == 4
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["exit"], told["problems"][0]["code"]) == (False, 4, "MW5074")


def test_an_apply_that_was_interrupted_is_told(
    here: tuple[Path, FakeServer], capsys: pytest.CaptureFixture[str]
) -> None:
    place, server = here
    assert do(apply_verb, place) == 0

    class Killed(BaseException):
        pass

    def kill(method: str, path: str) -> None:
        if method == "apply" and path.endswith("mw-a.v1"):
            raise Killed

    server.before = kill
    with pytest.raises(Killed):
        do(apply_verb, place, "wide", allow=["widening"])
    server.before = lambda *_: None
    capsys.readouterr()
    assert do(plan_verb, place, "wide") == 4
    out = capsys.readouterr().out
    assert "Against revision 1:" in out
    assert "! revision 2, by somebody, was begun and not completed; this continues from there" in out


@pytest.mark.parametrize(
    ("verb", "over"),
    [
        (apply_verb, {"edge": "https://edge"}),
        (plan_verb, {"edge": "https://edge"}),
        (plan_verb, {"against": Path("other.yaml")}),
        (apply_verb, {"cluster": ClusterOptions(owned=True)}),
        (plan_verb, {"cluster": ClusterOptions(kubeconfig=Path("k"))}),
        (apply_verb, {"cluster": ClusterOptions(), "allow": ["takeover"]}),
        (plan_verb, {"cluster": ClusterOptions(), "allow": ["takeover"]}),
        (apply_verb, {"cluster": ClusterOptions("istio"), "state": Path("nowhere")}),
    ],
)
def test_what_does_not_go_together_is_refused(
    here: tuple[Path, FakeServer], capsys: pytest.CaptureFixture[str], verb: Any, over: dict[str, Any]
) -> None:
    place, server = here
    assert do(verb, place, **over) == 2
    assert "MW0909" in capsys.readouterr().err
    assert not server.asked
