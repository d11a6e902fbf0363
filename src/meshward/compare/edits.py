"""What differs between two plans, name by name, with the values of before and after."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, cast

from meshward.compare.words import duration_text, instant_text, member_text, some_text
from meshward.decide.wording import weekly
from meshward.kit.text import quoted
from meshward.plan.ir import (
    CachePolicy,
    Condition,
    Credential,
    Grant,
    Limits,
    Model,
    OnRequest,
    Plan,
    Selector,
    Version,
)
from meshward.policy.servers import Naming
from meshward.policy.values import Hours, Route


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """`what` of the policy (`grant`, `issuer`, ...) called `name` is `added`, `removed`, or says something else."""

    what: str
    name: str
    sentence: str


_KEYS = {
    "audiences": "audience", "url": "url", "jwks_url": "jwks.url", "jwks_file": "jwks.file", "allow": "jwks.allow",
    "max_stale": "jwks.max_stale", "login_client": "login.client", "upstream_model": "model", "told": "pass",
    "sources": "from", "seconds": "for", "certificate_path": "certificate.path", "capture": "audit.capture",
    "naming": "body_model", "shadow": "mode", "unless_via": "unless.via", "names": "",
}  # fmt: skip
"""What a policy calls a field of the plan, where that is something else."""
_DERIVED = frozenset({"id", "name", "dns_name", "digest"})
_SIZES = ((1 << 40, "t"), (1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k"))


def edits(old: Plan, new: Plan) -> Iterator[Edit]:
    yield from _by_name("grant", _by_id(old.grants), _by_id(new.grants))
    yield from _order(old.grants, new.grants)
    yield from _by_name("deny", _by_id(old.denies), _by_id(new.denies))
    yield from _by_name("never", _by_id(old.never), _by_id(new.never))
    yield from _by_name("issuer", old.issuers, new.issuers)
    yield from _by_name("agent", old.agents, new.agents)
    yield from _by_name("workload", old.workloads, new.workloads)
    yield from _by_name("alias", old.aliases, new.aliases)
    yield from _by_name("credential", old.credentials, new.credentials)
    for role in sorted(old.roles.keys() | new.roles.keys()):
        yield from _members(role, old, new)
    for name in sorted(old.models.keys() | new.models.keys()):
        yield from _model(name, old.models.get(name), new.models.get(name))
    yield from _by_name("operators", old.operators, new.operators)
    for what in ("trust_domain", "edge", "audit"):
        yield from _by_name("setting", {what: getattr(old, what)}, {what: getattr(new, what)})


def differences(old: Any, new: Any, keys: Collection[str] | None = None) -> str:
    """`timeout: 60s -> 90s, labels: +tier=gpu`: the fields of two values that differ, or of `keys` those."""
    if isinstance(old, Credential) or not is_dataclass(old):
        return _difference("", old, new)
    return ", ".join(f"{key}: {told}" for key, told in _differing(old, new, keys))


def _differing(old: Any, new: Any, keys: Collection[str] | None = None) -> Iterator[tuple[str, str]]:
    for name in (each.name for each in fields(old) if each.name not in _DERIVED):
        before, after = getattr(old, name), getattr(new, name)
        if before == after or (keys is not None and name not in keys):
            continue
        key = _KEYS.get(name, name)
        if isinstance(before, Condition | Selector) and type(before) is type(after):
            yield from (
                (f"{key}.{below}" if below else key, told) for below, told in _differing(before, after)
            )
        else:
            yield key, _difference(name, before, after)


def listed(words: Iterable[str]) -> str:
    """So many of them, and how many more there are."""
    return some_text(list(words), _MOST_SIGNS)


def _by_id(rules: Iterable[object]) -> dict[str, object]:
    return {str(getattr(rule, "id")): rule for rule in rules}  # noqa: B009  three kinds that share only this


def _by_name(what: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Edit]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield Edit(what, name, f"added{_contents(new[name])}")
        elif name not in new:
            yield Edit(what, name, "removed")
        elif old[name] != new[name] and (told := differences(old[name], new[name])):
            yield Edit(what, name, f"changed: {told}")


def _contents(given: Any) -> str:
    """What something new says, where there is something to say."""
    if isinstance(given, Credential) or not is_dataclass(given):
        return f": {_text('', given)}"
    said = [(each.name, getattr(given, each.name)) for each in fields(given) if each.name not in _DERIVED]
    told = [f"{_KEYS.get(name, name)} {_text(name, value)}" for name, value in said if _is_said(value)]
    return f": {', '.join(told)}" if told else ""


def _is_said(value: object) -> bool:
    return value is not None and value is not False and value not in ((), frozenset(), {})


def _order(old: Sequence[Grant], new: Sequence[Grant]) -> Iterator[Edit]:
    """Who pays is the first that holds: another order may mean other limits."""
    before, after = [each.id for each in old], [each.id for each in new]
    kept = [each for each in before if each in set(after)]
    if kept != [each for each in after if each in set(before)]:
        yield Edit("setting", "grants", "in another order: of several that hold, the first pays")


def _members(role: str, old: Plan, new: Plan) -> Iterator[Edit]:
    before, after = old.roles.get(role), new.roles.get(role)
    if before is None or after is None:
        lines = f": {listed(map(member_text, after))}" if after else ""
        yield Edit("role", role, "removed" if after is None else f"added{lines}")
        return
    known, now = set(map(_typed, before)), set(map(_typed, after))
    for line in after:
        if _typed(line) not in known:
            until = f" until {_end_text(line.until)}" if line.until is not None else ""
            yield Edit("role", role, f"{member_text(line)} becomes a member{until}")
    for line in before:
        if _typed(line) not in now:
            until = f" (was until {_end_text(line.until)})" if line.until is not None else ""
            yield Edit("role", role, f"{member_text(line)} is a member no more{until}")


def _typed(line: object) -> str:
    """1 and `true` are not the same claim, though Python finds them equal."""
    return repr(line)


def _model(name: str, old: Model | None, new: Model | None) -> Iterator[Edit]:
    if new is None:
        yield Edit("model", name, "removed")
        return
    versions = {each.name: each for each in old.versions} if old else {}
    for edit in _by_name("version", versions, {each.name: each for each in new.versions}):
        yield Edit("version", f"{name}/{edit.name}", edit.sentence)
    if old is None:
        yield Edit("model", name, f"added{_contents(replace(new, versions=(), aliases=()))}")
        return
    keys = [each.name for each in fields(old) if each.name not in ("versions", "aliases")]
    if told := differences(old, new, keys):
        yield Edit("model", name, f"changed: {told}")


def _difference(name: str, old: object, new: object) -> str:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return _some_signs(_mapping_signs(old, new))
    if isinstance(old, tuple | frozenset) and isinstance(new, tuple | frozenset) and new:
        signs = [f"+{_text('', each)}" for each in new if each not in old]
        signs += [f"-{_text('', each)}" for each in old if each not in new]
        return _some_signs(sorted(signs)) or "in another order"
    before, after = _text(name, old), _text(name, new)
    return f"{before} -> {after}" if before != after else f"{after}, which is not what it was"


def _mapping_signs(old: Mapping[object, object], new: Mapping[object, object]) -> list[str]:
    signs = [f"+{_pair(key, new[key])}" for key in new if key not in old]
    signs += [f"-{_pair(key, old[key])}" for key in old if key not in new]
    both = [key for key in new if key in old and old[key] != new[key]]
    return signs + [f"{key}: {_text('', old[key])} -> {_text('', new[key])}" for key in both]


def _pair(key: object, value: object) -> str:
    return f"{key} ({value})" if isinstance(key, Route) else f"{key}={_text('', value)}"


def _some_signs(signs: list[str]) -> str:
    return ", ".join(
        [*signs[:_MOST_SIGNS], *([f"{len(signs) - _MOST_SIGNS} more"] if len(signs) > _MOST_SIGNS else [])]
    )


_MOST_SIGNS = 12


def _text(name: str, value: object) -> str:
    """A value as a policy spells it, or shorter."""
    if value is None or value in ((), frozenset(), {}):
        return "none"
    if name in _BY_KEY:
        return _BY_KEY[name](value)
    for kind, spelled in _BY_KIND.items():
        if isinstance(value, kind):
            return spelled(value)
    if isinstance(value, tuple | frozenset | list):
        return listed(sorted(_text("", each) for each in value))
    return _some_signs(_mapping_signs({}, value)) if isinstance(value, Mapping) else str(value)


def _end_text(end: object) -> str:
    return instant_text(int(str(end)))


def _seconds(value: object) -> str:
    return duration_text(int(str(value)))


def _size(value: object) -> str:
    size = int(str(value))
    shorter = ((each, unit) for each, unit in _SIZES if size >= each and size % each == 0)
    return next((f"{size // each}{unit}" for each, unit in shorter), str(size))


_BY_KEY: Mapping[str, Callable[[object], str]] = {
    **dict.fromkeys(("expires", "until"), _end_text),
    **dict.fromkeys(
        ("timeout", "max_duration", "max_stale", "max_blind", "retention", "seconds", "ttl", "fresh"),
        _seconds,
    ),
    **dict.fromkeys(("max_body", "max_disk"), _size),
    "upstream_model": quoted,
    "hours": lambda value: weekly(cast(Hours, value)),
    "shadow": lambda value: "shadow" if value else "enforce",
}


def _limits(given: Limits) -> str:
    parts = [
        f"{rate} {what}" for what, rate in (("requests", given.requests), ("tokens", given.tokens)) if rate
    ]
    parts += [f"{given.concurrent} at once"] if given.concurrent is not None else []
    return f"{', '.join(parts)} per {given.per}"


def _when(given: Condition) -> str:
    parts = [
        given.sources and f"from {listed(map(str, given.sources))}",
        given.hours and weekly(given.hours),
        given.fresh and f"fresh {duration_text(given.fresh)}",
        given.via and f"via {listed(given.via)}",
        given.person and f"person {given.person}",
        given.actor and f"actor {given.actor}",
    ]
    return "; ".join(part for part in parts if part)


def _selector(given: Selector) -> str:
    same = f"{listed(sorted(given.names))}"
    return f"{same} where {listed(given.same)} is the caller's" if given.same else same


def _credential(given: Credential) -> str:
    """The arguments of a command may be long, or secret."""
    return f"{given.source} {given.place[0]}{' ...' if len(given.place) > 1 else ''}"


def _cache(given: CachePolicy) -> str:
    return f"{duration_text(given.ttl)} for {given.share}"


def _request(given: OnRequest) -> str:
    approved = f", approved by {listed(given.approve)}" if given.approve else ""
    told = f", told to {listed(given.tell)}" if given.tell else ""
    return f"for {duration_text(given.seconds)}{approved}{told}"


def _naming(given: Naming) -> str:
    return given.does


def _version(given: Version) -> str:
    return f"{given.server} at {given.url}"


_BY_KIND: Mapping[type, Callable[..., str]] = {
    Limits: _limits,
    Condition: _when,
    Selector: _selector,
    Credential: _credential,
    CachePolicy: _cache,
    OnRequest: _request,
    Version: _version,
    Naming: _naming,
}
