"""A site widens nothing: each way in which one could is refused by its code and line, with a twin that is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.cost import assert_grows, cost

from meshward.apply.sources import read_policy, read_site
from meshward.check.site import find_widening, require_harmless, site_lints
from meshward.kit.errors import PolicyInvalid, Problem
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.parse import parse
from meshward.policy.site import parse_site
from meshward.policy.tree import Source

POLICY = """\
version: 1
trust_domain: models.example.com
edge: {listen: "127.0.0.1:8443", hostname: models.example.com}
workloads:
  scorer: {id: /ns/jobs/sa/scorer}
  reader: {id: /reader}
  idle: {id: /idle}
roles:
  batch: [{workload: scorer}, {workload: reader}]
servers:
  other: {infer: [POST /other]}
models:
  minilm:
    versions:
      v1: {server: tei, url: "http://127.0.0.1:8001"}
      v2: {server: tei, url: "http://127.0.0.1:8002"}
      v3: {server: other, url: "http://127.0.0.1:8003"}
    traffic: {v1: 100, v2: 0, v3: 0}
  chat: {versions: {v1: {server: tei, url: "http://127.0.0.1:8004"}}, calls: [minilm]}
  far: {versions: {v1: {server: inference-endpoint, url: "https://far.example.com"}}}
grants:
  - {id: g, roles: [batch], models: all, actions: [infer]}
"""
SITE = """\
version: 1
trust_domain: cluster.local
edge: {workload: {namespace: edge, service_account: nginx}, select: {app: nginx}, sidecar: 127.0.2.1}
mesh: {root_namespace: istio-system}
workloads:
  scorer: {namespace: jobs, service_account: scorer}
  reader: {namespace: jobs, service_account: reader}
models:
  minilm:
    v1: {namespace: models, service: minilm, port: 8080, select: {app: minilm, version: v1}}
    v2: {namespace: models, service: minilm, port: 8080, select: {app: minilm, version: v2}}
    v3: {guard: "gpu1.internal:8443"}
  chat:
    v1: {namespace: models, service: chat, port: 8080, select: {app: chat}, service_account: chat}
