"""A change of a cluster: whole or not at all, never open in between, and no object but ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from meshward.cluster.applying import ApplyRequest, apply
from meshward.cluster.connection import Object
from meshward.cluster.ownership import OWNER as MARK
from meshward.cluster.ownership import is_same
from meshward.cluster.preparing import prepare
from meshward.cluster.record import read_record
from meshward.cluster.refusals import Refusal
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from tests.cluster.applying import (
    NEW,
    OLD,
    OWNER,
    PLACE,
    Judge,
    Killed,
    bodies_of,
    copied,
    policy,
    run,
    said,
    wanted,
    with_old,
)
from tests.cluster.fake import WRITES, FakeServer, broken
from tests.cluster.oracle import permitted
from tests.cluster.test_order import allow, body, rule

BASE = with_old()
BOUND = permitted({str(n): each for n, each in enumerate(OLD)}) | permitted(
    {str(n): each for n, each in enumerate(NEW)}
)


def writes() -> list[tuple[str, str]]:
    """Of a run from OLD to NEW that nothing disturbs, those that are done."""
    server = copied(BASE)
    run(server, NEW)
    return [each for each in server.asked if each[0] in WRITES]


WRITTEN = writes()
PATH_OF_P = FakeServer().path(allow("p"))


def test_the_second_time_nothing_is_written() -> None:
    server = copied(BASE)
    outcome = run(server, OLD)
    assert outcome.change is None
    assert {path for method, path in server.asked if method in WRITES} == {PLACE.lease}
    assert said(server) == bodies_of(OLD)


def test_only_what_changed_is_written_and_the_record_follows() -> None:
    server = copied(BASE)
    outcome = run(server, NEW, policy(manage=True), "widening")
    assert said(server) == bodies_of(NEW)
    assert (outcome.revision, outcome.written, outcome.removed) == (2, 5, 2)
    assert not any("default" in path or "strict" in path for method, path in server.asked if method in WRITES)
    applied = read_record(server, PLACE).applied
    assert applied is not None
    assert applied.plan().digest == wanted([], policy(manage=True)).plan.digest
    assert read_record(server, PLACE).applying is None
    assert all(each["metadata"]["annotations"][MARK] == OWNER for each in server.mesh().values())


class Fault:
    """At the `at`-th write that is no trial: `before` it is done, or after; `times` in a row."""

    def __init__(self, at: int, times: int, make: Callable[[], BaseException], *, before: bool) -> None:
        self.at, self.times, self.make, self.is_before = at, times, make, before
        self.seen = 0

    def before(self, method: str, _path: str) -> None:
        if method in WRITES:
            self.seen += 1
        if self.is_before:
            self.strike(method)

    def after(self, method: str, _path: str) -> None:
        if not self.is_before:
            self.strike(method)

    def strike(self, method: str) -> None:
        if method in (*WRITES, "get") and self.seen > self.at and self.times:
            self.times -= 1
            raise self.make()


@pytest.mark.parametrize("before", [True, False], ids=["not-done", "done-unanswered"])
@pytest.mark.parametrize("at", range(len(WRITTEN)), ids=[f"{m}-{p.rsplit('/', 1)[1]}" for m, p in WRITTEN])
@pytest.mark.parametrize("fault", ["once", "for-ever", "killed"])
def test_at_any_step_a_fault_opens_nothing_and_the_next_run_completes_it(
    at: int, before: bool, fault: str
) -> None:
    server = copied(BASE)
    judge = Judge(server, BOUND)
    make: Callable[[], BaseException] = Killed if fault == "killed" else lambda: broken(server)
    struck = Fault(at, 1 if fault == "once" else 10**6, make, before=before)

    def after(method: str, path: str) -> None:
        judge.look(method, path)
        struck.after(method, path)

    server.before, server.after = struck.before, after
    try:
        run(server, NEW)
    except Killed:
        assert fault == "killed"
    except MeshwardError as error:
        assert error.code is codes.CLUSTER_UNREACHABLE
    struck.times = 0
    outcome = run(server, NEW)
    assert said(server) == bodies_of(NEW)
    assert not judge.opened
    assert read_record(server, PLACE).applying is None
    assert outcome.revision in (2, 3)


@pytest.mark.parametrize("at", [at for at, (_, path) in enumerate(WRITTEN) if ".istio.io/" in path])
def test_a_refusal_at_any_step_leads_back(at: int) -> None:
    """What the server took on trial, it refuses now: an admission policy that came meanwhile."""
    server = copied(BASE)
    judge = Judge(server, BOUND)
    server.after = judge.look
    seen = [0]

    def refuse(method: str, path: str, _: Object) -> Refusal | None:
        done = [each for each in server.asked if each[0] in WRITES]
        if seen[0] or len(done) != at + 1:
            return None
        seen[0] = 1
        return Refusal(422, "Invalid", "ValidatingAdmissionPolicy 'late' denied request: no")

    server.refuse = refuse
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW)
    assert caught.value.code is codes.CLUSTER_REFUSED
    assert caught.value.exit_code is Exit.HOP_REFUSED
    assert "'late' denied request" in caught.value.message
    assert said(server) == bodies_of(OLD)
    assert not judge.opened
    record = read_record(server, PLACE)
    assert record.applied is not None
    assert (record.applied.revision, record.applying) == (1, None)


def test_who_cannot_go_back_says_so_and_the_next_run_completes_it() -> None:
    server = copied(BASE)

    def refuse(method: str, path: str, _: Object) -> Refusal | None:
        trial = not [
            each for each in server.asked if each[0] in ("apply", "delete") and ".istio.io" in each[1]
        ]
        return None if trial or ".istio.io/" not in path else Refusal(422, "Invalid", "denied request: no")

    server.refuse = refuse
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW)
    assert caught.value.code in (codes.CLUSTER_HALF_WAY, codes.CLUSTER_REFUSED)
    server.refuse = lambda *_: None
    run(server, NEW)
    assert said(server) == bodies_of(NEW)


def test_what_the_server_refuses_is_refused_before_anything_changes() -> None:
    server = copied(BASE)
    before = said(server)
    server.refuse = lambda _method, path, _body: (
        Refusal(422, "Invalid", "is invalid", (("spec.action", "Unsupported value"),))
        if path == PATH_OF_P
        else None
    )
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW)
    assert caught.value.code is codes.CLUSTER_REFUSED
    assert "AuthorizationPolicy models/p: `spec.action`: Unsupported value" in caught.value.message
    assert said(server) == before
    assert {path for method, path in server.asked if method in WRITES} == {PLACE.lease}


def test_a_right_that_is_missing_is_named_before_anything_changes() -> None:
    server = copied(BASE)
    message = 'User "u" cannot patch resource "authorizationpolicies" in API group "security.istio.io"'
    server.refuse = lambda _method, path, _body: (
        Refusal(403, "Forbidden", message) if path == PATH_OF_P else None
    )
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW)
    assert (caught.value.code, caught.value.exit_code) == (codes.CLUSTER_RIGHT_MISSING, Exit.DENIED)
    assert message in caught.value.message
    assert said(server) == bodies_of(OLD)


def edited(server: FakeServer, spec: dict[str, Any], manager: str = "kubectl-edit") -> None:
    server.put({**allow("p"), "spec": spec}, manager)


def test_a_field_of_somebody_else_is_a_conflict_that_names_both() -> None:
    server = copied(BASE)
    edited(server, {"rules": [rule("m.infer", "/y")]})
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW)
    assert (caught.value.code, caught.value.exit_code) == (codes.FIELD_OWNED_BY_ANOTHER, Exit.CONFLICT)
    assert "AuthorizationPolicy models/p: `kubectl-edit` owns `spec.rules`" in caught.value.message
    run(server, NEW, None, "takeover")
    assert said(server) == bodies_of(NEW)


def test_a_field_that_somebody_added_is_a_conflict_too() -> None:
    for extra in ({"targetRef": {"name": "x"}},):
        server = copied(BASE)
        edited(server, extra, "operator")
        with pytest.raises(MeshwardError, match=r"`operator` owns `spec\.targetRef\.name`"):
            run(server, NEW)
    server = copied(BASE)
    marks = {"name": "p", "namespace": "models", "annotations": {"istio.io/dry-run": "true"}}
    server.put({**allow("p"), "metadata": marks, "spec": {}}, "operator")
    with pytest.raises(MeshwardError, match=r"istio\.io/dry-run"):
        run(server, OLD)


def test_an_object_of_somebody_else_is_left_alone() -> None:
    server = copied(BASE)
    server.put(allow("q", rule("m.infer", "/x")), "helm")
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW)
    assert (caught.value.code, caught.value.exit_code) == (codes.NOT_OURS, Exit.CONFLICT)
    assert "AuthorizationPolicy models/q is there already, written by `helm`" in caught.value.message
    run(server, NEW, None, "takeover")
    assert said(server) == bodies_of(NEW)


def test_only_what_is_ours_is_removed() -> None:
    """Not what has no mark, another edge's, nor what somebody adopted, by applying it or by writing into it."""
    server = copied(BASE)
    server.put(allow("foreign", rule("m.infer", "/x")), "helm")
    other = allow("other-edge", rule("m.infer", "/x"))
    other["metadata"]["annotations"] = {MARK: "spiffe://cluster.local/ns/edge/sa/other"}
    server.put(other, "meshward")
    pretended = allow("pretended", rule("m.infer", "/x"))
    pretended["metadata"]["annotations"] = {MARK: OWNER}
    server.put(pretended, "helm")
    server.put(allow("gone", rule("m.infer", "/z%2f")), "argocd")
    outcome = run(server, NEW)
    names = {path.rsplit("/", 1)[1] for path in said(server)}
    assert {"foreign", "other-edge", "pretended", "gone"} <= names
    assert "d" not in names
    assert {key.name: list(others) for key, others in outcome.left.items()} == {"gone": ["argocd"]}


