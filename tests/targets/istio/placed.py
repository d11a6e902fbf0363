"""Plans in an environment, as short as a test wants them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshward.plan.placement import MeshService, PlacedPlan, place
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from meshward.policy.site import Site

POLICY: Mapping[str, Any] = {
    "version": 1,
    "trust_domain": "one.test",
    "edge": {"listen": "127.0.0.1:9443", "hostname": "edge.one.test"},
    "issuers": {"x": {"profile": "oidc", "issuer": "https://x.test", "audience": "a", "groups": "/g"}},
    "roles": {"r": [{"issuer": "x", "group": "g"}], "s": [{"issuer": "x", "group": "h"}]},
    "models": {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/run/m.sock"}}}},
    "grants": [{"id": "g", "roles": ["r"], "models": "all", "actions": ["infer"]}],
}


def service(name: str, **over: object) -> dict[str, Any]:
    """A version's place: its own service, its own pods."""
    return {"namespace": "models", "service": name, "port": 8080, "select": {"app": name}, **over}


def placed(site: Mapping[str, Any] | None = None, **over: object) -> PlacedPlan:
    """`over` replaces parts of `POLICY`; without a site by convention."""
    plan = resolve(Policy.model_validate({**POLICY, **over}))
    return place(plan, None if site is None else Site.model_validate({"version": 1, **site}))


def at(given: PlacedPlan, model: str, version: str = "v1") -> MeshService:
    """Where that version is: behind a service."""
    found = given.places[model, version]
    assert isinstance(found, MeshService)
    return found