"""


def plan_of(policy: str = POLICY) -> Plan:
    return resolve(parse([Source("policy.yaml", policy.encode())]).policy)


def problems_of(*edits: tuple[str, str], policy: str = POLICY, whole: bool = False) -> list[Problem]:
    site = SITE
    for before, after in edits:
        assert before in site, before
        site = site.replace(before, after, 1)
    document = parse_site(Source("site.yaml", site.encode()))
    return list(find_widening(plan_of(policy), document, whole=whole))


@dataclass(frozen=True, slots=True)
class Case:
    """`edit` makes the site widen, told by `code` at `line` with `said`; `twin` is near it, and harmless."""

    name: str
    code: str
    line: int
    said: str
    edit: tuple[str, str]
    twin: tuple[str, str]


_READER = "reader: {namespace: jobs, service_account: reader}"
_SCORER = "scorer: {namespace: jobs, service_account: scorer}"
_CHAT = "service_account: chat}"
_CHAT_PLACE = "v1: {namespace: models, service: chat, port: 8080, select: {app: chat}, service_account: chat}"
_EDGE = "workload: {namespace: edge, service_account: nginx}"
_V2 = "v2: {namespace: models, service: minilm, port: 8080, select: {app: minilm, version: v2}}"
_GUARD = 'guard: "gpu1.internal:8443"'

CASES = (
    Case(
        "a workload that the policy does not have", "MW5001", 7, "`scorerr`",
        (_READER, _READER.replace("reader:", "scorerr:")), (_READER, ""),
    ),
    Case(
        "two workloads with one ServiceAccount", "MW5002", 6, "`reader` too",
        (_READER, _READER.replace("account: reader", "account: scorer")),
        (_READER, _READER.replace("account: reader", "account: scorer2")),
    ),
    Case(
        "a workload in the ServiceAccount that another has by the policy", "MW5002", 7, "`scorer` too",
        (f"{_SCORER}\n  {_READER}", "\n  reader: {namespace: jobs, service_account: scorer}"),
        (f"{_SCORER}\n  {_READER}", "\n  reader: {namespace: other, service_account: scorer}"),
    ),
    Case(
        "a workload that is the edge", "MW5003", 6, "is the edge",
        (_SCORER, "scorer: {namespace: edge, service_account: nginx}"),
        (_SCORER, "scorer: {namespace: edge, service_account: scorer}"),
    ),
    Case(
        "the edge moves onto a workload", "MW5003", 6, "is the edge",
        (_EDGE, "workload: {namespace: jobs, service_account: scorer}"),
        (_EDGE, "workload: {namespace: jobs, service_account: nginx}"),
    ),
    Case(
        "the edge moves onto a workload that the site does not name", "MW5003", 3, "the workload `scorer`",
        (f"{_EDGE}, select: {{app: nginx}}, sidecar: 127.0.2.1}}\nmesh: {{root_namespace: istio-system}}\n"
         f"workloads:\n  {_SCORER}\n", "workload: {namespace: jobs, service_account: scorer}}\nworkloads:\n"),
        (_SCORER, ""),
    ),
    Case(
        "any pod of the edge's namespace is the edge", "MW5003", 3, "which every pod",
        (_EDGE, "workload: {namespace: edge, service_account: default}"),
        (_EDGE, "workload: {namespace: edge, service_account: default-edge}"),
    ),
    Case(
        "a model's pods are the edge", "MW5003", 14, "is the edge's",
        (_CHAT_PLACE, _CHAT_PLACE.replace("models", "edge").replace("account: chat", "account: nginx")),
        (_CHAT_PLACE, _CHAT_PLACE.replace("models", "edge")),
    ),
    Case(
        "a model's pods are a workload that has rights", "MW5009", 14, "the workload `reader`",
        (_READER, "reader: {namespace: models, service_account: chat}"),
        (_READER, f"{_READER}\n  idle: {{namespace: models, service_account: chat}}"),
    ),
    Case(
        "a model's pods may have the ServiceAccount of a workload", "MW5009", 10, "may be `default`",
        (_READER, "reader: {namespace: models, service_account: default}"),
        (_READER, "reader: {namespace: jobs, service_account: default}"),
    ),
    Case(
        "a model is taken for one that may call others", "MW5009", 14, "may call other models",
        (_V2, f"{_V2[:-1]}, service_account: chat}}"),
        (_V2, f"{_V2[:-1]}, service_account: minilm}}"),
    ),
    Case(
        "two models behind one service and port", "MW5005", 10, "`chat.v1` too",
        ("service: minilm, port: 8080", "service: chat, port: 8080"),
        ("service: minilm, port: 8080", "service: chat2, port: 8080"),
    ),
    Case(
        "two guards with one address", "MW5005", 12, "`minilm.v2`",
        (_V2, f"v2: {{{_GUARD}}}"), (_V2, 'v2: {guard: "gpu1.internal:8444"}'),
    ),
    Case(
        "labels of two models that one pod can have", "MW5006", 10, "a permission on one model",
        ("select: {app: chat}", "select: {tier: gpu}"),
        ("select: {app: chat}", "select: {app: chat, tier: gpu}"),
    ),
    Case(
        "labels of two versions whose servers have other routes", "MW5006", 10, "other routes",
        (f"v3: {{{_GUARD}}}", "v3: {namespace: models, service: minilm, port: 8080, select: {app: minilm}}"),
        (_V2, "v2: {namespace: models, service: minilm, port: 8080, select: {app: minilm}}"),
    ),
    Case(
        "a model's labels that the edge's pods can have", "MW5006", 14, "the edge's pods",
        (_CHAT_PLACE, _CHAT_PLACE.replace("models", "edge").replace("app: chat", "tier: gpu")),
        (_CHAT_PLACE, _CHAT_PLACE.replace("models", "edge")),
    ),
    Case(
        "the models' namespace becomes the mesh's root", "MW5007", 10, "root namespace",
        ("root_namespace: istio-system", "root_namespace: models"),
        ("root_namespace: istio-system", "root_namespace: istio-models"),
    ),
    Case(
        "the edge in the mesh's root namespace", "MW5007", 3, "root namespace",
        ("root_namespace: istio-system", "root_namespace: edge"),
        ("root_namespace: istio-system", "root_namespace: edges"),
    ),
    Case(
        "a trust domain that is a permission", "MW5008", 2, "`minilm.infer` is a permission",
        ("trust_domain: cluster.local", "trust_domain: minilm.infer"),
        ("trust_domain: cluster.local", "trust_domain: minilm.infers"),
    ),
    Case(
        "a hosted endpoint sent to a service", "MW5010", 15, "is a hosted endpoint",
        (_CHAT, f"{_CHAT}\n  far: {{v1: {{namespace: m, service: far, port: 80, select: {{app: far}}}}}}"),
        (_CHAT, f'{_CHAT}\n  far: {{v1: {{guard: "egress.internal:8443"}}}}'),
    ),
    Case(
        "a guard at the edge's own sidecar", "MW5010", 12, "the edge's own sidecar",
        (_GUARD, 'guard: "127.0.2.1:8080"'), (_GUARD, 'guard: "127.0.3.1:8080"'),
    ),
    Case(
        "a guard at the edge itself", "MW5010", 12, "the edge itself listens",
        (_GUARD, 'guard: "models.example.com:8443"'), (_GUARD, 'guard: "models.example.com:8444"'),
    ),
    Case(
        "a guard at the cloud's metadata", "MW5010", 12, "where no guard can be",
        (_GUARD, 'guard: "169.254.169.254:80"'), (_GUARD, 'guard: "10.0.0.7:80"'),
    ),
    Case(
        "a service's port that the edge's sidecar has for itself", "MW5011", 11, "15001",
        (_V2, _V2.replace("port: 8080", "port: 15001")), (_V2, _V2.replace("port: 8080", "port: 15002")),
    ),
    Case(
        "a port that the sidecar does not guard", "MW5011", 11, "15021",
        (_V2, f"{_V2[:-1]}, target_port: 15021}}"), (_V2, f"{_V2[:-1]}, target_port: 15022}}"),
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_would_widen_is_refused_by_its_line(case: Case) -> None:
    told = problems_of(case.edit)
    assert any(
        (each.code.number, each.where.line) == (case.code, case.line) and case.said in each.message
        for each in told
        if each.where
    ), [(each.code.number, each.where, each.message) for each in told]
    assert all(each.remedy for each in told)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_near_it_and_harmless_is_not(case: Case) -> None:
    assert problems_of(case.twin) == []


def test_nobody_is_meshward_itself() -> None:
    owner = "{namespace: edge, service_account: meshward}"
    assert codes_of((_READER, f"reader: {owner}")) == ["MW5018"]
    assert codes_of((_EDGE, f"workload: {owner}")) == ["MW5018"]
    pods = (_CHAT_PLACE, _CHAT_PLACE.replace("models", "edge").replace("account: chat", "account: meshward"))
    assert codes_of(pods) == ["MW5018"]
    waypoint = (_READER, "reader: {namespace: models, service_account: mw-waypoint}")
    assert codes_of(waypoint) == [], "with sidecars it is a name as any other"
    assert codes_of(_AMBIENT, waypoint) == ["MW5018"]


def test_the_usual_root_namespace_is_refused_where_a_site_says_another() -> None:
    hidden = ("root_namespace: istio-system", "root_namespace: other")
    assert codes_of(hidden) == []
    moved = (_CHAT_PLACE, _CHAT_PLACE.replace("namespace: models", "namespace: istio-system"))
    assert codes_of(hidden, moved) == ["MW5007"]
    edge = (_EDGE, _EDGE.replace("namespace: edge", "namespace: istio-system"))
    assert codes_of(hidden, edge) == ["MW5007"]


_AMBIENT = ("root_namespace: istio-system", "root_namespace: istio-system, mode: ambient")


def codes_of(*edits: tuple[str, str]) -> list[str]:
    return [each.code.number for each in problems_of(*edits)]


def test_a_waypoint_judges_a_service_whatever_port_and_pods_are_behind_it() -> None:
    two_models = ("service: minilm, port: 8080", "service: chat, port: 8081")
    assert codes_of(two_models) == [], "a sidecar judges pods"
    assert codes_of(_AMBIENT, two_models) == ["MW5005"]
    assert codes_of(_AMBIENT) == [], "two versions whose routes mean the same"
    other = (f"v3: {{{_GUARD}}}", _V2.replace("v2", "v3"))
    assert codes_of(other) == []
    assert codes_of(_AMBIENT, other) == ["MW5005"], "routes of v3 would be open at v1"


def test_what_is_for_the_sidecar_does_not_reach_a_server_past_its_guard() -> None:
    """`minilm.v3` stays on the edge's machine, where its server may listen at every address."""
    stays = (f"v3: {{{_GUARD}}}", "")
    at_its_port = ("service: chat, port: 8080", "service: chat, port: 8003")
    assert codes_of(stays, at_its_port) == ["MW5010"]
    assert codes_of(at_its_port) == [], "nothing of the policy is on the edge's machine"
    assert codes_of(stays, ("service: chat, port: 8080", "service: chat, port: 8005")) == []


