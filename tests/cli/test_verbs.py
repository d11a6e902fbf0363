"""The verbs, as a user types them: what they print, and their exit codes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from meshward.apply.sources import read_policy
from meshward.cli.main import VERBS, main
from meshward.kit.exits import Exit
from meshward.runtime.place.instance_file import Instance
from tests.stack.accepted import accept
from tests.stack.command import meshward

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "policy.yaml"


def explain(groups: list[str], *more: str) -> subprocess.CompletedProcess[str]:
    who = json.dumps({"issuer": "okta", "groups": groups})
    asked = ("--as", who, "--model", "minilm", "--action", "infer")
    return meshward("explain", "--policy", str(EXAMPLE), *asked, *more)


def test_check_accepts_the_reference_policy() -> None:
    done = meshward("check", str(EXAMPLE))
    assert done.returncode == 0 and "good" in done.stdout, done


def test_check_names_line_and_remedy(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    lines = [line.replace("grants", "grant", 1) for line in EXAMPLE.read_text().splitlines(keepends=True)]
    broken.write_text("".join(lines))
    line = next(number for number, text in enumerate(lines, 1) if text.startswith("grant:"))
    done = meshward("check", str(broken))
    assert done.returncode == 2, done
    assert f"broken.yaml:{line}:" in done.stderr and "`grants`" in done.stderr, done.stderr
    problems = json.loads(meshward("check", str(broken), "--json").stdout)["problems"]
    assert [p for p in problems if p["where"] and p["where"]["line"] == line and p["remedy"]], problems


def test_explain_permits_and_denies() -> None:
    permit = explain(["data-science"])
    assert permit.returncode == 0 and "science-public" in permit.stdout, permit
    denial = explain(["sales"])
    assert denial.returncode == 10 and "data-scientist" in denial.stdout, denial
    assert json.loads(explain(["data-science"], "--json").stdout)["decision"] == "permit"
    assert json.loads(explain(["sales"], "--json").stdout)["decision"] == "denial"


def test_explain_without_a_policy_goes_by_the_one_that_runs(tmp_path: Path) -> None:
    """Also while nothing runs: by the one that ran last. Where there was none, it says so."""
    asked = ("--as", '{"issuer":"okta","groups":["data-science"]}', "--model", "minilm", "--action", "infer")
    none = meshward("explain", *asked, "--state", str(tmp_path))
    assert none.returncode == Exit.USAGE and "MW3030" in none.stderr, none
    accept(tmp_path, read_policy(EXAMPLE).policy)
    done = meshward("explain", *asked, "--state", str(tmp_path))
    assert done.returncode == 0 and "science-public" in done.stdout, done


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "--as", "{", "--model", "m", "--action", "infer", "--policy", str(EXAMPLE)),
        ("explain", "--as", "[]", "--model", "m", "--action", "infer", "--policy", str(EXAMPLE)),
        ("explain", "--as", "{}", "--model", "m", "--action", "dance", "--policy", str(EXAMPLE)),
        ("explain", "--as", '{"group":"x"}', "--model", "m", "--action", "infer", "--policy", str(EXAMPLE)),
        ("check", "/nonexistent.yaml"),
        ("check",),
        ("nonsense",),
        ("up", "--state", "/nonexistent"),
        ("up", "--watch", "--state", "/nonexistent"),
        ("apply", "/nonexistent.yaml"),
        ("plan", "/nonexistent.yaml"),
        ("plan", str(EXAMPLE), "--against", str(EXAMPLE), "--edge", "https://models.example.com"),
        ("rollback", "1", "--state", "/nonexistent"),
        ("rollback", "first"),
        ("revoke", "--subject", "alice"),
        ("revoke", "--subject", "a:b", "--token-id", "c"),
        ("revoke", "--subject", "a:b", "--until", "tomorrow"),
        ("revoke", "--until", "2030-01-01 00:00"),
        ("revoke", "--token-id", ""),
        ("rotate", "ca", "--overlap", "2h"),
        ("rotate", "ca", "--root", "--finish", "--overlap", "2h"),
        ("traffic", "m", "v1=9999999"),
        ("history", "--edge", "http://models.example.com"),
        ("up", str(EXAMPLE), "--demo"),
        ("trace", "x", "--state", "/nonexistent"),
    ],
)
def test_wrong_usage_is_exit_2_with_a_sentence(arguments: tuple[str, ...]) -> None:
    done = meshward(*arguments)
    assert done.returncode == 2, done
    assert done.stderr.strip() and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("rollback", "first"), ("apply",), ("rotate", "socks"), ("traffic", "m", "--no")],
)
def test_wrong_usage_is_json_where_that_was_asked_for(arguments: tuple[str, ...]) -> None:
    done = meshward(*arguments, "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 2 and told["exit"] == 2 and done.stderr == "", done
    assert [each["code"] for each in told["problems"]] == ["MW0909"] and told["problems"][0]["message"], told


def test_ctrl_c_before_a_verb_begins_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("meshward.cli.main.app", interrupted)
    monkeypatch.setattr("sys.argv", ["meshward", "status"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1


def test_up_refuses_by_name_what_it_does_not_enforce(tmp_path: Path) -> None:
    done = meshward("up", str(EXAMPLE), "--state", str(tmp_path / "s"))
    assert done.returncode == 4, done
    for feature in ("agents", "operators.audit", "tokens", "when.via", "on_request", "calls"):
        assert feature in done.stderr, (feature, done.stderr)


def test_a_tour_needs_the_demo(tmp_path: Path) -> None:
    Instance("https://localhost", "", str(tmp_path / "run"), "mesh.test", 1, (), None).save(tmp_path)
    done = meshward("tour", "--state", str(tmp_path))
    assert done.returncode == 2 and "MW0911" in done.stderr and "up --demo" in done.stderr, done


def test_a_command_without_an_instance_says_so(tmp_path: Path) -> None:
    assert meshward("down", "--state", str(tmp_path / "none")).returncode == 0
    tour = meshward("tour", "--state", str(tmp_path / "none"))
    assert tour.returncode == 2 and "meshward up" in tour.stderr, tour


def test_the_list_of_commands_says_what_each_does() -> None:
    rows = dict(re.findall(r"^│ (\w+) +(.*?) *│$", meshward("--help").stdout, re.M))
    assert [verb for verb in VERBS if not rows.get(verb)] == []


def test_every_verb_has_help() -> None:
    for verb in (
        "init",
        "check",
        "explain",
        "up",
        "status",
        "trace",
        "tour",
        "down",
        "login",
        "whoami",
        "token",
        "logout",
    ):
        done = meshward(verb, "--help")
        assert done.returncode == 0 and "Usage: meshward" in done.stdout, done
