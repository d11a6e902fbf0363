"""Envoy's RBAC over one request. True, False, or None where it hangs on what is not known of the request."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any

from meshward.align.istio.matchers import Json
from meshward.align.istio.paths import without_query
from meshward.align.istio.templates import template

Known = bool | None


@dataclass(frozen=True)
class Facts:
    """A request behind Envoy's first filters; `metadata` by filter; header names in lower case."""

    path: str
    headers: Mapping[str, str | None]
    principal: str | None = None
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    port: int = 0
    source_ip: str | None = None
    remote_ip: str | None = None
    destination_ip: str | None = None
    sni: str | None = None

    @cached_property
    def bare_path(self) -> str:
        """Without its query."""
        return without_query(self.path)


def policy_matches(policy: Json, facts: Facts) -> Known:
    """Whether one of its permissions and one of its principals match."""
    permission = some(matches(each, facts) for each in policy.get("permissions", []))
    if permission is False:
        return False
    return every([permission, some(matches(each, facts) for each in policy.get("principals", []))])


def matches(matcher: Json, facts: Facts) -> Known:
    """One permission or principal; None for a matcher that is not known here."""
    if len(matcher) != 1:
        return None
    [(name, value)] = matcher.items()
    known = _MATCHERS.get(name)
    return known(value, facts) if known else None


def every(found: Iterable[Known]) -> Known:
    unsure = False
    for each in found:
        if each is False:
            return False
        unsure = unsure or each is None
    return None if unsure else True


def some(found: Iterable[Known]) -> Known:
    unsure = False
    for each in found:
        if each:
            return True
        unsure = unsure or each is None
    return None if unsure else False


def negated(found: Known) -> Known:
    return None if found is None else not found


def string_matches(matcher: Json, text: str) -> Known:
    if "exact" in matcher and len(matcher) == 1:
        return bool(text == matcher["exact"])
    fold = matcher.get("ignoreCase") is True
    value = text.lower() if fold else text
    for kind, expected in matcher.items():
        wanted = expected.lower() if fold and isinstance(expected, str) else expected
        if kind == "exact":
            return bool(value == wanted)
        if kind == "prefix":
            return value.startswith(wanted)
        if kind == "suffix":
            return value.endswith(wanted)
        if kind == "contains":
            return wanted in value
        if kind == "safeRegex":
            return regex_matches(expected, text)
    return None


def regex_matches(matcher: Json, text: str) -> Known:
    pattern = _pattern(matcher.get("regex", ""))
    return None if pattern is None else pattern.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _pattern(source: str) -> re.Pattern[str] | None:
    try:
        return re.compile(source)
    except (re.error, RecursionError, OverflowError):
        return None


def _header(matcher: Json, facts: Facts) -> Known:
    name = matcher.get("name", "").lower()
    value = facts.headers.get(name, "" if matcher.get("treatMissingHeaderAsEmpty") else _ABSENT)
    if value is None:
        return None  # what a client sends there is not known
    if "presentMatch" in matcher:
        found: Known = (value is not _ABSENT) == (matcher["presentMatch"] is True)
    elif value is _ABSENT:
        found = False
    elif "stringMatch" in matcher:
        found = string_matches(matcher["stringMatch"], value)
    elif "safeRegexMatch" in matcher:
        found = regex_matches(matcher["safeRegexMatch"], value)
    else:
        return None
    return negated(found) if matcher.get("invertMatch") else found


_ABSENT = "\x00absent"


def _path(matcher: Json, facts: Facts) -> Known:
    return string_matches(matcher.get("path", {}), facts.bare_path)


def _template(matcher: Json, facts: Facts) -> Known:
    found = template((matcher.get("typedConfig") or {}).get("pathTemplate", ""))
    return None if found is None else found.fullmatch(facts.bare_path) is not None


def _authenticated(matcher: Json, facts: Facts) -> Known:
    if facts.principal is None:
        return False
    name = matcher.get("principalName")
    return True if not name else string_matches(name, facts.principal)


def _in_range(matcher: Json, address: str | None) -> Known:
    if address is None:
        return None
    try:
        network = ipaddress.ip_network(
            f"{matcher['addressPrefix']}/{matcher.get('prefixLen', 0)}", strict=False
        )
        return ipaddress.ip_address(address) in network
    except (KeyError, ValueError):
        return None


def _server_name(matcher: Json, facts: Facts) -> Known:
    return None if facts.sni is None else string_matches(matcher, facts.sni)


def _metadata(matcher: Json, facts: Facts) -> Known:
    found: Any = facts.metadata.get(matcher.get("filter", ""), {})
    for step in matcher.get("path", []):
        if not isinstance(found, dict) or step.get("key") not in found:
            return False
        found = found[step["key"]]
    return _value(matcher.get("value", {}), found)


def _value(matcher: Json, value: Any) -> Known:
    if "orMatch" in matcher:
        return some(_value(each, value) for each in matcher["orMatch"]["valueMatchers"])
    if "listMatch" in matcher:
        members = value if isinstance(value, list) else []
        return some(_value(matcher["listMatch"]["oneOf"], each) for each in members)
    if "stringMatch" in matcher:
        return string_matches(matcher["stringMatch"], value) if isinstance(value, str) else False
    return None


def _all(key: str) -> Callable[[Any, Facts], Known]:
    return lambda found, facts: every(matches(each, facts) for each in found.get(key, []))


def _any(key: str) -> Callable[[Any, Facts], Known]:
    return lambda found, facts: some(matches(each, facts) for each in found.get(key, []))


def _any_rule(found: Json, facts: Facts) -> Known:
    """As `_any`; a list of exact paths, which may be long, is looked through by itself."""
    others = []
    for each in found.get("rules", []):
        path = each["urlPath"].get("path", {}) if "urlPath" in each else {}
        if len(path) != 1 or "exact" not in path:
            others.append(each)
        elif path["exact"] == facts.bare_path:
            return True
    return some(matches(each, facts) for each in others)


def _not(matcher: Json, facts: Facts) -> Known:
    return negated(matches(matcher, facts))


_MATCHERS: Mapping[str, Callable[[Any, Facts], Known]] = {
    "any": lambda found, _: found is True,
    "andRules": _all("rules"),
    "andIds": _all("ids"),
    "orRules": _any_rule,
    "orIds": _any("ids"),
    "notRule": _not,
    "notId": _not,
    "header": _header,
    "urlPath": _path,
    "uriTemplate": _template,
    "authenticated": _authenticated,
    "destinationPort": lambda found, facts: found == facts.port,
    "destinationIp": lambda found, facts: _in_range(found, facts.destination_ip),
    "directRemoteIp": lambda found, facts: _in_range(found, facts.source_ip),
    "remoteIp": lambda found, facts: _in_range(found, facts.remote_ip),
    "requestedServerName": _server_name,
    "metadata": _metadata,
}
