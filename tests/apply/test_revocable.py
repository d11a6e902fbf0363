"""What is revoked is somebody's name, as verifiers compare it; all else is refused, with whom it may mean."""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshward.apply.revocable import (
    not_revoked_error,
    require_revocable,
    require_spelling,
    seen_here,
)
from meshward.apply.revocation_store import Revocation, Revocations
from meshward.audit.lines import DONE, ChangeLine
from meshward.audit.store import Batch, Store
from meshward.callers.bindings import Kind
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from tests.audit.making import edge, facts_text
from tests.edge.mesh import POLICY
from tests.stack.live import policy_of

TENANT, OID = "abcdef11-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"
SEEN = [
    "corp:alice",
    "corp:3f6c0a1e",
    f"entra:{TENANT}:{OID}",
    "workload:scorer",
    "k8s:system:serviceaccount:ml:job",
]


@pytest.fixture(scope="module")
def plan() -> Plan:
    text: dict[str, Any] = copy.deepcopy(POLICY)
    text["issuers"] |= {
        "entra": {
            "profile": "entra",
            "issuer": f"https://login.microsoftonline.com/{TENANT}/v2.0",
            "audience": "models",
        },
        "k8s": {"profile": "kubernetes", "issuer": "https://k8s.test", "audience": "models"},
    }
    text["workloads"] = {"scorer": {"id": "/ns/jobs/sa/scorer"}, "idle": {"id": "/ns/jobs/sa/idle"}}
    text["roles"]["named"] = [{"issuer": "corp", "subject": "boss-1"}]
    text["denies"] = [{"id": "out", "subjects": [{"issuer": "corp", "subject": "eve-9"}]}]
    text["agents"] = {
        "helper": {
            "credential": {"workload": "idle"},
            "acts_for": ["scientist"],
            "models": "all",
            "actions": ["infer"],
        }
    }
    return resolve(policy_of(text))


def refusal(plan: Plan, kind: Kind, name: str, seen: Callable[[], list[str]] = lambda: SEEN) -> MeshwardError:
    with pytest.raises(MeshwardError) as told:
        require_revocable(plan, Revocations(), seen, kind, name, patience=0)
    assert told.value.exit_code is Exit.USAGE and told.value.remedy
    return told.value


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("subject", "corp:alice"),  # of the records
        ("subject", f"entra:{TENANT}:{OID}"),
        ("subject", "k8s:system:serviceaccount:ml:job"),
        ("subject", "workload:idle"),  # of the policy, whoever was seen
        ("subject", "corp:boss-1"),
        ("subject", "corp:eve-9"),
        ("agent", "helper"),
        ("token", "17"),
        ("token", "a b\u00e9"),
        ("token", "true"),
    ],
)
def test_who_is_known_can_be_revoked(plan: Plan, kind: Kind, name: str) -> None:
    require_revocable(plan, Revocations(), lambda: SEEN, kind, name, patience=0)


@pytest.mark.parametrize(
    ("kind", "name", "means"),
    [
        ("subject", "corp:alise", "`corp:alice`"),
        ("subject", "corp:Alice", "`corp:alice`"),
        ("subject", "crop:alice", "`corp:alice`"),  # an issuer that there is not
        ("subject", "CORP-2:alice".lower(), "`corp:alice`"),
        (
            "subject",
            "corp:bob.smith",
            "`corp:alice`",
        ),  # a user name where subjects are ids: who was seen there
        ("subject", "workload:scorr", "`workload:scorer`"),
        ("agent", "helpr", "`helper`"),
        ("agent", "scorer", ""),  # a workload is no agent
        ("token", "17 ", "white space"),
        ("token", "\u00a0one", "white space"),
        ("token", "one\n", "white space"),
    ],
)
def test_who_is_unknown_is_refused_with_whom_it_may_mean_and_can_be_insisted_on(
    plan: Plan, kind: Kind, name: str, means: str
) -> None:
    error = refusal(plan, kind, name)
    assert error.code is codes.REVOKE_UNKNOWN and means in error.message, error.message
    assert "--unknown" in error.remedy
    require_spelling(plan, lambda: SEEN, kind, name)


