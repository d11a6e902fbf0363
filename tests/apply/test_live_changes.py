"""Changes of a running instance: right with the next request, whole or not at all, and undone the same way."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from meshward.control.unix import SOCKET, user_name
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.testing.recorder import Recorder
from tests.hostile.conftest import write_hostile
from tests.stack.live import apply, policy_of
from tests.stack.load import at_work
from tests.stack.running import Stack, eventually, running

CHANGES = 50


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile) as started:
        yield started


@pytest.fixture
def text(stack: Stack) -> dict[str, Any]:
    """The first policy; what earlier tests changed is undone."""
    first: dict[str, Any] = json.loads(stack.policy.read_text())
    apply(stack, policy_of(first), allow=["widening"])
    stack.taken()
    return first


def with_grant(text: dict[str, Any], group: str, actions: list[str], model: str = "m1") -> dict[str, Any]:
    changed = copy.deepcopy(text)
    changed["roles"][f"{group}-role"] = [{"issuer": "test", "group": group}]
    grant = {"id": f"{group}-grant", "roles": [f"{group}-role"], "models": [model], "actions": actions}
    changed["grants"].append(grant)
    return changed


def file(stack: Stack, text: dict[str, Any]) -> str:
    path = stack.policy.parent / "changed.json"
    path.write_text(json.dumps(text))
    return str(path)


def statuses(stack: Stack, token: str, *paths: str) -> list[int]:
    return [stack.call("GET", path, token).status for path in paths]


@contextmanager
def load(stack: Stack, *targets: tuple[str, str]) -> Iterator[list[int]]:
    """Callers without pause, one for each (path, token); what they were answered."""
    seen, stop = list[int](), threading.Event()

    def call(path: str, token: str) -> None:
        while not stop.is_set():
            try:
                seen.append(stack.call("GET", path, token).status)
            except Exception:
                seen.append(-1)

    with at_work(stop, *(partial(call, *target) for target in targets)):
        yield seen


def kept(stack: Stack) -> tuple[Path, Path]:
    """The files of the revision that runs: its policy, and its record."""
    names = (f"{stack.instance.revision:04d}{end}" for end in (".policy.json", ".json"))
    policy, record = (stack.state / "revisions" / name for name in names)
    return policy, record


@pytest.mark.parametrize("harm", ["gone", "altered"])
def test_the_policy_given_once_more_mends_the_revision_that_runs(
    stack: Stack, text: dict[str, Any], harm: str
) -> None:
    """As MW3031 says: its policy is written anew, and where its record is lost it becomes a new revision."""
    number, (policy, record) = stack.instance.revision, kept(stack)
    before = policy.read_bytes()
    policy.unlink() if harm == "gone" else policy.write_bytes(before.replace(b'"infer"', b'"manage"', 1))
    assert "MW3031" in stack.command("history", str(number)).stderr
    assert stack.command("apply", file(stack, text)).returncode == 0
    assert policy.read_bytes() == before and stack.instance.revision == number and stack.status().healthy

    if harm == "gone":
        record.unlink()
    else:
        record.write_text(record.read_text().replace("accepted", "refused"))
    assert not stack.status().healthy
    assert stack.command("apply", file(stack, text)).returncode == 0
    assert stack.instance.revision == number + 1 and stack.status().healthy
    assert json.loads(stack.command("history", str(number + 1)).stdout) == json.loads(before)


def test_a_grant_opens_and_a_rollback_closes_with_the_next_request(
    stack: Stack, text: dict[str, Any]
) -> None:
    bob = stack.issuer.token("bob", ["sales"])
    before = stack.instance.revision
    assert statuses(stack, bob, "/m/m1/v1/public") == [403]
    policy = file(stack, with_grant(text, "sales", ["infer"]))

    planned = json.loads(stack.command("plan", policy, "--json").stdout)
    gained = planned["change"]["gained"]
    assert [(each["role"], each["permission"]) for each in gained] == [("sales-role", "m1.infer")]
    assert planned["change"]["lost"] == [] and planned["hops"]["reload"] == []
    assert [each["hop"] for each in planned["hops"]["hops"]] == ["decision service"]

    done = stack.command("apply", policy, "--reason", "sales may infer", "--plan", planned["plan"])
    assert done.returncode == 0 and "live at every hop" in done.stdout, done
    assert statuses(stack, bob, "/m/m1/v1/public", "/m/m2/v1/public") == [200, 403]
    back = stack.command("rollback", str(before), "--reason", "a mistake")
    assert back.returncode == 0, back
    assert statuses(stack, bob, "/m/m1/v1/public") == [403]

    history = json.loads(stack.command("history", "--json").stdout)
    second, first = history["revisions"][:2]
    assert (first["reason"], second["reason"]) == ("sales may infer", "a mistake")
    assert {first["author"], second["author"]} == {user_name(os.getuid())}
    assert second["digest"] != first["digest"] and history["current"] == second["number"]

    shown = stack.command("history", str(first["number"]))
    assert "sales may infer" in shown.stderr and json.loads(shown.stdout)["grants"], (
        "a policy, and nothing else"
    )
    told = stack.command("history", str(first["number"]), str(second["number"]))
    assert "sales-role loses m1.infer" in told.stdout, "who loses by it"
    assert f"--- revision {first['number']}" in told.stdout and '-      "id": "sales-grant"' in told.stdout
    told = json.loads(stack.command("history", str(before), str(first["number"]), "--json").stdout)
    assert (told["from"], told["to"], told["change"]["gained"][0]["role"]) == (
        before,
        first["number"],
        "sales-role",
    )
    assert stack.command("history", "999").returncode == Exit.USAGE
    assert (
        stack.command("history", "1", "2", "3").returncode
        == stack.command("history", "1", "--changes").returncode
        == 2
    )


def test_fifty_changes_under_load_cost_no_request_and_each_is_right_at_once(
    stack: Stack, text: dict[str, Any]
) -> None:
    alice, bob = stack.issuer.token("alice", ["users"]), stack.issuer.token("bob", ["sales"])
    wider, processes = policy_of(with_grant(text, "sales", ["infer"])), stack.processes()
    with load(stack, ("/m/m1/v1/public", alice), ("/m/m2/v1/public", alice)) as seen:
        for change in range(CHANGES):
            opens = change % 2 == 0
            apply(stack, wider if opens else policy_of(text))
            assert statuses(stack, bob, "/m/m1/v1/public") == [200 if opens else 403], change
        eventually(lambda: len(seen) > CHANGES, what="traffic")
    assert set(seen) == {200}, sorted(set(seen))
    assert stack.processes() == processes, "a change of rules restarts nothing"


def test_a_new_model_serves_the_next_request_and_leaves_without_a_trace(
    stack: Stack, text: dict[str, Any]
) -> None:
    alice = stack.issuer.token("alice", ["users"])
    server = Recorder(stack.policy.parent / "3.sock")
    wider = copy.deepcopy(text)
    wider["models"]["m3"] = {"versions": {"v1": {"server": "twofaced", "url": f"unix:{server.path}"}}}
    with load(stack, ("/m/m1/v1/public", alice)) as seen:
        apply(stack, policy_of(wider), allow=["widening"])
        assert statuses(stack, alice, "/m/m3/v1/public") == [200]
        (part,) = [name for name in stack.processes() if "m3" in name]
        assert [request.target for request in server.taken()] == ["/v1/public"]
        apply(stack, policy_of(text))
        assert statuses(stack, alice, "/m/m3/v1/public") == [404]
        eventually(lambda: part not in stack.processes(), what="the end of the guard")
    slot = int(part.split("-")[1])
    xds = stack.run / "given" / "guards" / f"{slot:02d}" / "xds"
    eventually(lambda: not list(xds.glob("*.json")), what="the end of its keys")
    assert set(seen) == {200}, sorted(set(seen))
    apply(stack, policy_of(wider), allow=["widening"])  # its slot can be had again
    assert statuses(stack, alice, "/m/m3/v1/public") == [200]
    server.close()


def test_a_route_that_asks_for_more_closes_at_both_hops(stack: Stack, text: dict[str, Any]) -> None:
    alice, boss = stack.issuer.token("alice", ["users"]), stack.issuer.token("boss", ["bosses"])
    swapped = copy.deepcopy(text)
    swapped["servers"]["twofaced"] = {"infer": ["GET /v1/secret"], "manage": ["GET /v1/public"]}
    with load(stack, ("/m/m1/v1/other", alice)) as seen:
        apply(stack, policy_of(swapped), allow=["widening"])
        assert statuses(stack, alice, "/m/m1/v1/public", "/m/m1/v1/secret") == [403, 200]
        assert statuses(stack, boss, "/m/m2/v1/public", "/m/m2/v1/secret") == [200, 200]
    assert set(seen) == {404}


def test_another_server_behind_a_version_costs_no_request(stack: Stack, text: dict[str, Any]) -> None:
    _move(stack, text, "4.sock")


def test_another_server_by_another_name_has_a_guard_of_its_own(stack: Stack, text: dict[str, Any]) -> None:
    """Edge and guard change one after the other: the new server must not meanwhile be told the old name."""
    started = _move(stack, text, "5.sock", model="lora")
    assert [part for part in started if part.startswith("guard-")], started


def _move(stack: Stack, text: dict[str, Any], socket: str, **version: str) -> set[str]:
    """To another server and back, while requests run: none fails. Returns the parts that were started for it."""
    alice = stack.issuer.token("alice", ["users"])
    server = Recorder(stack.policy.parent / socket)
    moved = copy.deepcopy(text)
    moved["models"]["m1"]["versions"]["v1"] |= {"url": f"unix:{server.path}", **version}
    before = stack.processes()
    with load(stack, ("/m/m1/v1/public", alice), ("/m/m2/v1/public", alice)) as seen:
        apply(stack, policy_of(moved), allow=["widening"])  # bosses may manage it there
        started = stack.processes().keys() - before.keys()
        server.taken()
        assert statuses(stack, alice, "/m/m1/v1/public") == [200]
        assert server.taken(), "the new server was not asked"
        apply(stack, policy_of(text), allow=["widening"])
    assert set(seen) == {200}, sorted(set(seen))
    server.close()
    return started


def test_a_new_rate_reloads_nginx_and_plan_says_so(stack: Stack, text: dict[str, Any]) -> None:
    alice = stack.issuer.token("alice", ["users"])
    limited = copy.deepcopy(text)
    limited["grants"][0]["limits"] = {"requests": "2/min"}
    planned = stack.command("plan", file(stack, limited))
    assert "nginx reloads (rates: none -> 2r/m)" in planned.stdout and "idle HTTP" in planned.stdout, planned
    before = stack.processes()["edge"]
    apply(stack, policy_of(limited))
    assert stack.processes()["edge"] == before, "reloaded, not restarted"
    assert statuses(stack, alice, *["/m/m1/v1/public"] * 3) == [200, 200, 429]
    apply(stack, policy_of(text))
    again = json.loads(stack.command("plan", file(stack, limited), "--json").stdout)
    assert again["hops"]["reload"] == [], "the program keeps what it has"


def test_a_broken_policy_changes_nothing(stack: Stack, text: dict[str, Any]) -> None:
    revision = stack.instance.revision
    alice = stack.issuer.token("alice", ["users"])
    broken = with_grant(text, "sales", ["infer"])
    broken["grants"][-1]["models"] = ["nowhere"]
    done = stack.command("apply", file(stack, broken))
    assert done.returncode == Exit.USAGE and "nowhere" in done.stderr, done
    promised = {**text, "tests": [{"as": {"issuer": "test", "groups": ["users"]}, "model": "m1",
                                   "action": "infer", "expect": "denial"}]}  # fmt: skip
    done = stack.command("apply", file(stack, promised))
    assert done.returncode == Exit.USAGE, done
    with pytest.raises(MeshwardError) as told:
        apply(stack, policy_of(promised))  # past the command's own check: the instance has one too
    assert told.value.exit_code is Exit.USAGE
    assert stack.instance.revision == revision and statuses(stack, alice, "/m/m1/v1/public") == [200]


def test_widening_needs_leave(stack: Stack, text: dict[str, Any]) -> None:
    sam = stack.issuer.token("sam", ["sales"])
    policy = file(stack, with_grant(text, "sales", ["manage"]))
    refused = stack.command("apply", policy)
    assert (
        refused.returncode == Exit.UNSAFE
        and "group sales of test gains m1.manage, by sales-role" in refused.stderr
    ), refused
    assert statuses(stack, sam, "/m/m1/v1/secret") == [403]
    assert stack.command("apply", policy, "--allow", "widening").returncode == 0
    assert statuses(stack, sam, "/m/m1/v1/secret") == [200]


def test_another_change_than_the_reviewed_one_is_refused(stack: Stack, text: dict[str, Any]) -> None:
    policy = file(stack, with_grant(text, "sales", ["infer"]))
    reviewed = json.loads(stack.command("plan", policy, "--json").stdout)["plan"]
    apply(stack, policy_of(with_grant(text, "others", ["infer"])))
    done = stack.command("apply", policy, "--plan", reviewed)
    assert done.returncode == Exit.CONFLICT, done


def test_of_two_operators_one_wins_whole(stack: Stack, text: dict[str, Any]) -> None:
    base = stack.instance.revision
    wishes = [policy_of(with_grant(text, group, ["infer"])) for group in ("sales", "others")]
    codes: list[int] = []

    def try_it(index: int) -> None:
        try:
            apply(stack, wishes[index], base=base)
            codes.append(0)
        except MeshwardError as error:
            codes.append(int(error.exit_code))

    threads = [threading.Thread(target=try_it, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(codes) == [0, Exit.CONFLICT]
    tokens = [stack.issuer.token("x", [group]) for group in ("sales", "others")]
    assert sorted(statuses(stack, token, "/m/m1/v1/public")[0] for token in tokens) == [200, 403]


def test_the_same_policy_is_nothing_to_change(stack: Stack, text: dict[str, Any]) -> None:
    revision = stack.instance.revision
    done = stack.command("apply", file(stack, text))
    assert done.returncode == 0 and "Nothing to change" in done.stdout, done
    assert stack.instance.revision == revision


def test_another_trust_domain_is_refused(stack: Stack, text: dict[str, Any]) -> None:
    with pytest.raises(MeshwardError) as told:
        apply(stack, policy_of({**text, "trust_domain": "other.test"}), allow=["widening"])
    assert told.value.exit_code is Exit.UNSAFE and told.value.code.number == "MW3024"


def test_only_the_owner_reaches_the_control_socket(stack: Stack) -> None:
    socket = stack.state / SOCKET
    assert (socket.stat().st_mode & 0o777, stack.state.stat().st_mode & 0o777) == (0o600, 0o700)
    if os.geteuid() == 0:
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(socket)!r})"
        done = subprocess.run(
            ["/usr/bin/python3", "-c", code], user=61099, capture_output=True, text=True, check=False
        )
        assert "PermissionError" in done.stderr, done


def test_nonsense_on_the_socket_is_refused_and_harmless(stack: Stack, text: dict[str, Any]) -> None:
    from tests.stack.asking import ask

    for request in ({}, {"do": "dance"}, {"do": "apply"}, {"do": "apply", "policy": "{", "more": 1},
                    {"do": "rollback", "revision": 99999}, {"do": "rollback", "revision": "1"}):  # fmt: skip
        with pytest.raises(MeshwardError) as told:
            ask(stack.state, request, lambda _: None)
        assert told.value.exit_code is Exit.USAGE, request
    alice = stack.issuer.token("alice", ["users"])
    assert statuses(stack, alice, "/m/m1/v1/public") == [200]


def test_a_revoked_subject_is_refused_at_once_and_a_revoked_token_alone(
    stack: Stack, text: dict[str, Any]
) -> None:
    alice, other = (stack.issuer.token("alice", ["users"], jti=name) for name in ("one", "two"))
    carol = stack.issuer.token("carol", ["users"])
    assert statuses(stack, alice, "/m/m1/v1/public") == [200]
    assert stack.command("revoke", "--token-id", "one").returncode == 0
    assert [statuses(stack, each, "/m/m1/v1/public")[0] for each in (alice, other)] == [401, 200]
    assert stack.command("revoke", "--subject", "test:alice").returncode == 0
    assert [statuses(stack, each, "/m/m1/v1/public")[0] for each in (other, carol)] == [401, 200]
    apply(stack, policy_of(with_grant(text, "sales", ["infer"])))
    assert statuses(stack, other, "/m/m1/v1/public") == [401], "an apply forgot a revocation"
    listed = json.loads(stack.command("revoke", "--json").stdout)
    assert listed["subjects"] == {"test:alice": None} and listed["tokens"] == {"one": None}
    assert stack.command("revoke", "--subject", "test:alice", "--undo").returncode == 0
    assert stack.command("revoke", "--token-id", "one", "--until", "2020-01-01 00:00").returncode == 0
    assert [statuses(stack, each, "/m/m1/v1/public")[0] for each in (alice, other)] == [200, 200]
