"""The security CRDs of Istio 1.27 to 1.31, as far as an API server judges by them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """A structural schema: of an object its `fields`, of a list or table the shape of its members."""

    kind: str
    fields: Mapping[str, Shape] = field(default_factory=dict)
    member: Shape | None = None
    required: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    least: int = 0
    most: int | None = None
    rule: Callable[[Any], str] | None = None


def _object(
    fields: Mapping[str, Shape], required: tuple[str, ...] = (), rule: Callable[[Any], str] | None = None
) -> Shape:
    return Shape("object", fields=fields, required=required, rule=rule)


def _list(member: Shape, most: int | None = None) -> Shape:
    return Shape("list", member=member, most=most)


_TEXT = Shape("text")
_FILLED = Shape("text", least=1)
_TEXTS = _list(_TEXT)
_FILLED_TEXTS = _list(_FILLED)
_ACCOUNTS = _list(Shape("text", most=320), most=16)


def _source_rule(source: Mapping[str, Any]) -> str:
    accounts = {"serviceAccounts", "notServiceAccounts"} & source.keys()
    others = {"principals", "notPrincipals", "namespaces", "notNamespaces"} & source.keys()
    return "cannot set serviceAccounts with namespaces or principals" if accounts and others else ""


def _target_rule(spec: Mapping[str, Any]) -> str:
    named = {"selector", "targetRef", "targetRefs"} & spec.keys()
    return "only one of targetRefs or selector can be set" if len(named) > 1 else ""


def _labels_rule(labels: Mapping[str, str]) -> str:
    if any("*" in key or "*" in value for key, value in labels.items()):
        return "wildcard not allowed in a label match"
    return "key must not be empty" if "" in labels else ""


def _namespace_rule(name: str) -> str:
    return "cross namespace referencing is not supported" if name else ""


def _uri_rule(uri: str) -> str:
    return "" if uri.startswith(("http://", "https://")) else "url must have scheme http:// or https://"


def _keys_rule(rule: Mapping[str, Any]) -> str:
    return (
        "only one of jwks or jwksUri can be set"
        if len({"jwks", "jwksUri", "jwks_uri"} & rule.keys()) > 1
        else ""
    )


def _duration_rule(value: str) -> str:
    parts = re.fullmatch(r"((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+", value)
    return "" if parts and re.search(r"[1-9]", value) else "must be a duration of 1ms or more"


def _port_rule(ports: Mapping[str, Any]) -> str:
    fine = all(re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) <= 65535 for port in ports)
    return "" if fine else "port must be between 1-65535"


def _exception_rule(spec: Mapping[str, Any]) -> str:
    selected = (spec.get("selector") or {}).get("matchLabels")
    return "portLevelMtls requires selector" if "portLevelMtls" in spec and not selected else ""


_SELECTOR = _object(
    {"matchLabels": Shape("table", member=Shape("text", most=63), most=4096, rule=_labels_rule)}
)
_TARGET = _object(
    {
        "group": Shape("text", most=253),
        "kind": Shape("text", least=1, most=63),
        "name": Shape("text", least=1, most=253),
        "namespace": Shape("text", rule=_namespace_rule),
    },
    required=("kind", "name"),
)
_TARGETS = {"selector": _SELECTOR, "targetRef": _TARGET, "targetRefs": _list(_TARGET, 16)}
_MODE = _object({"mode": Shape("text", allowed=("UNSET", "DISABLE", "PERMISSIVE", "STRICT"))})


def _with_not(*names: str, shape: Shape = _TEXTS) -> dict[str, Shape]:
    return {each: shape for name in names for each in (name, f"not{name[:1].upper()}{name[1:]}")}


_SOURCE = _object(
    {
        **_with_not(
            "principals", "requestPrincipals", "namespaces", "ipBlocks", "remoteIpBlocks", "trustDomains"
        ),
        **_with_not("serviceAccounts", shape=_ACCOUNTS),
    },
    rule=_source_rule,
)
_RULE = _object(
    {
        "from": _list(_object({"source": _SOURCE}), 512),
        "to": _list(_object({"operation": _object(_with_not("hosts", "ports", "methods", "paths"))})),
        "when": _list(_object({"key": _TEXT, "values": _TEXTS, "notValues": _TEXTS}, required=("key",))),
    }
)
_URI = Shape("text", least=1, most=2048, rule=_uri_rule)
_JWT_RULE = _object(
    {
        "issuer": _FILLED,
        "audiences": _FILLED_TEXTS,
        "jwks": _TEXT,
        "jwksUri": _URI,
        "jwks_uri": _URI,
        "forwardOriginalToken": Shape("bool"),
        "fromHeaders": _list(_object({"name": _FILLED, "prefix": _TEXT}, required=("name",))),
        "fromParams": _FILLED_TEXTS,
        "fromCookies": _FILLED_TEXTS,
        "outputPayloadToHeader": _TEXT,
        "outputClaimToHeaders": _list(
            _object({"header": _FILLED, "claim": _FILLED}, required=("header", "claim"))
        ),
        "spaceDelimitedClaims": _list(_FILLED, 64),
        "timeout": Shape("text", rule=_duration_rule),
    },
    rule=_keys_rule,
)
SHAPES = {
    "AuthorizationPolicy": _object(
        {
            "action": Shape("text", allowed=("ALLOW", "DENY", "AUDIT", "CUSTOM")),
            "provider": _object({"name": _TEXT}),
            "rules": _list(_RULE, 512),
            **_TARGETS,
        },
        rule=_target_rule,
    ),
    "RequestAuthentication": _object({"jwtRules": _list(_JWT_RULE, 4096), **_TARGETS}, rule=_target_rule),
    "PeerAuthentication": _object(
        {
            "selector": _SELECTOR,
            "mtls": _MODE,
            "portLevelMtls": Shape("table", member=_MODE, least=1, rule=_port_rule),
        },
        rule=_exception_rule,
    ),
}
