"""`meshward traffic`: weights change live, by a right that can change nothing else; a canary walks, and walks back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from meshward.apply.edge_page import EdgePage
from meshward.apply.traffic.weights import MOST, check_weights, with_traffic
from meshward.cli.main import main
from meshward.compare.change import compare
from meshward.control.ask import VERBS
from meshward.control.unix import user_name
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.kit.wellknown import CONTROL
from meshward.plan.resolve import resolve
from meshward.testing.instance import START
from meshward.testing.recorder import Received, plain_answer
from tests.apply.versions import PATH, shown, spread, write_two
from tests.hostile.conftest import hostile_policy
from tests.stack.asking import ask
from tests.stack.live import apply, policy_of
from tests.stack.load import at_work
from tests.stack.running import Stack, eventually, running

CHANGES = 20


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_two) as started:
        yield started


@pytest.fixture
def alice(stack: Stack) -> str:
    """Her token; v1 has all of m1's traffic, and v2 answers well."""
    stack.models["m1/v2"].answer = plain_answer
    with_out_walk = shown(stack)["walk"]
    if with_out_walk and not with_out_walk["over"]:
        assert stack.command("traffic", "m1", "--stop").returncode == 0
    apply(stack, policy_of(json.loads(stack.policy.read_text())), allow=["widening"])
    return stack.issuer.token("alice", ["users"])


