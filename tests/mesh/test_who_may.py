"""Whom the edge's sidecar sends requests to, and who may write what guards the models."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from meshward.plan.placement import Workload
from meshward.targets.istio.owned import owned_resources
from meshward.testing.waiting import eventually
from tests.mesh.lab import Call, Lab
from tests.mesh.lab.kubernetes_api import KubernetesApi, Refused
from tests.mesh.rendered import Mesh, objects, placed
from tests.mesh.test_on_request import EMBED, SPLIT, VERSIONS, token_of


def test_the_edge_sends_nothing_to_pods_of_another_service_account(lab: Lab) -> None:
    """The site says whose they are; here they are somebody else's."""

    def on(account: str) -> dict[str, Any]:
        where = {"namespace": "models", "service": "embed", "port": 8080, "select": {"app": "embed"}}
        return {"models": {"embed": {"v1": {**where, "service_account": account}}}}

    policy = SPLIT | {"models": {"embed": {"versions": {"v1": VERSIONS["v1"]}}}}
    mesh = Mesh.of(lab, placed(policy, on("theirs")))
    mesh.start()
    call = Call("POST", EMBED, token_of(mesh, "x:dave"))
    assert mesh.through_edge("embed", "v1", call).status == 200
    mesh.change(placed(policy, on("ours")))
    assert mesh.through_edge("embed", "v1", call).status == 503
    assert len(lab.backend(mesh.workloads["embed", "v1"]).taken()) == 1


def test_only_our_service_account_writes_what_guards_the_models(lab: Lab) -> None:
    plan = placed(SPLIT)
    ours = Workload("edge", "meshward")
    pair = [dict(each.body) for each in owned_resources(plan, ours, ["edge", "models"])]
    (deny,) = [
        each
        for each in objects(plan, Mesh.of(lab, plan).given)
        if each["metadata"]["name"] == "mw-default-deny"
    ]
    elsewhere = {**deny, "metadata": {**deny["metadata"], "namespace": "other"}}
    lab.apply([deny, elsewhere])
    admin, meshward = lab.api, acting_as(lab, "system:serviceaccount:edge:meshward")
    for each in pair:
        admin.apply(each)
    try:
        eventually(lambda: is_refused(admin, deny), what="the admission policy")
        with pytest.raises(Refused, match="meshward guards this namespace"):
            admin.delete(deny)
        with pytest.raises(Refused, match="delete the ValidatingAdmissionPolicyBinding mw-owned-edge"):
            admin.apply({**deny, "metadata": {**deny["metadata"], "name": "foreign"}})
        assert not is_refused(meshward, deny)
        assert not is_refused(admin, elsewhere), "another namespace is nobody's business"
    finally:
        admin.delete(pair[1])
        admin.delete(pair[0])
    eventually(lambda: not is_refused(admin, deny), what="the way out")


def acting_as(lab: Lab, user: str) -> KubernetesApi:
    """The cluster's admin in the name of `user`, with every right: what refuses it is admission."""
    api = lab.api.acting_as(lab.api.token)
    api._http.headers.update({"Impersonate-User": user, "Impersonate-Group": "system:masters"})
    return api


def is_refused(api: KubernetesApi, given: dict[str, Any]) -> bool:
    """Whether a change of it would be: an apply that changes nothing is admitted as well, and asked of."""
    marked = copy.deepcopy(given)
    marked["metadata"]["annotations"]["tried"] = "by a test"
    try:
        api.apply(marked, dry_run=True)
    except Refused as refused:
        assert refused.status in (403, 422), refused
        return True
    return False
