"""The demo as a newcomer runs it: the tour keeps every promise, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshward.testing.instance import START
from meshward.testing.stand_ins import free_port
from meshward.testing.waiting import DEADLINE, eventually
from tests.stack.command import meshward


class Demo:
    def __init__(self, directory: Path) -> None:
        self.state, self.log = directory / "s", directory / "up.log"
        self.port = free_port()
        self.arguments = [*START, "--demo", "--edge-port", str(self.port), "--idp-port", str(free_port())]
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "meshward", *self.arguments, "--state", str(self.state)],
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        eventually(self._is_ready, 2 * DEADLINE, "the demo")  # promised in ten seconds, on an idle machine

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(self.log.read_text())
        return "Ctrl-C" in self.log.read_text()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def demo(short_dir: Path) -> Iterator[Demo]:
    running = Demo(short_dir)
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGTERM)


def test_it_says_what_to_try(demo: Demo) -> None:
    said = demo.log.read_text()
    for word in (
        "alice",
        "bob",
        "carol",
        "not for production",
        "curl",
        "meshward trace",
        "meshward tour",
        "minilm/v2",
    ):
        assert word in said, (word, said)


def test_the_commands_that_it_prints_work_as_pasted(demo: Demo, tmp_path: Path) -> None:
    commands = [
        line.strip() for line in demo.log.read_text().splitlines() if line.startswith("  ") and "$(" in line
    ]
    curls = [line.strip() for line in demo.log.read_text().splitlines() if line.startswith("  curl ")]
    export, trace = commands

    def pasted(*lines: str) -> str:
        script = "\n".join(["set -e", export, *lines]).replace("headers.txt", str(tmp_path / "h"))
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done
        return done.stdout

    said = pasted(*curls)
    traced = eventually(
        lambda: text if "permitted by both hops" in (text := pasted(trace)) else "", what=trace
    )
    for word in ("[[", "demo:bob", "data-scientist", "demo:alice"):
        assert word in said + traced, (word, said, traced)


def test_the_tour_keeps_every_promise(demo: Demo) -> None:
    toured = meshward("tour", "--state", str(demo.state), "--json")
    told = json.loads(toured.stdout)
    assert [step for step in told["steps"] if not step["kept"]] == []
    assert toured.returncode == 0 and told["ok"] and len(told["steps"]) >= 12


def test_a_second_start_on_the_same_state_stops(demo: Demo) -> None:
    second = meshward(*demo.arguments, "--state", str(demo.state))
    assert second.returncode == 3, second
    assert str(demo.process.pid) in second.stderr and "MW3004" in second.stderr


def test_a_port_in_use_is_named(demo: Demo, tmp_path: Path) -> None:
    other = meshward(*demo.arguments, "--state", str(tmp_path / "other"))
    assert other.returncode != 0 and str(demo.port) in other.stderr, other


def test_status_names_every_part(demo: Demo) -> None:
    status = json.loads(meshward("status", "--state", str(demo.state), "--json").stdout)
    assert status["healthy"], status
    names = {part["name"] for part in status["parts"]}
    assert names >= {"edge", "decide", "collector", "idp", "model-v1"}, names
    assert {guard["means"] for guard in status["guards"]} == {"socket", "sealed"}
    uids = {part["name"]: part["uid"] for part in status["parts"]}
    reach = {guard["reach"] for guard in status["guards"]}
    if os.geteuid() != 0:
        assert (reach, set(uids.values())) == ({"user"}, {os.geteuid()}), status
        return
    assert 0 not in {uids["edge"], uids["guard-00-minilm-v1"]}, uids
    as_root = {name for name, uid in uids.items() if uid == 0} - {"collector"}
    assert reach == ({"root"} if as_root else {"socket", "sealed"}), status
    assert as_root in (set(), {"idp", "decide", "model-v1", "guard-01-minilm-v2"}), uids
    (said,) = status["notes"]
    assert ("--allow-root-parts: AS ROOT" in said) == bool(as_root), said


def test_a_grant_for_bobs_group_opens_at_once_and_a_rollback_closes(demo: Demo, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = meshward(*arguments, "--state", str(demo.state))
        assert done.returncode == 0, done
        return done

    def bob_gets() -> str:
        ask = [
            "curl",
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--cacert",
            str(demo.state / "root.pem"),
        ]
        ask += ["-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/json"]
        url = json.loads((demo.state / "instance.json").read_text())["edge_url"]
        return subprocess.run(
            [*ask, "-d", '{"inputs":"hello"}', f"{url}/m/minilm/embed"], capture_output=True, text=True, check=True
        ).stdout  # fmt: skip

    token = subprocess.run(
        [sys.executable, "-m", "meshward.demo.token", "bob", "--state", str(demo.state)],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    text = (demo.state / "demo" / "policy.yaml").read_text()
    text = text.replace("roles:\n", "roles:\n  seller:\n    - {issuer: demo, group: sales}\n", 1)
    grant = "grants:\n  - {id: sellers, roles: [seller], models: [minilm], actions: [infer]}\n"
    text = text.replace("grants:\n", grant, 1)
    changed = tmp_path / "policy.yaml"
    changed.write_text(
        "".join(line for line in text.splitlines(keepends=True) if "groups: [sales]" not in line)
    )

    assert bob_gets() == "403"
    planned = run("plan", str(changed)).stdout
    gains = [line for line in planned.splitlines() if line.startswith(("+", "-"))]
    assert gains == ["+ seller gains minilm.infer, by sellers (group sales of demo)"], planned
    run("apply", str(changed), "--reason", "a trial for sales")
    assert bob_gets() == "200"
    run("rollback", "1", "--reason", "the trial is over")
    assert bob_gets() == "403"
    history = run("history").stdout.splitlines()
    assert history[0].split()[:2] == ["*", "3"], history
    assert "the trial is over" in history[0] and "a trial for sales" in history[1], history


def test_ctrl_c_leaves_nothing_behind(demo: Demo) -> None:
    """Last in this module: it ends the demo."""
    pids = [part["pid"] for part in json.loads((demo.state / "status.json").read_text())["parts"]]
    assert demo.end(signal.SIGINT) == 0, demo.log.read_text()
    assert [pid for pid in pids if pid and Path(f"/proc/{pid}").exists()] == []
    assert meshward("status", "--state", str(demo.state)).returncode == 11