def test_a_change_that_widens_needs_leave() -> None:
    server = copied(BASE)
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW, policy(manage=True))
    assert (caught.value.code, caught.value.exit_code) == (codes.CLUSTER_WIDENS, Exit.UNSAFE)
    assert said(server) == bodies_of(OLD)
    run(server, NEW, policy(manage=True), "widening")
    assert said(server) == bodies_of(NEW)


def test_another_change_than_the_reviewed_one_is_refused() -> None:
    server = copied(BASE)
    reviewed = prepare(server, wanted(NEW)).change.digest
    request = ApplyRequest(reviewed=reviewed)
    with pytest.raises(MeshwardError) as caught:
        apply(server, wanted(NEW, policy(manage=True)), request, lambda _: None, lambda _: None)
    assert (caught.value.code, caught.value.exit_code) == (codes.NOT_THE_REVIEWED, Exit.CONFLICT)
    apply(server, wanted(NEW), request, lambda _: None, lambda _: None)
    assert said(server) == bodies_of(NEW)


def test_a_site_that_is_forgotten_is_no_convention() -> None:
    server = FakeServer(page=100)
    sited = replace(wanted(OLD), site='{"version":1}')
    apply(server, sited, ApplyRequest(), lambda _: None, lambda _: None)
    with pytest.raises(MeshwardError) as caught:
        run(server, OLD)
    assert (caught.value.code, caught.value.exit_code) == (codes.SITE_FORGOTTEN, Exit.USAGE)
    assert apply(server, sited, ApplyRequest(), lambda _: None, lambda _: None).change is None


