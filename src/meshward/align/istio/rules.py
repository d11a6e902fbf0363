"""One rule of an AuthorizationPolicy as Envoy's RBAC policy.

A value that cannot be compiled closes: an ALLOW loses the whole rule, a DENY, CUSTOM or AUDIT loses that condition only
and so matches more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from meshward.align.istio.aliases import expand_domains, expand_principals
from meshward.align.istio.conditions import HOST, METHOD, PATH, Condition, condition
from meshward.align.istio.matchers import Json, NotCompiled
from meshward.align.istio.objects import items, mapping, text, text_list

# Front to back, as istiod puts them before what `when` says.
_SOURCE = (
    ("source.principal", "principals"),
    ("request.auth.principal", "requestPrincipals"),
    ("source.serviceAccount", "serviceAccounts"),
    ("source.trustDomain", "trustDomains"),
    ("source.namespace", "namespaces"),
    ("remote.ip", "remoteIpBlocks"),
    ("source.ip", "ipBlocks"),
)
_OPERATION = ((HOST, "hosts"), (METHOD, "methods"), (PATH, "paths"), ("destination.port", "ports"))

Side = Literal["permission", "principal"]
_WORDS: Mapping[Side, tuple[str, str, str, str]] = {
    "permission": ("andRules", "orRules", "notRule", "rules"),
    "principal": ("andIds", "orIds", "notId", "ids"),
}


@dataclass(frozen=True, slots=True)
class _Term:
    """One key with what it must be and must not be."""

    key: str
    condition: Condition
    values: Sequence[str]
    others: Sequence[str]


@dataclass(frozen=True, slots=True)
class Compiling:
    """What a rule is compiled for."""

    namespace: str
    domains: Sequence[str]
    tcp: bool
    allow: bool


def compile_rule(rule: object, how: Compiling) -> Json:
    """Envoy's policy of `rule`. Raises NotCompiled where istiod drops the rule."""
    found = mapping(rule)
    permission: list[_Term] = []
    principal: list[_Term] = []
    for when in items(found.get("when")):
        term = _term(text(mapping(when).get("key")), mapping(when), "values", "notValues", how)
        (permission if term.condition.side == "permission" else principal).extend(_told(term))
    froms = [
        _merged(mapping(each).get("source"), _SOURCE, principal, how) for each in items(found.get("from"))
    ]
    tos = [
        _merged(mapping(each).get("operation"), _OPERATION, permission, how)
        for each in items(found.get("to"))
    ]
    return {
        "permissions": [_all(terms, "permission", how) for terms in tos or [permission]],
        "principals": [_all(terms, "principal", how) for terms in froms or [principal]],
    }


def _merged(
    part: object, keys: Sequence[tuple[str, str]], behind: Sequence[_Term], how: Compiling
) -> list[_Term]:
    named = mapping(part)
    terms = [_term(key, named, field, f"not{field[:1].upper()}{field[1:]}", how) for key, field in keys]
    return [each for term in terms for each in _told(term)] + list(behind)


def _told(term: _Term) -> list[_Term]:
    return [term] if term.values or term.others else []


def _term(key: str, part: Mapping[str, Any], values: str, others: str, how: Compiling) -> _Term:
    found = condition(key, how.namespace)
    both = [text_list(part.get(values)), text_list(part.get(others))]
    if key == "source.principal":
        both = [expand_principals(each, how.domains) for each in both]
    elif key == "source.trustDomain":
        both = [expand_domains(each, how.domains) for each in both]
    return _Term(key, found, *both)


def _all(terms: Sequence[_Term], side: Side, how: Compiling) -> Json:
    every, _, _, plural = _WORDS[side]
    found = [each for term in terms for each in _compiled(term, side, how)]
    return {every: {plural: found or [{"any": True}]}}


def _compiled(term: _Term, side: Side, how: Compiling) -> list[Json]:
    _, some, never, plural = _WORDS[side]
    found = []
    for values, negated in ((term.values, False), (term.others, True)):
        matchers = _matchers(term, values, how)
        if not matchers:
            continue
        one = matchers[0] if term.condition.together else {some: {plural: matchers}}
        found.append({never: one} if negated else one)
    return found


def _matchers(term: _Term, values: Sequence[str], how: Compiling) -> list[Json]:
    together = [values] if values and term.condition.together else []
    found = []
    for each in [*together, *([] if term.condition.together else values)]:
        try:
            if how.tcp and term.condition.http_only:
                raise NotCompiled(f"`{term.key}` is of HTTP only")
            found.append(_one(term, each))
        except NotCompiled:
            if how.allow:
                raise
    return found


def _one(term: _Term, value: Any) -> Json:
    if term.condition.together:
        return term.condition.together(term.key, value)
    assert term.condition.each is not None  # noqa: S101 - a condition has one of the two
    return term.condition.each(term.key, value)