def test_a_guard_that_has_the_edges_host_name() -> None:
    policy = POLICY.replace("hostname: models.example.com", "hostname: v1.chat.cluster.local")
    assert [each.code.number for each in problems_of(policy=policy)] == ["MW5012"]
    assert problems_of(("trust_domain: cluster.local", "trust_domain: other.local"), policy=policy) == []


def test_each_version_has_a_place_where_a_mesh_must_know_it() -> None:
    without = (f"v3: {{{_GUARD}}}", "")
    assert problems_of(without) == [], "it stays on the edge's machine"
    told = problems_of(without, whole=True)
    assert [(each.code.number, each.message) for each in told] == [
        ("MW5004", "`models.minilm.v3` (not said here) has no place")
    ]
    assert problems_of(whole=True) == [], "a hosted endpoint has its own"


def test_names_by_convention_are_held_to_the_same() -> None:
    policy = POLICY.replace("chat:", "minilm-v1:").replace("{v1: {server: tei", "{v2: {server: tei")
    assert not list(find_widening(plan_of(policy), None, whole=True))
    clash = (
        policy.replace("minilm:\n", "minilm:\n", 1)
        .replace("      v2: {server: tei", "      v1-v2: {server: tei")
        .replace("v2: 0,", "v1-v2: 0,")
    )
    told = list(find_widening(plan_of(clash), None, whole=True))
    assert [each.code.number for each in told] == ["MW5005"], "both are service `minilm-v1-v2`"
    edge = POLICY.replace("/ns/jobs/sa/scorer", "/ns/edge/sa/nginx")
    assert [each.code.number for each in find_widening(plan_of(edge), None)] == ["MW5003"]


