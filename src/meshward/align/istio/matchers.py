"""Envoy's matchers as istiod writes them of a value: `*` alone, in front or at the end is a wildcard."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]
JWT_FILTER, PAYLOAD = "envoy.filters.http.jwt_authn", "payload"
_META = re.compile(r"[\\.+*?()|\[\]{}^$]")


class NotCompiled(ValueError):
    """A value or key that istiod does not understand: an ALLOW rule is dropped, a DENY loses the condition."""


def quoted(text: str) -> str:
    """`text` as a regular expression that matches it alone, in Go's spelling."""
    return _META.sub(lambda found: "\\" + found.group(), text)


def regex(pattern: str) -> Json:
    return {"safeRegex": {"regex": pattern}}


def word(kind: str, value: str, *, ignore_case: bool = False) -> Json:
    """`kind`: exact, prefix or suffix."""
    return {kind: value, **({"ignoreCase": True} if ignore_case else {})}


def value_matcher(value: str, prefix: str = "") -> Json:
    """The matcher of `value` behind `prefix`; `*` is anything that is not empty, whatever the prefix."""
    if value == "*":
        return regex(".+")
    if value.startswith("*"):
        return regex(f"{prefix}.*{quoted(value[1:])}") if prefix else word("suffix", value[1:])
    if value.endswith("*"):
        return word("prefix", prefix + value[:-1])
    return word("exact", prefix + value)


def header(name: str, value: str, *, ignore_case: bool = False) -> Json:
    if value == "*":
        return {"header": {"name": name, "presentMatch": True}}
    if value.startswith("*"):
        found = word("suffix", value[1:], ignore_case=ignore_case)
    elif value.endswith("*"):
        found = word("prefix", value[:-1], ignore_case=ignore_case)
    else:
        found = word("exact", value, ignore_case=ignore_case)
    return {"header": {"name": name, "stringMatch": found}}


def path(value: str) -> Json:
    """A path, or a template of segments: `{*}` one, `{**}` any number."""
    if "{*}" not in value and "{**}" not in value:
        return {"urlPath": {"path": value_matcher(value)}}
    config = {
        "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
        "pathTemplate": value.replace("{*}", "*").replace("{**}", "**"),
    }
    return {"uriTemplate": {"name": "uri-template", "typedConfig": config}}


def port(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", value) or int(value) > 65535:
        raise NotCompiled(f"`{value}` is no port")
    return int(value)


def cidr(value: str) -> Json:
    """An address or a network; the host bits stay as they are written."""
    address, slash, bits = value.partition("/")
    try:
        found = ipaddress.ip_address(address)
        length = int(bits) if slash else found.max_prefixlen
        if "%" in address or (
            slash and (not re.fullmatch(r"0|[1-9][0-9]{0,2}", bits) or length > found.max_prefixlen)
        ):
            raise ValueError(value)
    except ValueError:
        raise NotCompiled(f"`{value}` is no address and no network") from None
    return {"addressPrefix": str(found), "prefixLen": length}


def any_of(matchers: Sequence[Json]) -> Json:
    return matchers[0] if len(matchers) == 1 else {"orMatch": {"valueMatchers": list(matchers)}}


def metadata(name: str, keys: Sequence[str], value: Json) -> Json:
    return {"metadata": {"filter": name, "path": [{"key": key} for key in keys], "value": value}}


def claim(keys: Sequence[str], values: Sequence[str]) -> Json:
    """A claim that is one of `values`, or a list that holds one."""
    one = any_of([{"stringMatch": value_matcher(value)} for value in values])
    both = [{"listMatch": {"oneOf": one}}, one]
    return metadata(JWT_FILTER, [PAYLOAD, *keys], {"orMatch": {"valueMatchers": both}})


def claim_word(key: str, matcher: Json) -> Json:
    return metadata(JWT_FILTER, [PAYLOAD, key], {"stringMatch": matcher})