@pytest.mark.parametrize("damage", ["gone", "noise", "other"])
def test_without_the_record_nobody_can_tell_who_gains(damage: str) -> None:
    server = copied(BASE)
    if damage == "gone":
        del server.objects[PLACE.config_map]
    else:
        text = "AAAA" if damage == "noise" else "H4sIAAAAAAAC/6uuBQBDv6ajAgAAAA=="
        server.objects[PLACE.config_map]["binaryData"] = {"record.json.gz": text}
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW)
    assert (caught.value.code, caught.value.exit_code) == (codes.RECORD_UNREADABLE, Exit.UNSAFE)
    assert prepare(server, wanted(NEW)).unknown
    run(server, NEW, None, "widening")
    assert said(server) == bodies_of(NEW)


def lease_of(server: FakeServer) -> Object:
    return server.objects[PLACE.lease]


def hold(server: FakeServer, holder: str, renewed: str = "2026-01-01T00:00:00.000000Z") -> None:
    there = lease_of(server)
    there["metadata"]["annotations"] = {"meshward/author": "jane"}
    there["spec"] = {"holderIdentity": holder, "renewTime": renewed}
    there["metadata"]["resourceVersion"] += "x"


def test_whoever_applies_at_once_is_named() -> None:
    server = copied(BASE)
    hold(server, "otherhost/boot:pid/7/7")
    paused: list[float] = []

    def renewed(seconds: float) -> None:
        paused.append(seconds)
        hold(server, "otherhost/boot:pid/7/7", f"2026-01-01T00:00:{len(paused):02}.000000Z")

    with pytest.raises(MeshwardError) as caught:
        apply(server, wanted(NEW), ApplyRequest(), lambda _: None, renewed)
    assert (caught.value.code, caught.value.exit_code) == (codes.APPLIED_BY_ANOTHER, Exit.CONFLICT)
    assert "jane on otherhost" in caught.value.message
    assert len(paused) == 1
    assert said(server) == bodies_of(OLD)


def test_who_ended_without_giving_its_turn_back_hinders_nobody_for_long() -> None:
    server = copied(BASE)
    hold(server, "otherhost/boot:pid/7/7")
    paused: list[float] = []
    apply(server, wanted(NEW), ApplyRequest(), lambda _: None, paused.append)
    assert sum(paused) >= 30
    assert said(server) == bodies_of(NEW)


