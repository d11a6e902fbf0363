"""What the instance answers is encoded once and decoded once: the same reply, or the same error, at both ends."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest
from pydantic import ValidationError

from meshward.apply.traffic.canary import Canary, Observation
from meshward.audit.changes import ChangeEntry
from meshward.control.ask import answer_or_refusal
from meshward.control.replies import ToldRefusal, decode, encode
from meshward.control.verbs.apply import APPLY, Applied
from meshward.control.verbs.history import CHANGES, HISTORY, ToldChange, ToldChanges, ToldRevisions
from meshward.control.verbs.request import Asker, Reply, Verb
from meshward.control.verbs.revoke import REVOKE, ToldRevocation, ToldRevoked
from meshward.control.verbs.rotate import ROTATE, CredentialRotated, Rotated
from meshward.control.verbs.traffic import TRAFFIC, Shifted, ToldTraffic, ToldWalk
from meshward.kit import codes
from meshward.kit.errors import MeshwardError, PolicyInvalid, Problem, Where
from meshward.kit.exits import Exit
from meshward.targets.envoy.counts import Counts

WALK = Canary("m1", "v2", "alice", {"v1": 100}, (5, 25), 600, 1.0, 20, 1.5)
LOOKED = ToldWalk.of(WALK, Observation(0.0, Counts(7, 1, 1)), "590 s left")
APPLIED: dict[str, Any] = {"revision": 2, "changed": True, "change": "d", "lines": ("m1",), "seconds": 0.1}
REVOKED = ToldRevocation(
    kind="subject", name="test:bob", until=None, since=1, author="a", reason="left", names=("sso:bob",)
)
TRAFFIC_OF: dict[str, Any] = {"model": "m1", "weights": {"v1": 1}, "shares": {"v1": 100.0}, "ejected": {}}


@pytest.mark.parametrize(
    ("verb", "reply"),
    [
        (APPLY, Applied(**APPLIED)),
        (APPLY, Applied(revision=2, changed=False, change=None, lines=(), seconds=0.0)),
        (TRAFFIC, ToldTraffic(**TRAFFIC_OF, revision=2, walk=None)),
        (TRAFFIC, ToldTraffic(**TRAFFIC_OF, revision=2, walk=ToldWalk.of(WALK, None, ""))),
        (TRAFFIC, Shifted(**APPLIED, **TRAFFIC_OF, walk=LOOKED)),
        (ROTATE, Rotated(rotated="ca", seconds=0.2)),
        (ROTATE, CredentialRotated(rotated="credential", credential="k", changed=False, guards=("m1/v1",))),
        (REVOKE, ToldRevoked(subjects={"test:bob": None}, tokens={"j": 17}, agents={})),
        (REVOKE, ToldRevoked(subjects={"test:bob": None}, tokens={}, agents={}, revocations=(REVOKED,))),
        (HISTORY, ToldRevisions(current=0, revisions=(), more=False)),
        (HISTORY, ToldChanges(changes=(), more=True)),
        (CHANGES, ToldChanges(changes=())),
    ],
    ids=lambda each: each.name if isinstance(each, Verb) else type(each).__name__,
)
def test_a_reply_arrives_as_it_was_sent(verb: Verb[Any, Any], reply: Reply) -> None:
    sent = json.loads(json.dumps(encode(reply)))
    arrived = decode(verb, sent)
    assert arrived == reply and type(arrived) is type(reply)
    assert arrived.as_json() == sent["done"], "and is printed as it was said"


def test_json_is_as_programs_know_it() -> None:
    assert LOOKED.as_json() == {
        "version": "v2", "author": "alice", "before": {"v1": 100}, "steps": [5, 25], "every": 600, "bound": 1.0,
        "least": 20, "began": 1.5, "step": 1, "state": "running", "why": "", "share": 5, "over": False,
        "sentence": "walk of v2, step 1 of 2: 5%", "says": "590 s left", "requests": 7, "failed": 1,
    }  # fmt: skip
    assert not {"requests", "failed"} & ToldWalk.of(WALK, None, "").as_json().keys()
    assert ToldChanges(changes=()).as_json() == {"changes": []}


def test_an_error_arrives_as_it_was_raised() -> None:
    raised = MeshwardError(codes.CONFLICT, "revision 3 runs by now", "Look.", exit_code=Exit.CONFLICT)
    with pytest.raises(MeshwardError) as told:
        decode(APPLY, json.loads(json.dumps(encode(ToldRefusal.of(raised)))))
    error = told.value
    assert (error.code, error.message, error.remedy, error.exit_code) == (
        *(codes.CONFLICT, "revision 3 runs by now", "Look."),
        Exit.CONFLICT,
    )


def test_every_problem_of_a_policy_arrives_with_its_place() -> None:
    problems = [
        Problem(codes.CONFLICT, "no such role", "Name one.", Where("policy", 3, 7)),
        Problem(codes.NOT_UNDERSTOOD, "no such key", "", None, "lint"),
    ]
    sent = encode(ToldRefusal.of(PolicyInvalid(problems)))
    assert [each["where"] for each in sent["failed"]["problems"]] == [
        {"file": "policy", "line": 3, "column": 7},
        None,
    ]
    with pytest.raises(PolicyInvalid) as told:
        decode(APPLY, json.loads(json.dumps(sent)))
    assert told.value.problems == problems and told.value.exit_code is Exit.USAGE


def test_a_code_of_a_later_version_is_named() -> None:
    failed = {"code": "MW9876", "message": "new", "remedy": "r", "exit": 4, "problems": []}
    with pytest.raises(MeshwardError, match=r"new \(MW9876\)") as told:
        decode(APPLY, {"failed": failed})
    assert told.value.exit_code is Exit.UNSAFE


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"done": None},
        {"done": []},
        {"done": {"revision": "2", "changed": True, "change": None, "lines": [], "seconds": 1}},
        {"done": {"revision": 2}},
        {"failed": {}},
        {"failed": {"code": "MW3026", "message": "m", "remedy": "", "exit": 77}},
        {"failed": "no"},
    ],
)
def test_what_is_no_answer_is_an_error_and_never_a_traceback(said: dict[str, Any]) -> None:
    with pytest.raises(MeshwardError) as told:
        decode(APPLY, said)
    assert told.value.code is codes.INSTANCE_SILENT and told.value.exit_code is Exit.FAULT


def test_what_a_later_version_says_besides_is_left_out() -> None:
    arrived = decode(ROTATE, {"done": {"rotated": "ca", "seconds": 0.5, "later": 1}})
    assert arrived == Rotated(rotated="ca", seconds=0.5)


def test_half_a_character_in_the_records_hinders_no_answer() -> None:
    change = ToldChange.of(ChangeEntry("1", 1.5, "a\ud800", "apply", "done", {"reason": "\udcff"}))
    (arrived,) = decode(CHANGES, json.loads(json.dumps(encode(ToldChanges(changes=(change,)))))).changes
    assert (arrived.author, arrived.facts) == ("a?", {"reason": "?"})


def test_a_reply_cannot_be_changed_on_its_way() -> None:
    reply: Any = Rotated(rotated="ca", seconds=0.5)
    with pytest.raises(ValidationError):
        reply.seconds = 0.0


def test_a_fault_of_ours_is_a_refusal_that_tells_nothing_of_it() -> None:
    class Broken:
        @property
        def mesh(self) -> Any:
            raise KeyError("a secret")

    broken: Any = Broken()
    answer = answer_or_refusal({"do": "policy"}, Asker("olga", lambda _: None), broken)
    assert isinstance(answer, ToldRefusal) and answer.exit is Exit.FAULT
    assert "KeyError" in answer.message and "secret" not in json.dumps(encode(answer))


def test_what_the_machine_refuses_is_no_fault_of_ours() -> None:
    """A disk that cannot be written any more, say."""

    class ReadOnly:
        @property
        def mesh(self) -> Any:
            raise OSError(errno.EROFS, "Read-only file system", "/secret/place")

    read_only: Any = ReadOnly()
    answer = answer_or_refusal({"do": "policy"}, Asker("olga", lambda _: None), read_only)
    assert isinstance(answer, ToldRefusal) and answer.code == "MW3018" and "STATE/logs" not in answer.remedy
    assert "Read-only file system" in answer.message and "secret" not in json.dumps(encode(answer))