def history(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(stack.command("history", "--json").stdout)["revisions"]
    return found


def fails(_: Received, connection: Any) -> None:
    connection.sendall(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n")


@contextmanager
def load(stack: Stack, token: str, callers: int = 2) -> Iterator[list[int]]:
    seen, stop = list[int](), threading.Event()

    def call() -> None:
        while not stop.is_set():
            try:
                seen.append(stack.call("GET", PATH, token).status)
            except Exception:
                seen.append(-1)

    with at_work(stop, *[call] * callers):
        yield seen


# --- what the right reaches


def test_only_the_weights_of_that_model_differ(tmp_path: Path) -> None:
    sockets = {name: tmp_path / f"{name[:2]}.sock" for name in ("m1/v1", "m2/v1")}
    policy = policy_of(hostile_policy(tmp_path / "jwks.json", 443, sockets))
    changed = with_traffic(policy, "m1", {"v1": 7})
    before, after = (each.model_dump(mode="json") for each in (policy, changed))
    assert before["models"]["m1"]["traffic"] is None and after["models"]["m1"].pop("traffic") == {"v1": 7}
    del before["models"]["m1"]["traffic"]
    assert after == before
    change = compare(resolve(policy), resolve(changed))
    assert not change.widening and not change.gained and not change.lost
    assert [edit.name for edit in change.edits] == ["m1/v1"]
    assert VERBS["traffic"].right == "traffic"


@pytest.mark.parametrize(
    ("model", "weights", "names"),
    [
        ("m3", {"v1": 1}, "`m1`"),
        ("m1", {"v2": 1}, "`v1`"),
        ("m1", {"v1": 0}, "nothing anywhere"),
        ("m1", {}, "nothing anywhere"),
        ("m1", {"v1": -1}, f"0 to {MOST}"),
        ("m1", {"v1": MOST + 1}, f"0 to {MOST}"),
    ],
)
def test_weights_that_cannot_be_name_what_there_is(
    tmp_path: Path, model: str, weights: dict[str, int], names: str
) -> None:
    sockets = {name: tmp_path / f"{name[:2]}.sock" for name in ("m1/v1", "m2/v1")}
    plan = resolve(policy_of(hostile_policy(tmp_path / "jwks.json", 443, sockets)))
    with pytest.raises(MeshwardError) as told:
        check_weights(weights, plan, model)
    assert told.value.exit_code is Exit.USAGE and names in f"{told.value.message} {told.value.remedy}"


# --- weights, live


def test_weights_are_live_with_the_next_request_and_in_history(stack: Stack, alice: str) -> None:
    assert spread(stack, alice, 20) == {"v1": 20, "v2": 0}
    processes, epoch = stack.processes(), EdgePage.in_directory(stack.run / "given" / "edge").epoch
    done = stack.command("traffic", "m1", "v1=50", "v2=50", "--reason", "try v2")
    assert done.returncode == 0 and "weight: 0 -> 50" in done.stdout and "live at every hop" in done.stdout, (
        done
    )
    found = spread(stack, alice, 100)
    assert 25 <= found["v2"] <= 75, found
    assert (
        stack.processes() == processes and EdgePage.in_directory(stack.run / "given" / "edge").epoch > epoch
    )
    last = history(stack)[0]
    assert (last["reason"], last["author"]) == ("try v2", user_name(os.getuid()))
    assert stack.command("traffic", "m1", "v2=1").returncode == 0, "one that is not named gets nothing"
    assert spread(stack, alice, 20) == {"v1": 0, "v2": 20}
    assert history(stack)[0]["reason"] == "traffic of m1: v1=0 v2=1"
    told = shown(stack)
    assert told["weights"] == {"v1": 0, "v2": 1} and told["shares"] == {"v1": 0, "v2": 100}
    assert "m1/v2  weight 1  100%" in stack.command("traffic", "m1").stdout
    planned = stack.command("plan", str(stack.policy)).stdout
    assert "m1/v1" in planned and "weight: 0 -> 100" in planned, "the file says otherwise, and plan says so"
    assert stack.command("apply", str(stack.policy)).returncode == 0
    assert spread(stack, alice, 20) == {"v1": 20, "v2": 0}


def test_twenty_changes_under_load_cost_no_request(stack: Stack, alice: str) -> None:
    with load(stack, alice) as seen:
        for change in range(CHANGES):
            ask(
                stack.state,
                {"do": "traffic", "model": "m1", "weights": {"v1": change % 3, "v2": 1}},
                lambda _: None,
            )
            assert stack.call("GET", PATH, alice).status == 200
        eventually(lambda: len(seen) > CHANGES, what="traffic")
    assert set(seen) == {200}, sorted(set(seen))
    assert len({each["number"] for each in history(stack)}) > CHANGES


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["m3", "v1=1"], "There are `m1` and `m2`"),
        (["m3"], "There are `m1` and `m2`"),
        (["m1", "v1=1", "v3=1"], "It has `v1` and `v2`"),
        (["m1", "v1=0", "v2=0"], "nothing anywhere"),
        (["m1", "v1=-1"], "is no weight"),
        (["m1", "v1=1.5"], "is no weight"),
        (["m1", "v1=x"], "is no weight"),
        (["m1", "v1=1", "v1=2"], "given twice"),
        (["m1", "v1"], "is no weight"),
        (["m1", "v3", "--step", "5"], "It has `v1` and `v2`"),
        (["m1", "v1", "--step", "5"], "v1 has 100% already"),
        (["m1", "v2", "--step", "25,5"], "each larger"),
        (["m1", "v2", "--step", "0,5"], "each larger"),
        (["m1", "v2", "--step", "5,101"], "each larger"),
        (["m1", "v2", "--step", "five"], "--step takes percent"),
        (["m1", "v2", "--step", "5", "--every", "1"], "--every"),
        (["m1", "v2", "--step", "5", "--back-if-errors", "100%"], "percent below 100"),
        (["m1", "v2", "--step", "5", "--least", "0"], "--least"),
        (["m1", "v1=100", "v2=0", "--step", "5"], "none does"),
        (["m1", "v1=50", "v2=50", "--step", "5,25"], "is not v1=50 v2=50"),
        (["m1", "--step", "5"], "name it"),
        (["m1", "v2=1", "--every", "5m"], "go with --step"),
        (["m1", "--back"], "goes with --stop"),
        (["m1", "v2=1", "--stop"], "no weights"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(
    stack: Stack,
    alice: str,
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = stack.instance.revision
    monkeypatch.setattr(sys, "argv", ["meshward", "traffic", *arguments, "--state", str(stack.state)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == Exit.USAGE and says in capsys.readouterr().err
    assert stack.instance.revision == before


# --- walks


def test_a_walk_arrives_step_by_step(stack: Stack, alice: str) -> None:
    with load(stack, alice) as seen:
        done = stack.command("traffic", "m1", "v2", "--step", "20,60,100", "--every", "4s", "--least", "5")
    assert done.returncode == 0, done
    assert "walk of v2, step 2 of 3: 60%" in done.stderr and "arrived at 100%" in done.stdout, done
    assert set(seen) == {200}
    reasons = [each["reason"] for each in history(stack)[:3]]
    assert reasons == [f"walk of v2, step {n} of 3: {share}%" for n, share in ((3, 100), (2, 60), (1, 20))]
    assert shown(stack)["weights"] == {"v1": 0, "v2": 100}
    assert "m1: last walk, of v2: arrived at 100%" in stack.command("status").stdout


def test_a_canary_that_begins_to_fail_walks_back_by_itself(stack: Stack, alice: str) -> None:
    walk = ["traffic", "m1", "v1=0", "v2=100", "--step", "40,100", "--every", "60s", "--back-if-errors", "5%"]
    with load(stack, alice) as seen, _watching(stack, *walk) as command:
        eventually(lambda: _answered(stack) > 30, what="requests of the canary")
        assert set(seen) == {200} and shown(stack)["weights"] == {"v1": 60, "v2": 40}
        assert "m1: walk of v2, step 1 of 2: 40%" in stack.command("status").stdout
        stack.models["m1/v2"].answer = fails
        _, said = command.communicate(timeout=60)
    assert command.returncode == Exit.HOP_REFUSED, said
    assert "walked back at 40%" in said and "bound 5%" in said, said
    reason = history(stack)[0]["reason"]
    assert reason.startswith("walk of v2: walked back at 40%: ") and "requests failed (" in reason, reason
    assert spread(stack, alice, 20) == {"v1": 20, "v2": 0}
    assert "walked back at 40%" in stack.command("status").stdout


def test_a_canary_whose_guard_is_gone_walks_back(stack: Stack, alice: str) -> None:
    _begin(stack, 30)
    guard = next(pid for name, pid in stack.processes().items() if name.endswith("m1-v2"))
    os.kill(guard, signal.SIGSTOP)
    try:
        eventually(lambda: shown(stack)["walk"]["over"], what="the way back")
    finally:
        os.kill(guard, signal.SIGCONT)
    assert shown(stack)["walk"]["state"] == "walked back" and "does not answer" in shown(stack)["walk"]["why"]
    assert shown(stack)["weights"] == {"v1": 100, "v2": 0}


def test_somebody_elses_weights_end_a_walk_and_other_changes_do_not(stack: Stack, alice: str) -> None:
    _begin(stack, 30)
    text = json.loads(stack.policy.read_text())
    text["models"]["m1"]["traffic"] = {"v1": 70, "v2": 30}
    text["grants"].append({"id": "more", "roles": ["batch"], "models": ["m2"], "actions": ["infer"]})
    apply(stack, policy_of(text))
    _look_twice(stack)
    assert not shown(stack)["walk"]["over"], "a grant is no weight"
    assert stack.command("traffic", "m2", "v1=3").returncode == 0
    _look_twice(stack)
    assert not shown(stack)["walk"]["over"], "another model's weights are none of this walk's"
    assert stack.command("traffic", "m1", "v1=1", "v2=1").returncode == 0
    eventually(lambda: shown(stack)["walk"]["over"], what="the end of the walk")
    told = shown(stack)
    assert told["walk"]["state"] == "ended" and "somebody else changed the weights" in told["walk"]["why"]
    assert told["weights"] == {"v1": 1, "v2": 1}


def test_a_version_that_is_removed_ends_its_walk(stack: Stack, alice: str) -> None:
    _begin(stack, 30)
    text = json.loads(stack.policy.read_text())
    del text["models"]["m1"]["versions"]["v2"], text["models"]["m1"]["traffic"]
    apply(stack, policy_of(text))
    eventually(lambda: shown(stack)["walk"]["over"], what="the end of the walk")
    assert "in the policy no more" in shown(stack)["walk"]["why"]


def test_stop_ends_it_where_it_is_and_stop_back_where_it_was(stack: Stack, alice: str) -> None:
    _begin(stack, 30)
    second = stack.command("traffic", "m1", "v2", "--step", "50")
    assert second.returncode == Exit.CONFLICT and "is not over" in second.stderr, second
    assert stack.command("traffic", "m1", "--stop").returncode == 0
    assert shown(stack)["weights"] == {"v1": 70, "v2": 30} and shown(stack)["walk"]["state"] == "ended"
    assert stack.command("traffic", "m1", "--stop").returncode == Exit.CONFLICT
    _begin(stack, 50)
    assert stack.command("traffic", "m1", "--stop", "--back").returncode == 0
    assert shown(stack)["weights"] == {"v1": 70, "v2": 30} and shown(stack)["walk"]["state"] == "walked back"


def test_a_walk_ends_where_it_is_when_its_author_is_revoked(stack: Stack, alice: str) -> None:
    text = json.loads(stack.policy.read_text())
    text["roles"]["operator"] = [{"issuer": "test", "group": "operators"}]
    apply(stack, policy_of({**text, "operators": {"traffic": ["operator"]}}), allow=["widening"])
    olga, me = stack.issuer.token("olga", ["operators"]), {"do": "revoke", "subject": "test:olga"}
    asked = {"do": "traffic", "model": "m1", "version": "v2", "steps": [30, 100], "every": 1}
    assert (begun := stack.call("POST", CONTROL, olga, asked)).status == 200, begun
    eventually(lambda: shown(stack)["shares"]["v2"] == 30, what="the first step")
    ask(stack.state, me, lambda _: None)
    try:
        with load(stack, alice):
            eventually(lambda: shown(stack)["walk"]["over"], what="the end of the walk")
    finally:
        ask(stack.state, {**me, "undo": True}, lambda _: None)
    walk = shown(stack)["walk"]
    assert (walk["state"], shown(stack)["weights"]) == ("ended", {"v1": 70, "v2": 30}), walk
    assert "its author was revoked" in walk["why"]


def test_ctrl_c_leaves_the_walk_running_and_says_so(stack: Stack, alice: str) -> None:
    with _watching(stack, "traffic", "m1", "v2", "--step", "30", "--every", "60s") as command:
        assert command.stderr
        eventually(lambda: command.stderr.readline().startswith("... "), what="a line of who looks on")
        command.send_signal(signal.SIGINT)
        said = command.stderr.read()
    assert "The walk goes on" in said and not shown(stack)["walk"]["over"], said


def test_a_killed_instance_goes_on_with_the_step(stack: Stack, alice: str) -> None:
    """Last in this module: the instance is another one afterwards."""
    _begin(stack, 30, every="4s", further=",100")
    stack.process.kill()
    stack.process.wait(60)
    log = stack.policy.parent / "up.log"
    with log.open("w") as output:
        stack.process = subprocess.Popen(
            [sys.executable, "-m", "meshward", *START, "--state", str(stack.state)],
            stdout=output, stderr=output, text=True, start_new_session=True,
        )  # fmt: skip
    eventually(lambda: "ready:" in log.read_text(), what="the start after a kill")
    assert shown(stack)["walk"]["step"] == 1 and not shown(stack)["walk"]["over"]
    with load(stack, alice) as seen:
        eventually(lambda: shown(stack)["walk"]["over"], what="the end of the walk")
    assert set(seen) == {200}
    assert shown(stack)["walk"]["why"] == "arrived at 100%" and shown(stack)["weights"] == {
        "v1": 0,
        "v2": 100,
    }


def _begin(stack: Stack, share: int, every: str = "60s", further: str = "") -> None:
    """A walk of m1/v2 whose first step is live; nobody looks on."""
    terms = {"steps": [share, *map(int, filter(None, further.split(",")))], "every": int(every[:-1])}
    walk = {**terms, "bound": 1.0, "least": 20}
    ask(stack.state, {"do": "traffic", "model": "m1", "version": "v2", **walk}, lambda _: None)
    eventually(lambda: shown(stack)["shares"]["v2"] == share, what="the first step")


def _answered(stack: Stack) -> int:
    """What the step of a walk that runs has seen."""
    walk = shown(stack)["walk"]
    return 0 if walk is None or walk["over"] else int(walk.get("requests", 0))


def _look_twice(stack: Stack) -> None:
    """Until the walk has looked at what there is twice more, at least."""
    for _ in range(2):
        said = shown(stack)["walk"]["says"]
        eventually(lambda s=said: shown(stack)["walk"]["says"] != s, what="another look")


@contextmanager
def _watching(stack: Stack, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = subprocess.Popen(
        [sys.executable, "-m", "meshward", *arguments, "--state", str(stack.state)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield command
    finally:
        if command.poll() is None:
            command.kill()
            command.wait(60)