def test_who_lost_its_turn_writes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped for a minute in the middle: somebody else has the turn when it wakes."""
    server = copied(BASE)
    monkeypatch.setattr("meshward.cluster.lease._RENEW", 0.0)

    def lose(method: str, path: str) -> None:
        if method == "apply" and path.endswith("/t"):
            hold(server, "otherhost/boot:pid/7/7")

    server.after = lose
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW)
    assert caught.value.code is codes.APPLIED_BY_ANOTHER
    after = [path for method, path in server.asked if method in ("apply", "delete") and ".istio.io" in path]
    assert after[-1].endswith("/t")
    assert lease_of(server)["spec"]["holderIdentity"] == "otherhost/boot:pid/7/7"


def test_what_changed_meanwhile_is_not_overwritten() -> None:
    server = copied(BASE)

    def meddle(method: str, path: str) -> None:
        if method == "apply" and path.endswith("/slashes"):
            server.after = lambda *_: None
            edited(server, {"rules": []}, "kubectl-edit")

    server.after = meddle
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW)
    assert caught.value.code in (
        codes.CHANGED_MEANWHILE,
        codes.FIELD_OWNED_BY_ANOTHER,
        codes.CLUSTER_HALF_WAY,
    )
    assert server.objects[PATH_OF_P]["spec"]["rules"] == []


def test_what_somebody_adds_meanwhile_is_not_written_over() -> None:
    """Not a field of ours: nothing but the object's version tells that it is another one than was looked at."""
    server = copied(BASE)

    def meddle(method: str, path: str) -> None:
        if method == "apply" and path.endswith("/slashes"):
            server.after = lambda *_: None
            edited(server, {"targetRef": {"name": "x"}}, "operator")

    server.after = meddle
    with pytest.raises(MeshwardError) as caught:
        run(server, NEW)
    assert caught.value.code is codes.CHANGED_MEANWHILE
    assert "AuthorizationPolicy models/p was changed by somebody else meanwhile" in caught.value.message
    assert server.objects[PATH_OF_P]["spec"]["targetRef"] == {"name": "x"}
    assert not any(path.endswith("/q") for method, path in server.asked if method in WRITES)


def test_only_the_writer_that_stays_may_ask_to_be_the_only_one() -> None:
    server = copied(BASE)
    only = "system:serviceaccount:edge:meshward"
    with pytest.raises(MeshwardError) as caught:
        apply(server, wanted(NEW, writer=only), ApplyRequest(), lambda _: None, lambda _: None)
    assert (caught.value.code, caught.value.exit_code) == (codes.NOT_THE_OWNER, Exit.UNSAFE)
    assert "`somebody` asks" in caught.value.message
    server.user = only
    apply(server, wanted(NEW, writer=only), ApplyRequest(), lambda _: None, lambda _: None)
    assert said(server) == bodies_of(NEW)


def test_a_kind_that_is_not_served_is_named() -> None:
    other = {**body("AuthorizationPolicy", "x", {}), "apiVersion": "security.istio.io/v7"}
    with pytest.raises(MeshwardError) as caught:
        run(copied(BASE), [*OLD, other])
    assert caught.value.code is codes.CLUSTER_LACKS
    assert "serves no AuthorizationPolicy in security.istio.io/v7" in caught.value.message


def test_plan_tells_each_object_and_field_and_changes_nothing() -> None:
    server = copied(BASE)
    before = json.dumps(server.objects, sort_keys=True)
    edits = {edit.key.name: (edit.do, edit.fields) for edit in prepare(server, wanted(NEW)).edits}
    assert edits["p"] == ("change", ("spec.rules",))
    assert edits["t"] == ("change", ("spec.jwtRules[0].issuer", "spec.jwtRules[0].jwks"))
    assert edits["q"] == ("create", ())
    assert edits["gone"] == edits["d"] == ("remove", ())
    assert "strict" not in edits
    assert json.dumps(server.objects, sort_keys=True) == before


def test_what_the_server_adds_is_no_difference_and_what_we_left_there_is() -> None:
    server = copied(BASE)
    there = server.objects[PATH_OF_P]
    asked = wanted(OLD).objects
    key = next(key for key in asked if key.name == "p")
    assert is_same(there, asked[key])
    there["spec"]["defaulted"] = True
    assert is_same(there, asked[key])
    ours = there["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
    ours["f:defaulted"] = {}
    assert not is_same(there, asked[key])
    del ours["f:defaulted"], ours["f:rules"]
    assert not is_same(there, asked[key])
