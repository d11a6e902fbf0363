"""What the decision service says of itself is read as what it may be: it is a process like any other."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply import decision_hop
from meshward.apply.decision_hop import DecisionHop, Health, read_health
from meshward.callers.revocations import Revoked

GOOD = {"policy": "d", "revision": 3, "until": "", "ejected": [], "reloads": 1, "reload": None}


def test_what_it_decides_by() -> None:
    health = read_health(json.dumps(GOOD))
    assert health.lack({"policy": "d", "revision": 3}) == []
    assert health.lack({"policy": "e"}) == ["policy is `d`"]
    assert Health(silent="it did not answer").lack({}) == ["it did not answer"]
    assert read_health(json.dumps({**GOOD, "reload": "no"})).refused == "no"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "[]",
            "null",
            "[" * 200_000,
            '{"reloads": NaN}',
            '{"reloads": 1' + "0" * 5000 + ', "reload": null}',
        ),
        *(json.dumps({**GOOD, "reloads": bad}) for bad in (None, "1", 1.5, True, [])),
        *(json.dumps({**GOOD, "reload": bad}) for bad in (1, ["x"], {})),
    ],
)
def test_what_it_does_not_say(text: str) -> None:
    with pytest.raises(ValueError):
        read_health(text)


def test_what_it_says_is_told_in_few_words() -> None:
    (said,) = read_health(json.dumps({**GOOD, "policy": "\x1b[2J" * 100_000})).lack({"policy": "d"})
    assert len(said) < 1000 and "\x1b" not in said


def test_an_older_list_takes_back_nobody_who_is_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the turn may have made theirs before somebody was revoked."""
    given: list[Revoked] = []
    for write in ("write_edge_revoked", "write_revoked"):
        monkeypatch.setattr(decision_hop, write, lambda revoked, *_: given.append(revoked))
    for step in ("_health", "_raise_epoch", "_reload"):
        monkeypatch.setattr(DecisionHop, step, lambda *_: None)
    nobody = SimpleNamespace(identity=SimpleNamespace(uid=0, gid=0))
    machine: Any = SimpleNamespace(run=SimpleNamespace(edge_given=None), edge=nobody, decide=nobody)
    unknown: Any = None
    DecisionHop(machine, lambda: Revoked({"corp:bob": None})).revoke(Revoked({"corp:alice": None}), unknown)
    assert [set(each.subjects) for each in given] == [{"corp:alice", "corp:bob"}] * 2