@pytest.mark.parametrize(
    ("kind", "name", "means"),
    [
        ("subject", "alice", "`corp:alice`"),  # without an issuer
        ("subject", "ALICE", "`corp:alice`"),
        ("subject", "corp:", ""),
        ("subject", ":alice", "`corp:alice`"),
        ("subject", "", ""),
        ("subject", "Corp:alice", "`corp:alice`"),  # no issuer can be called so
        ("subject", " corp:alice", "`corp:alice`"),
        ("subject", "corp: alice", "`corp:alice`"),
        ("subject", "corp:alice ", "`corp:alice`"),
        ("subject", "corp:alice\n", "`corp:alice`"),
        ("subject", "corp:al\u00efce", "`corp:alice`"),  # no verified subject holds more than ASCII
        ("subject", unicodedata.normalize("NFD", "corp:\u00e5lice"), "`corp:alice`"),
        ("subject", "corp:\u0430lice", "`corp:alice`"),  # a Cyrillic letter
        ("subject", "corp:" + "a" * 256, ""),
        ("subject", "https://idp.test/realm:alice", "`corp:alice`"),  # the issuer's URL for its name
        ("subject", "https://idp.test/realm/alice", "`corp:alice`"),
        ("subject", "spiffe://mesh.test/ns/jobs/sa/scorer", "`workload:scorer`"),
        ("subject", f"entra:{OID}", "<none>"),  # half an id
        ("subject", "entra:alice@example.com", "<none>"),
        ("subject", f"entra:{TENANT}:{OID}".upper().replace("ENTRA", "entra"), "<none>"),
        ("subject", "k8s:job", "<none>"),
        ("subject", "workload:Scorer", ""),
        ("agent", "Helper", "`helper`"),
        ("agent", "", "`helper`"),
        ("agent", "spiffe://mesh.test/agent/helper", "helper"),
        ("token", "", ""),
        ("token", "\udcff", ""),
    ],
)
def test_what_nobody_can_be_called_is_refused_whatever_is_insisted_on(
    plan: Plan, kind: Kind, name: str, means: str
) -> None:
    error = refusal(plan, kind, name)
    assert error.code is codes.REVOKE_MISSPELLED
    known = f"entra:{TENANT}:{OID}" if name.startswith("entra") else "k8s:system:serviceaccount:ml:job"
    assert (known if means == "<none>" else means) in error.message + error.remedy, error
    with pytest.raises(MeshwardError) as told:
        require_spelling(plan, lambda: SEEN, kind, name)
    assert told.value.code is codes.REVOKE_MISSPELLED
    assert (error.message + error.remedy).isprintable()


@pytest.mark.parametrize("around", ["{}", "{}\n", " {}", "Bearer {}"])
def test_a_token_is_not_said_back(plan: Plan, around: str) -> None:
    token = f"{'e' * 40}.{'f' * 200}.{'s' * 86}"
    error = refusal(plan, "token", around.format(token))
    assert error.code is codes.REVOKE_MISSPELLED
    assert token not in error.message + error.remedy and "`jti`" in error.remedy


def test_who_is_revoked_already_is_known(plan: Plan) -> None:
    revoked = Revocations({"corp:gone": Revocation(names=("sso:gone",))})
    for name in ("corp:gone", "sso:gone"):
        require_revocable(plan, revoked, list, "subject", name, patience=0)
    error = not_revoked_error(revoked, "subject", "corp:gon")
    assert "`corp:gone`" in error.remedy and error.exit_code is Exit.USAGE
    assert "Nobody" in not_revoked_error(Revocations(), "token", "x").remedy


def test_a_record_that_is_on_its_way_is_waited_for(plan: Plan) -> None:
    looks = [[], [], ["corp:late"]]
    require_revocable(plan, Revocations(), lambda: looks.pop(0), "subject", "corp:late", patience=60)
    assert looks == []


def test_records_that_cannot_be_read_name_nobody_and_say_so(plan: Plan) -> None:
    def broken() -> list[str]:
        raise MeshwardError(codes.RECORDS_DAMAGED, "the records are damaged")

    error = refusal(plan, "subject", "corp:alice", broken)
    assert error.code is codes.REVOKE_UNKNOWN and "the records are damaged" in error.message
    require_spelling(plan, broken, "subject", "corp:alice")  # `--unknown` needs none


def test_known_are_callers_authors_and_who_was_met(tmp_path: Path) -> None:
    assert seen_here(tmp_path, lambda: ["corp:met"])() == ["corp:met"], "no records yet"
    store = Store(tmp_path)
    callers = ("corp:a", "corp:b", "corp:a")
    batch = Batch(edges=[edge(f"{n:032x}", facts=facts_text(sub=name)) for n, name in enumerate(callers)])
    batch.changes += [ChangeLine("1", "1.0", author, "apply", DONE, "{}") for author in ("root", "corp:olga")]
    store.write(batch, 1.0)
    store.close()
    assert seen_here(tmp_path, lambda: ["corp:met"])() == ["corp:met", "corp:a", "corp:b", "corp:olga"]
