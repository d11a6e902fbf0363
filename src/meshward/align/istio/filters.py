"""All AuthorizationPolicies of a workload as the filters that istiod makes of them (security/authz/builder)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from meshward.align.istio.extauthz import PREFIX, SHADOW, ext_authz
from meshward.align.istio.matchers import Json, NotCompiled
from meshward.align.istio.meshconfig import MeshConfig
from meshward.align.istio.objects import MeshObject, items
from meshward.align.istio.rules import Compiling, compile_rule

DRY_RUN = "istio.io/dry-run"
HTTP_RBAC, TCP_RBAC = "envoy.filters.http.rbac", "envoy.filters.network.rbac"
_HTTP_TYPE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_TCP_TYPE = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"
_NEVER = {"permissions": [{"notRule": {"any": True}}], "principals": [{"notId": {"any": True}}]}
BAD = "-deny-due-to-bad-CUSTOM-action"
# What Go's strconv.ParseBool takes; anything else is no dry run.
_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_ACTIONS = (("AUDIT", "LOG"), ("DENY", "DENY"), ("ALLOW", "ALLOW"))


def action(policy: MeshObject) -> str:
    return str(policy.spec.get("action", "ALLOW"))


def dry_run(policy: MeshObject) -> bool:
    return policy.annotations.get(DRY_RUN) in _TRUE


def filters(policies: Sequence[MeshObject], config: MeshConfig, *, tcp: bool = False) -> list[Json]:
    """AUDIT, DENY and ALLOW, in that order; one filter each where there is a policy of it."""
    found = []
    for spelled, rbac in _ACTIONS:
        of_action = [policy for policy in policies if action(policy) == spelled]
        if of_action:
            found.append(_filter(of_action, rbac, config, tcp))
    return found


def custom_filters(
    policies: Sequence[MeshObject], config: MeshConfig, hosts: Collection[str], *, tcp: bool = False
) -> list[Json]:
    """Of `action: CUSTOM`, by provider: what marks a request and what asks, or a refusal where nobody can be asked."""
    grouped: dict[str, list[MeshObject]] = {}
    for policy in policies:
        if action(policy) == "CUSTOM":
            provider = (policy.spec.get("provider") or {}).get("name", "")
            grouped.setdefault(provider, []).append(policy)
    several = len(grouped) > 1  # unless PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS
    found = []
    for provider in sorted(grouped):
        prefix = f"{PREFIX}-{provider}-" if provider else f"{PREFIX}-"
        rules, shadow = _rule_sets(grouped[provider], "DENY", config, tcp, prefix)
        try:
            if several:
                raise NotCompiled("several providers on one workload")
            asked = ext_authz(config, provider, hosts, tcp=tcp)
        except NotCompiled:
            refused = {name + BAD: each for name, each in rules["policies"].items()}
            found.append(_named({"rules": _told({**rules, "policies": refused})}, tcp))
            continue
        if asked is not None:
            marks: Json = {"shadowRules": _told(rules), "shadowRulesStatPrefix": SHADOW}
            if shadow["policies"]:
                marks["rules"] = _told(shadow)
            name = "envoy.filters.network.ext_authz" if tcp else "envoy.filters.http.ext_authz"
            found += [_named(marks, tcp), {"name": name, "typedConfig": asked}]
    return found


def _filter(policies: Sequence[MeshObject], rbac: str, config: MeshConfig, tcp: bool) -> Json:
    rules, shadow = _rule_sets(policies, rbac, config, tcp, "")
    body: Json = {}
    if any(not dry_run(policy) for policy in policies):
        body["rules"] = _told(rules)
    shadowed = any(dry_run(policy) for policy in policies)
    if shadowed:
        body["shadowRules"] = _told(shadow)
    if not shadowed or rbac in ("ALLOW", "DENY"):  # without a shadow it is the name of an empty one
        body["shadowRulesStatPrefix"] = f"istio_dry_run_{rbac.lower() if shadowed else 'allow'}_"
    return _named(body, tcp)


def _rule_sets(
    policies: Sequence[MeshObject], rbac: str, config: MeshConfig, tcp: bool, prefix: str
) -> tuple[Json, Json]:
    """What is in force, and what is a dry run."""
    enforced: Json = {"action": rbac, "policies": {}}
    shadow: Json = {"action": rbac, "policies": {}}
    domains = (config.trust_domain, *config.aliases)
    for policy in policies:
        target: dict[str, Any] = (shadow if dry_run(policy) else enforced)["policies"]
        how = Compiling(policy.ref.namespace, domains, tcp, allow=rbac == "ALLOW")
        rules = items(policy.spec.get("rules"))
        for at, rule in enumerate(rules):
            try:
                target[prefix + rule_name(policy, at)] = compile_rule(rule, how)
            except NotCompiled:
                continue
        if not rules:
            target[prefix + rule_name(policy, 0)] = _NEVER
    return enforced, shadow


def rule_name(policy: MeshObject, at: int) -> str:
    """How Envoy's log names a rule."""
    return f"ns[{policy.ref.namespace}]-policy[{policy.ref.name}]-rule[{at}]"


def owners(policies: Sequence[MeshObject]) -> dict[str, MeshObject]:
    """Whose a rule is, by its name."""
    return {
        rule_name(each, at): each
        for each in policies
        for at in range(max(1, len(items(each.spec.get("rules")))))
    }


def owner(policies: dict[str, MeshObject], name: str) -> MeshObject | None:
    """Whose a rule of a filter is, which may be marked for a provider."""
    return policies.get(name[name.find("ns[") :].removesuffix(BAD))


def _told(rules: Json) -> Json:
    """As protobuf's JSON has it: what is the default, or empty, is left out."""
    said = {} if rules["action"] == "ALLOW" else {"action": rules["action"]}
    return {**said, **({"policies": rules["policies"]} if rules["policies"] else {})}


def _named(body: Json, tcp: bool) -> Json:
    if tcp:
        return {"name": TCP_RBAC, "typedConfig": {"@type": _TCP_TYPE, **body, "statPrefix": "tcp."}}
    return {"name": HTTP_RBAC, "typedConfig": {"@type": _HTTP_TYPE, **body}}
