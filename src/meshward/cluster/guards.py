"""What refuses: authentication, denials, filters; and what refuses all that two states of it do. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from meshward.cluster.connection import Object
from meshward.cluster.manifest import between, scope, spec_of
from meshward.cluster.permissions import is_allow
from meshward.kit.canonical import canonical_json

GUARDS = ("AuthorizationPolicy", "EnvoyFilter", "PeerAuthentication", "RequestAuthentication", "WasmPlugin")
_STRICT = "STRICT"


def is_guard(body: Mapping[str, Any]) -> bool:
    """An ALLOW policy with rules permits; one without denies all that no other permits."""
    return body["kind"] in GUARDS and not (is_allow(body) and spec_of(body).get("rules"))


def narrowed(old: Object | None, new: Object | None) -> Object | None:
    """What refuses all that `old` or `new` refuses, and else as little as can be said; None: nothing could say it.

    With it written first and `new` last, the first step only narrows and the last one only widens.
    """
    if old is None or new is None or old["kind"] != new["kind"]:
        return _alone(old, new)
    if spec_of(old) == spec_of(new):
        return new
    if scope(old) != scope(new):
        return None
    kind = new["kind"]
    if kind == "PeerAuthentication":
        return new if _is_strict(new) else old if _is_strict(old) else None
    if kind == "RequestAuthentication":
        return _common_keys(old, new)
    if kind == "AuthorizationPolicy" and _action(old) == _action(new) and not is_allow(new):
        return _all_rules(old, new)
    return None


def _alone(old: Object | None, new: Object | None) -> Object | None:
    """One that comes refuses from the start, one that goes until the end; who verifies tokens also lets them count."""
    one = new or old
    if one is None or one["kind"] == "RequestAuthentication":
        return None
    if one["kind"] == "PeerAuthentication" and not _is_strict(one):
        return None
    return one


def _action(body: Object) -> str:
    return str(spec_of(body).get("action", "ALLOW"))


def _is_strict(body: Object) -> bool:
    spec = spec_of(body)
    modes = [(spec.get("mtls") or {}).get("mode")]
    modes += [(each or {}).get("mode") for each in (spec.get("portLevelMtls") or {}).values()]
    return all(mode == _STRICT for mode in modes)


def _all_rules(old: Object, new: Object) -> Object:
    """What either denies is denied. A denial without rules denies nothing."""
    rules = {canonical_json(rule): rule for rule in (*_rules(old), *_rules(new))}
    return between(new, {**spec_of(new), "rules": list(rules.values())})


def _rules(body: Object) -> list[Any]:
    return list(spec_of(body).get("rules") or ())


def _common_keys(old: Object, new: Object) -> Object | None:
    """With the keys of both alone; None where they differ in more than keys, or have none in common."""
    before, after = (list(spec_of(each).get("jwtRules") or ()) for each in (old, new))
    if len(before) != len(after):
        return None
    rules = []
    for one, other in zip(before, after, strict=True):
        if {**one, "jwks": ""} != {**other, "jwks": ""}:
            return None
        known = {canonical_json(key) for key in _keys(one)}
        common = [key for key in _keys(other) if canonical_json(key) in known]
        if not common:
            return None
        rules.append({**other, "jwks": canonical_json({"keys": common})})
    return between(new, {**spec_of(new), "jwtRules": rules})


def _keys(rule: Mapping[str, Any]) -> list[Any]:
    try:
        keys = json.loads(rule.get("jwks") or "")["keys"]
    except (ValueError, KeyError, TypeError):
        return []
    return keys if isinstance(keys, list) else []
