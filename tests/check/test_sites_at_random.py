"""Of sites made up at random, none that is accepted lends anybody anything: looked at pod by pod, not rule by rule."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from meshward.check.site import find_widening
from meshward.plan.ir import Plan
from meshward.plan.placement import MeshService, PlacedPlan, RemoteGuard, place
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from meshward.policy.site import SiteDocument, parse_site
from meshward.policy.tree import Source

_KEYS, _VALUES = ("app", "version", "tier"), ("a", "b")
_NAMESPACES = ("one", "two", "root")
_ACCOUNTS = ("default", "nginx", "x", "y")
_VERSIONS = (("a", "v1"), ("a", "v2"), ("a", "v3"), ("b", "v1"))


def _plan() -> Plan:
    def version(kind: str, port: int) -> dict[str, str]:
        return {"server": kind, "url": f"http://127.0.0.1:{port}"}

    return resolve(
        Policy.model_validate(
            {
                "version": 1,
                "trust_domain": "one.test",
                "edge": {"listen": "127.0.0.1:9443", "hostname": "one.test"},
                "workloads": {
                    "w": {"id": "/ns/one/sa/x"},
                    "idle": {"id": "/idle"},
                    "other": {"id": "/other"},
                },
                "roles": {"r": [{"workload": "w"}, {"workload": "other"}]},
                "servers": {
                    "k": {"infer": ["POST /run"]},
                    "l": {"infer": ["POST /run"], "manage": ["POST /x"]},
                },
                "models": {
                    "a": {
                        "versions": {"v1": version("k", 1), "v2": version("k", 2), "v3": version("l", 3)},
                        "traffic": {"v1": 100, "v2": 0, "v3": 0},
                        "calls": ["b"],
                    },
                    "b": {"versions": {"v1": version("k", 4)}},
                },
                "grants": [{"id": "g", "roles": ["r"], "models": "all", "actions": ["infer"]}],
            }
        )
    )


PLAN = _plan()
_workload = st.fixed_dictionaries(
    {"namespace": st.sampled_from(_NAMESPACES), "service_account": st.sampled_from(_ACCOUNTS)}
)
_select = st.dictionaries(st.sampled_from(_KEYS), st.sampled_from(_VALUES), min_size=1)
_service = st.fixed_dictionaries(
    {
        "namespace": st.sampled_from(_NAMESPACES),
        "service": st.sampled_from(("s", "t", "u", "v")),
        "port": st.sampled_from((80, 8080, 15021)),
        "select": _select,
    },
    optional={"service_account": st.sampled_from(_ACCOUNTS)},
)
_guard = st.fixed_dictionaries(
    {"guard": st.sampled_from(("g.test:1", "g.test:2", "127.0.2.1:80", "one.test:9443"))}
)
_GOOD: dict[str, Any] = {
    "version": 1,
    "trust_domain": "mesh.test",
    "edge": {"workload": {"namespace": "one", "service_account": "nginx"}, "select": {"app": "a"}},
    "mesh": {"root_namespace": "root"},
    "workloads": {"other": {"namespace": "one", "service_account": "y"}},
    "models": {
        "a": {
            "v1": {"namespace": "two", "service": "s", "port": 80, "select": {"app": "a", "version": "a"}},
            "v2": {"namespace": "two", "service": "t", "port": 80, "select": {"app": "a", "version": "b"}},
            "v3": {"guard": "g.test:1"},
        },
        "b": {"v1": {"namespace": "two", "service": "u", "port": 80, "select": {"app": "b"}}},
    },
}
_version = st.sampled_from(_VERSIONS).map(lambda each: ("models", *each))
_name = st.sampled_from(("w", "idle", "other")).map(lambda each: ("workloads", each))
_edit = st.one_of(
    st.tuples(_version, _service | _guard),
    st.tuples(_version.map(lambda path: (*path, "select")), _select),
    st.tuples(_name, _workload),
    st.tuples(st.just(("edge", "workload")), _workload),
    st.tuples(st.just(("edge", "select")), _select),
    st.tuples(st.just(("trust_domain",)), st.sampled_from(("one.test", "a.infer"))),
    st.tuples(st.just(("mesh", "root_namespace")), st.sampled_from(_NAMESPACES)),
)


def _edited(edits: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """A site that is good, with some of it changed as somebody would who may edit nothing else."""
    site: dict[str, Any] = copy.deepcopy(_GOOD)
    for path, value in edits:
        node = site
        for step in path[:-1]:
            node = node[step]
        if path[-1] != "select" or "guard" not in node:
            node[path[-1]] = value
    return site


def _document(site: dict[str, Any]) -> SiteDocument:
    return parse_site(Source("site", json.dumps(site).encode()))


@settings(max_examples=400)
@given(st.lists(_edit, max_size=4).map(_edited))
def test_no_site_that_is_accepted_lends_anything(site: dict[str, Any]) -> None:
    document = _document(site)
    accepted = not list(find_widening(PLAN, document))
    event(f"accepted: {accepted}")
    if accepted:
        placed = place(PLAN, document.site)
        _require_apart(placed)
        for namespace in _NAMESPACES:
            for labels in _pods():
                _require_one_meaning(placed, namespace, labels)


def _pods() -> list[dict[str, str]]:
    """Every pod's labels that could be."""
    choices = [[None, *_VALUES] for _ in _KEYS]
    return [
        {key: value for key, value in zip(_KEYS, values, strict=True) if value is not None}
        for values in itertools.product(*choices)
    ]


def _require_one_meaning(placed: PlacedPlan, namespace: str, labels: dict[str, str]) -> None:
    """What the rules of every version permit on one pod is what one version's do; of the edge's pods nothing."""
    permitted = set()
    for model, version, where in placed.services():
        if (
            where.namespace in (namespace, placed.mesh.root_namespace)
            and dict(where.select).items() <= labels.items()
        ):
            permitted.add((model.name, frozenset(version.routes.items())))
    edges = dict(placed.edge.select).items() <= labels.items() and placed.edge.workload.namespace == namespace
    assert len(permitted) + edges <= 1


def _require_apart(placed: PlacedPlan) -> None:
    """Nobody is somebody else, and no place is another's."""
    callers = [*placed.plan.workloads.values(), placed.edge_id]
    assert len(set(callers)) == len(callers)
    rights = {placed.plan.workloads["w"], placed.plan.workloads["other"], placed.edge_id}
    owners: dict[object, tuple[str, str]] = {}
    for key, where in placed.places.items():
        if isinstance(where, MeshService):
            own = f"spiffe://{placed.plan.trust_domain}/ns/{where.namespace}/sa/{where.service_account or 'default'}"
            assert own not in rights and where.port != 15021
            assert owners.setdefault((where.namespace, where.name, where.port), key)[0] == key[0]
        elif isinstance(where, RemoteGuard):
            assert owners.setdefault((where.host, where.port), key) == key
            assert (where.host, where.port) not in {("127.0.2.1", 80), ("one.test", 9443)}


def test_the_site_that_is_edited_is_accepted() -> None:
    """Else the test above would say nothing."""
    assert not list(find_widening(PLAN, _document(_GOOD)))
