"""What others wrote reaches a terminal as text: it moves no cursor, hides nothing, and makes no line of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text

from meshward.apply.revisions import Revision, Revisions
from meshward.audit.changes import ChangeEntry
from meshward.cli.history import _change
from meshward.cli.output import fail, print_json, run_verb, stderr, stdout
from meshward.cli.revoke import _lines
from meshward.control.verbs.history import ToldChange
from meshward.control.verbs.revoke import ToldRevoked
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.policy.schema import Policy
from tests.stack.command import meshward

HOSTILE = "\x1b]0;title\x07\x1b[2K\x9b1A\x7f\u202e\u2066\r\u200b\u2028"
FORGED = "why\n*  999  2030-01-01 00:00:00Z  root  forged"
POLICY = Policy.model_validate(
    {
        "version": 1,
        "trust_domain": "t",
        "models": {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/x"}}}},
    }
)


def harmless(text: str) -> bool:
    return all(char.isprintable() or char == "\n" for char in text)


def test_neither_output_does_anything_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    stdout().print(f"a{HOSTILE}\nb: \u00fc", markup=False)
    stderr().print(Text(f"a{HOSTILE}", style="dim"))
    fail(MeshwardError(codes.MORE_PROBLEMS, f"bad {HOSTILE}", HOSTILE))
    print_json({"reason": HOSTILE, "name": "\u00fc"})
    out, err = capsys.readouterr()
    assert harmless(out) and harmless(err), (out, err)
    lines = out.split("\n")
    assert lines[1] == "b: \u00fc" and '"name": "\u00fc"' in out
    assert json.loads("\n".join(lines[2:]))["reason"] == HOSTILE, "programs read the very text"


def test_a_reason_makes_no_revision_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    revisions = Revisions(tmp_path)
    one = Revision(1, "staged", "d" * 64, 0, "test:olga", 1.5, FORGED)
    revisions.stage(POLICY, one)
    revisions.accept(one)
    revisions.stage(POLICY, replace(one, number=2))
    revisions.refuse(replace(one, number=2), FORGED + HOSTILE)
    told = meshward("history", "--state", str(tmp_path)).stdout
    assert len(told.splitlines()) == 2 and harmless(told), told


def test_nor_does_a_fact_make_a_change_or_a_subject_a_revocation() -> None:
    change = ChangeEntry("1", 1.5, FORGED, "apply", "done", {"reason": FORGED})
    assert len(_change(ToldChange.of(change)).splitlines()) == 1
    revoked = ToldRevoked(subjects={"test:a\nsubject test:b: revoked": None}, tokens={}, agents={})
    assert len("\n".join(_lines(revoked)).splitlines()) == 1


def test_what_the_machine_refuses_is_an_error_with_a_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file in a directory's place, a disk that is full: no verb has words of its own for all of them."""
    with pytest.raises(SystemExit) as ended:
        run_verb(lambda: Exit(len(list((tmp_path / "gone").iterdir()))), as_json=True)
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (ended.value.code, problem["code"]) == (Exit.FAULT, "MW3018")
    assert str(tmp_path / "gone") in problem["message"] and problem["remedy"]