def test_the_reference_site_fits_the_reference_policy(shared_data: Path) -> None:
    plan = resolve(read_policy(shared_data / "examples/policy.yaml").policy)
    site = read_site(shared_data / "examples/site.yaml")
    assert list(find_widening(plan, site, whole=True)) == []


def test_a_workload_that_is_somebody_else_here_is_shown_to_a_reviewer() -> None:
    document = parse_site(Source("site.yaml", SITE.encode()))
    (told,) = site_lints(plan_of(), document)
    assert (told.code.number, told.severity, told.where and told.where.line) == ("MW5013", "lint", 7)
    assert "`/ns/jobs/sa/reader`" in told.message and "`/reader`" in told.message, (
        "`scorer` is who the policy says"
    )


def test_two_hundred_problems_are_enough() -> None:
    names = "".join(f"  w{n}: {{namespace: a, service_account: b}}\n" for n in range(500))
    document = parse_site(Source("site.yaml", f"version: 1\nworkloads:\n{names}".encode()))
    with pytest.raises(PolicyInvalid) as caught:
        require_harmless(plan_of(), document)
    assert len(caught.value.problems) == 200


def test_labels_are_not_compared_pair_by_pair() -> None:
    """Twice as many versions cost about twice as much."""

    def spent(count: int) -> int:
        models = "".join(
            f"  m{n}: {{versions: {{v1: {{server: tei, url: 'http://127.0.0.1:{1 + n}'}}}}}}\n"
            for n in range(count)
        )
        head, _, rest = POLICY.partition("models:\n")
        plan = plan_of(f"{head}models:\n{models}grants:{rest.partition('grants:')[2]}")
        return cost(lambda: list(find_widening(plan, None, whole=True)))

    assert_grows(spent, 200)
