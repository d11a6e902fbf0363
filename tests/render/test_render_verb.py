"""`meshward render` as it is called: what it writes, when it writes nothing, and that it is the same every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from render_cases import KEY, SITE, hops_of, policy_of

from meshward.cli.main import app
from meshward.tokens.key_store import load, load_or_create

TO_SIDECAR = "client -> edge -> decision service -> sidecar"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a policy, its site and keys, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(json.dumps(policy_of()))
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [KEY]}))
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        app(["render", *arguments], exit_on_error=False)
    assert isinstance(left.value.code, int)
    return left.value.code


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = run(*arguments, "--json")
    return code, json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    """The exit code, and the codes of what is wrong; the directory `out` was not made."""
    code, document = told(capsys, *arguments, "--out", "out")
    assert not document["ok"] and document["exit"] == code
    assert not Path("out").exists()
    return code, [each["code"] for each in document["problems"]]


ISTIO = ("policy.yaml", "--site", "site.yaml", "--target", "istio")


def test_it_says_what_it_wrote_and_what_is_lost(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = told(capsys, *ISTIO, "--keys", "keys.json", "--out", "out")
    assert code == 0 and document["ok"] and document["target"] == "istio"
    on_disk = {str(path.relative_to("out")) for path in Path("out").rglob("*") if path.is_file()}
    assert on_disk == {*document["files"], "RENDERED"}
    assert {"models/a.yaml", "kustomization.yaml", "guards/b/v1/guard.json"} <= on_disk
    assert document["changed"] == document["files"] and document["removed"] == []
    assert "timeout" in {each["feature"] for each in document["losses"]}
    assert hops_of(document, TO_SIDECAR)["sidecar"]["enforces"]


@pytest.mark.parametrize("target", ["istio", "nginx", "envoy"])
def test_the_same_bytes_under_any_hash_seed_and_locale(here: Path, target: str) -> None:
    def render(out: str, seed: str, locale: str) -> dict[str, bytes]:
        environment = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "TZ": "Asia/Kathmandu"}
        command = [sys.executable, "-m", "meshward", "render", *ISTIO[:-1], target, "--out", out]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return {
            str(path.relative_to(out)): path.read_bytes() for path in Path(out).rglob("*") if path.is_file()
        }

    assert render("one", "1", "C") == render("two", "4711", "C.UTF-8")


def test_what_is_no_longer_rendered_goes(here: Path) -> None:
    assert run(*ISTIO, "--out", "out") == 0
    assert Path("out/guards/b/v1/guard.json").exists()
    assert run(*ISTIO, "--out", "out", "--guard", "never") == 0
    assert not Path("out/guards").exists() and Path("out/models/a.yaml").exists()


def test_a_directory_with_other_files_is_left_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/mine").write_text("mine")
    code, document = told(capsys, *ISTIO, "--out", "out")
    assert (code, document["problems"][0]["code"]) == (4, "MW5024")
    assert [path.name for path in Path("out").iterdir()] == ["mine"]


def test_a_waypoint_is_told_as_one_that_nobody_ran(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("site.yaml").write_text(f"{SITE}mesh: {{mode: ambient}}\n")
    code, document = told(capsys, *ISTIO, "--out", "out")
    assert code == 0 and any("were never run" in note for note in document["notes"])
    assert "client -> edge -> decision service -> waypoint" in {each["path"] for each in document["paths"]}


def test_what_a_guard_in_the_pods_would_take_is_told_and_nothing_else(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, document = told(capsys, *ISTIO, "--out", "out")
    assert "a guard in the pods would take health, timeout: none is rendered there yet" in document["notes"]
    _, document = told(capsys, *ISTIO, "--out", "out", "--guard", "never")
    assert not any("guard in the pods" in note for note in document["notes"])


def test_a_mesh_without_a_site_is_told_its_convention(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = told(capsys, "policy.yaml", "--target", "istio", "--out", "out")
    assert code == 0 and any("is service `M-V`" in note for note in document["notes"])
    assert "guards/b/v1/guard.json" not in document["files"]


def test_an_edge_without_a_site_has_all_on_its_own_machine(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = told(capsys, "policy.yaml", "--target", "nginx", "--out", "out", "--strict")
    assert code == 0 and document["losses"] == []
    assert {each["path"] for each in document["paths"]} >= {"client -> edge -> decision service -> guard"}


# --- nothing is written when anything is refused ----------------------------------------------------------------------


def test_strict(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, codes = refused(capsys, *ISTIO, "--strict")
    assert code == 4 and codes[-1] == "MW5023" and "MW1066" in codes


def test_what_no_hop_sees(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edge = {**policy_of()["edge"], "trusted_proxies": ["10.0.0.0/8"]}
    Path("policy.yaml").write_text(json.dumps(policy_of(edge=edge)))
    code, codes = refused(capsys, *ISTIO)
    assert code == 4 and set(codes) == {"MW1006", "MW5022"}


def test_a_site_that_widens(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("site.yaml").write_text(SITE.replace("cluster.local", "a.infer"))
    assert refused(capsys, *ISTIO) == (2, ["MW5008"])


def test_a_mesh_of_which_a_version_has_no_place(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("site.yaml").write_text("".join(line for line in SITE.splitlines(True) if "gpu1" not in line))
    assert refused(capsys, *ISTIO) == (2, ["MW5004"])


def test_a_policy_with_a_test_that_fails(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = {"as": {"issuer": "i", "groups": ["g"]}, "model": "a", "action": "infer", "expect": "denial"}
    Path("policy.yaml").write_text(json.dumps(policy_of(tests=[test])))
    assert refused(capsys, *ISTIO)[0] == 2


def test_a_guard_in_every_pod(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, *ISTIO, "--guard", "always") == (4, ["MW5026"])


def test_guards_where_there_are_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "policy.yaml", "--target", "envoy") == (2, ["MW5027"])


@pytest.mark.parametrize(
    "more",
    [
        ("--guard", "never"),
        ("--routes", "gateway-api"),
        ("--allow", "envoyfilter"),
        ("--owned",),
        ("--mesh-wide",),
    ],
    ids=str,
)
def test_what_is_of_a_mesh_alone(
    here: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    code, _ = refused(capsys, "policy.yaml", "--site", "site.yaml", "--target", "nginx", *more)
    assert code == 2


# --- keys -------------------------------------------------------------------------------------------------------------


def key_ids(place: str = "out") -> set[str]:
    texts = [path.read_text() for path in Path(place).rglob("*") if path.suffix in (".yaml", ".json")]
    return {name for name in ("k1", "nobody") for text in texts if f'"{name}"' in text.replace("\\", "")}


def test_without_keys_nobody_is_let_in_and_that_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, document = told(capsys, *ISTIO, "--out", "out")
    assert any("no key is known" in note for note in document["notes"]) and key_ids() == {"nobody"}
    _, document = told(capsys, *ISTIO, "--out", "out", "--keys", "keys.json")
    assert not any("no key is known" in note for note in document["notes"]) and key_ids() == {"k1"}


def test_an_instances_public_keys_are_taken_and_nothing_secret(here: Path) -> None:
    keys = load_or_create(Path("state/keys"))
    before = sorted(path.name for path in Path("state/keys").iterdir())
    assert run(*ISTIO, "--out", "out", "--state", "state") == 0
    text = "".join(path.read_text() for path in Path("out").rglob("*") if path.is_file())
    assert keys.current.kid in text and keys.next.kid in text and "PRIVATE" not in text
    assert sorted(path.name for path in Path("state/keys").iterdir()) == before
    assert load(Path("state/keys")).current.kid == keys.current.kid


def test_no_key_is_made_where_there_is_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("state").mkdir()
    assert refused(capsys, *ISTIO, "--state", "state")[0] != 0
    assert not list(Path("state").iterdir())
    assert refused(capsys, *ISTIO, "--state", "other") == (2, ["MW5025"])
    assert not Path("other").exists()


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"keys": []}', '{"keys": [1]}', '{"keys": "x"}', "[" * 100_000,
        json.dumps({"keys": [{**KEY, "alg": "RS256"}]}),
        json.dumps({"keys": [{**KEY, "kid": 5}]}),
        json.dumps({"keys": [{**KEY, "kid": ""}]}),
        json.dumps({"keys": [{**KEY, "kid": "\ud800"}]}),
        json.dumps({"keys": [{**KEY, "x": "AAAA" + KEY["x"]}]}),
        json.dumps({"keys": [{**KEY, "use": "enc"}]}),
        json.dumps({"keys": [KEY, KEY]}),
        json.dumps({"keys": [{**KEY, "d": "secret"}]}),
        json.dumps({"keys": [{**KEY, "x": KEY["y"]}]}),
        json.dumps({"keys": [KEY] * 9}),
        json.dumps({"keys": [KEY], "x": " " * 100_000}),
    ],
)  # fmt: skip
def test_what_is_no_set_of_public_keys(here: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    Path("keys.json").write_text(content)
    code = run(*ISTIO, "--keys", "keys.json", "--out", "out", "--json")
    said = capsys.readouterr().out
    assert code == 2 and json.loads(said)["problems"][0]["code"] == "MW5025" and "secret" not in said
    assert not Path("out").exists()


@pytest.mark.parametrize("content", [None, ""])
def test_a_site_that_is_not_there_is_not_called_a_policy(
    here: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    Path("site.yaml").unlink()
    if content is not None:
        Path("site.yaml").write_text(content)
    assert run(*ISTIO, "--out", "out", "--json") == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert "policy" not in problem["message"]


def test_keys_come_from_one_place(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, *ISTIO, "--keys", "keys.json", "--state", "state")[0] == 2


# --- the reference policy ---------------------------------------------------------------------------------------------


def test_the_reference_policy_on_the_reference_site(
    shared_data: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(shared_data / "examples/policy.yaml"), "--site", str(shared_data / "examples/site.yaml")]
    code, document = told(capsys, *given, "--target", "istio", "--out", "out")
    lost = {each["code"] for each in document["losses"]}
    assert code == 0 and document["unreached"] == ["judge/r1"]
    assert {"MW1012", "MW1016", "MW1018", "MW1019", "MW1022", "MW1066"} <= lost
    code, problems = refused_in(capsys, [*given, "--target", "istio", "--strict"])
    assert code == 4 and "MW1066" in problems


def refused_in(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, list[str]]:
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    code, document = told(capsys, *arguments, "--out", "out")
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before
    return code, [each["code"] for each in document["problems"]]
