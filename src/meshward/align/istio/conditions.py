"""Each key of a rule as Envoy's permission or principal, the way istiod compiles it (security/authz/model)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from meshward.align.istio.matchers import (
    Json,
    NotCompiled,
    any_of,
    cidr,
    claim,
    claim_word,
    header,
    metadata,
    path,
    port,
    quoted,
    regex,
    value_matcher,
    word,
)

Each = Callable[[str, str], Json]
All = Callable[[str, Sequence[str]], Json]


@dataclass(frozen=True, slots=True)
class Condition:
    """One key: `each` compiles a value, `together` all of them; which side of a rule; whether TCP knows it."""

    side: Literal["permission", "principal"]
    each: Each | None = None
    together: All | None = None
    http_only: bool = False


def condition(key: str, namespace: str) -> Condition:
    """The condition of `key` in a policy of `namespace`. Raises NotCompiled for a key that istiod does not know."""
    if key == "source.serviceAccount":
        return Condition("principal", lambda _, value: _authenticated(regex(_account(namespace, value))))
    if found := _EXACT.get(key):
        return found
    for prefix, found in _PREFIXED:
        if key.startswith(prefix):
            return found
    raise NotCompiled(f"unknown attribute `{key}`")


def _authenticated(matcher: Json) -> Json:
    return {"authenticated": {"principalName": matcher}}


def _account(namespace: str, value: str) -> str:
    left, slash, right = value.partition("/")
    named, account = (left, right) if slash else (namespace, value)
    return f"spiffe://.+/ns/{quoted(named)}/(.+/|)sa/{quoted(account)}(/.+)?"


def _namespace(_: str, value: str) -> Json:
    pattern = ".*".join(quoted(part) for part in value.split("*"))
    return _authenticated(regex(f".*/ns/{pattern}/.*"))


def _trust_domain(_: str, value: str) -> Json:
    if value == "*":
        return _authenticated(word("prefix", "spiffe://"))
    if "*" not in value:
        return _authenticated(word("prefix", f"spiffe://{value}/"))
    left, _star, right = value.partition("*")
    return _authenticated(regex(f"spiffe://{quoted(left)}[^/]*{quoted(right)}/.*"))


def _principal(_: str, value: str) -> Json:
    return _authenticated(value_matcher(value, "spiffe://"))


def _request_principals(_: str, values: Sequence[str]) -> Json:
    found = [_request_principal(value) for value in values]
    return found[0] if len(found) == 1 else {"orIds": {"ids": found}}


def _request_principal(value: str) -> Json:
    """`issuer/subject`, split at the last `/`; a wildcard stands for a part of either."""
    left, slash, right = value.rpartition("/")
    issuer, subject = (left, right) if slash else (value, "")
    anything = regex(".+")
    if value == "*":
        parts = anything, anything
    elif value.startswith("*") and slash:
        parts = (anything if issuer == "*" else word("suffix", issuer[1:])), word("exact", subject)
    elif value.startswith("*"):
        parts = anything, word("suffix", value[1:])
    elif value.endswith("*") and slash:
        parts = word("exact", issuer), (anything if subject == "*" else word("prefix", subject[:-1]))
    elif value.endswith("*"):
        parts = word("prefix", value[:-1]), anything
    else:
        parts = word("exact", issuer), word("exact", subject)
    return {"andIds": {"ids": [claim_word("iss", parts[0]), claim_word("sub", parts[1])]}}


def _brackets(key: str, prefix: str) -> str:
    rest = key.removeprefix(prefix)
    if not rest.startswith("[") or not rest.endswith("]"):
        raise NotCompiled(f"`{key}` should be `{prefix}[NAME]`")
    return rest.removesuffix("]").removeprefix("[")


def _header(key: str, value: str) -> Json:
    return header(_brackets(key, "request.headers"), value)


def _claims(key: str, values: Sequence[str]) -> Json:
    return claim(_nested(key), values)


def _nested(key: str) -> list[str]:
    """`[a][b]` is two names; what is not well nested is one name, from the first bracket to the last."""
    rest = key.removeprefix("request.auth.claims")
    names = []
    at = 0
    while at < len(rest):
        end = rest.find("]", at)
        if rest[at] != "[" or end < 0 or "[" in rest[at + 1 : end]:
            return [_brackets(key, "request.auth.claims")]
        names.append(rest[at + 1 : end])
        at = end + 1
    return names


def _envoy(key: str, values: Sequence[str]) -> Json:
    name, bracket, inner = key.removeprefix("experimental.").removesuffix("]").partition("[")
    if not bracket:
        raise NotCompiled(f"`{key}` names no key of the metadata")
    return metadata(name, [inner], any_of([_envoy_value(value) for value in values]))


def _envoy_value(value: str) -> Json:
    if value.startswith("[") and value.endswith("]"):
        return {"listMatch": {"oneOf": {"stringMatch": value_matcher(value.strip("[]"))}}}
    return {"stringMatch": value_matcher(value)}


def _principal_side(each: Each) -> Condition:
    return Condition("principal", each)


METHOD, PATH, HOST = ":method", "path-matcher", ":authority"
_EXACT = {
    "source.ip": _principal_side(lambda _, value: {"directRemoteIp": cidr(value)}),
    "remote.ip": _principal_side(lambda _, value: {"remoteIp": cidr(value)}),
    "source.namespace": _principal_side(_namespace),
    "source.trustDomain": _principal_side(_trust_domain),
    "source.principal": _principal_side(_principal),
    "request.auth.principal": Condition("principal", together=_request_principals, http_only=True),
    "request.auth.audiences": Condition(
        "principal", together=lambda _, values: claim(["aud"], values), http_only=True
    ),
    "request.auth.presenter": Condition(
        "principal", together=lambda _, values: claim(["azp"], values), http_only=True
    ),
    "destination.ip": Condition("permission", lambda _, value: {"destinationIp": cidr(value)}),
    "destination.port": Condition("permission", lambda _, value: {"destinationPort": port(value)}),
    "connection.sni": Condition("permission", lambda _, value: {"requestedServerName": value_matcher(value)}),
    METHOD: Condition("permission", lambda _, value: header(METHOD, value), http_only=True),
    PATH: Condition("permission", lambda _, value: path(value), http_only=True),
    HOST: Condition("permission", lambda _, value: header(HOST, value, ignore_case=True), http_only=True),
}
_PREFIXED = (
    ("experimental.envoy.filters.", Condition("permission", together=_envoy)),
    ("request.headers", Condition("principal", _header, http_only=True)),
    ("request.auth.claims", Condition("principal", together=_claims, http_only=True)),
)
