"""The command: what it prints, and its exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from meshward.cli.align import command
from meshward.tokens.keys import make_key
from tests.align.test_cases import CASES

_FOREIGN = """
# nobody knows why
---
kind: AuthorizationPolicy
apiVersion: security.istio.io/v1
metadata: {name: x, namespace: models}
spec: {rules: [{}]}
"""


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    (tmp_path / "mesh").mkdir()
    shutil.copy(CASES / "mesh.yaml", tmp_path / "mesh")
    return tmp_path / "mesh"


def _run(mesh: Path, *, json: bool = False, **more: Any) -> int:
    told = {"site": CASES / "site.yaml", "target": "istio", "from_": mesh, "json": json, **more}
    with pytest.raises(SystemExit) as ended:
        command(CASES / "policy.yaml", **told)
    return int(ended.value.code or 0)


def test_silence_is_zero_and_nothing_on_stdout(mesh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(mesh) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "not checked: whether keys are the edge's" in said.err


def test_findings_are_eleven_with_place_object_and_remedy(
    mesh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mesh / "x.yaml").write_text(_FOREIGN)
    assert _run(mesh) == 11
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{mesh}/x.yaml:4: MW5040: assistant/q3, minilm/v1: spiffe://mesh.test/ns/")
    assert lines[0].endswith("(through AuthorizationPolicy models/x)")
    assert lines[1] == "    Delete the object or the rule, or have the policy say so."
    assert lines[-1] == "1 finding."


def test_programs_get_one_document_and_the_same_each_time(
    mesh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mesh / "x.yaml").write_text(_FOREIGN)
    assert _run(mesh, json=True) == 11
    first = capsys.readouterr().out
    assert _run(mesh, json=True) == 11
    assert capsys.readouterr().out == first
    found = json.loads(first)
    assert (found["ok"], found["exit"]) == (False, 11)
    assert found["findings"][0]["object"] == {
        "kind": "AuthorizationPolicy",
        "namespace": "models",
        "name": "x",
    }
    assert found["findings"][0]["models"] == ["assistant/q3", "minilm/v1"]


def test_keys_that_are_told_are_checked(
    mesh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = make_key().public_jwk(), make_key().public_jwk()
    text = (mesh / "mesh.yaml").read_text()
    start, end = text.index("jwks: ") + len("jwks: "), text.index("fromHeaders")
    jwks = json.dumps(json.dumps({"keys": [ours]}))
    (mesh / "mesh.yaml").write_text(f"{text[:start]}{jwks}\n      {text[end:]}")
    told = tmp_path / "keys.json"
    told.write_text(json.dumps({"keys": [ours]}))
    assert _run(mesh, keys=told) == 0
    assert "whether keys" not in capsys.readouterr().err
    told.write_text(json.dumps({"keys": [theirs]}))
    assert _run(mesh, keys=told) == 11
    assert "MW5046" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["a: [", "a: b: c"])
def test_what_is_no_yaml_is_not_passed_over(
    mesh: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (mesh / "y.yaml").write_text(f"---\n{content}\n")
    assert _run(mesh) == 2
    assert f"{mesh}/y.yaml:2: is not YAML" in capsys.readouterr().err


def test_what_is_no_text_is_not_passed_over(mesh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mesh / "y.yaml").write_bytes(b"\xff\xfe")
    assert _run(mesh) == 2
    assert "is not UTF-8" in capsys.readouterr().err


def test_an_empty_or_missing_directory_is_no_silence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert _run(tmp_path / "empty") == 2
    assert _run(tmp_path / "none") == 2


def test_one_file_is_enough(mesh: Path) -> None:
    assert _run(mesh / "mesh.yaml") == 0


def test_that_nothing_is_guarded_is_said(
    mesh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        "version: 1\nmodels: {minilm: {v1: {guard: 'gpu.internal:8443'}}}\nmesh: {revision: canary}\n"
    )
    assert _run(mesh, site=site) == 0
    assert "not checked: any model" in capsys.readouterr().err


def test_options_that_exclude_each_other(mesh: Path) -> None:
    assert _run(mesh, kubeconfig=mesh) == 2
    assert _run(mesh, keys=mesh, state=mesh) == 2


def test_what_render_writes_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from meshward.cli.render import command as render

    for number, more in enumerate(({}, {"owned": True, "mesh_wide": True}, {"routes": "gateway-api"})):
        out = tmp_path / str(number)
        with pytest.raises(SystemExit) as ended:
            render(CASES / "policy.yaml", site=CASES / "site.yaml", target="istio", out=out, **more)
        assert not ended.value.code, capsys.readouterr().err
        capsys.readouterr()
        assert _run(out) == 0, capsys.readouterr().out


def test_kinds_that_are_not_there_are_said(mesh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(mesh) == 0
    said = capsys.readouterr().err
    assert "not checked" in said and "(no roles and bindings)" in said and "(no Namespace)" not in said
    shown = (mesh / "mesh.yaml").read_text().replace("kind: Namespace", "kind: Elsewhere")
    (mesh / "mesh.yaml").write_text(shown)
    _run(mesh)
    assert "injection and revisions (no Namespace)" in capsys.readouterr().err
