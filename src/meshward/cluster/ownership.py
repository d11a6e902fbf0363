"""Whose an object and its fields are: by our annotation, and by what the API server notes of each manager. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshward.cluster.connection import Object
from meshward.cluster.manifest import SAYS

MANAGER = "meshward"
OWNER = "meshward/owner"
"""The annotation that names the edge by whose policy an object is there."""
_ISTIO = "istio.io/"
Leaf = tuple[str, ...]
"""The keys that lead to a field; a list is one field."""


def owned_by(body: Object, owner: str) -> Object:
    meta = body["metadata"]
    return {**body, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), OWNER: owner}}}


def is_owned(live: Object, owner: str) -> bool:
    """Whether we wrote it, for this edge."""
    named = (live["metadata"].get("annotations") or {}).get(OWNER)
    return named == owner and any(name == MANAGER for name, _, _ in _managers(live))


def adopters(live: Object) -> list[str]:
    """Who else has made it theirs: another object, who applies it too, or who wrote some of what it says."""
    found = {str(each.get("kind", "")) for each in live["metadata"].get("ownerReferences") or ()}
    for name, operation, leaves in _managers(live):
        if name != MANAGER and (operation == "Apply" or any(leaf[0] in SAYS for leaf in leaves)):
            found.add(name)
    return sorted(found)


def is_same(live: Object, wanted: Object) -> bool:
    """Whether `live` says what is `wanted`, by us, and nothing else but what the server adds by itself."""
    ours = {leaf for name, _, leaves in _managers(live) if name == MANAGER for leaf in leaves}
    if not _holds(live, wanted, exactly=_ISTIO in str(wanted["apiVersion"])):
        return False
    if not all(_is_covered(leaf, ours) for leaf in _leaves(_told(wanted))):
        return False
    return not any(_is_within(each, leaf) for leaf in _more(live, wanted) for each in ours)


def strange_fields(live: Object, wanted: Object) -> list[tuple[str, str]]:
    """What others have added: (manager, field). Of marks only those that mean something to Istio."""
    more = set(_more(live, wanted))
    return sorted(
        (name, ".".join(leaf))
        for name, _, leaves in _managers(live)
        if name != MANAGER
        for leaf in leaves
        if any(_is_within(leaf, each) for each in more)
    )


def field_changes(live: Object, wanted: Object) -> list[str]:
    """Where the two differ, as paths that people know."""
    return [
        path
        for name in (*SAYS, "metadata")
        for path in _differences(_said(live, name), _said(wanted, name), name)
    ]


def _said(body: Object, name: str) -> Any:
    if name != "metadata":
        return body.get(name) or {}
    return {key: body["metadata"].get(key) or {} for key in ("labels", "annotations")}


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif old != new:
        yield path


def _told(body: Object) -> Object:
    """What of it is compared."""
    marks = {key: body["metadata"][key] for key in ("labels", "annotations") if body["metadata"].get(key)}
    return {"metadata": marks, **{name: body[name] for name in SAYS if name in body}}


def _holds(live: Any, wanted: Any, *, exactly: bool) -> bool:
    """`exactly`: nothing is added inside of lists, where nobody's fields are told apart: Istio's have no defaults."""
    if isinstance(wanted, Mapping) and "metadata" in wanted and "kind" in wanted:
        wanted = _told(dict(wanted))
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            key in live and _holds(live[key], value, exactly=exactly) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(live, list)
            and len(live) == len(wanted)
            and all(
                one == other if exactly else _holds(one, other, exactly=exactly)
                for one, other in zip(live, wanted, strict=True)
            )
        )
    return bool(live == wanted)


def _leaves(value: Any, path: Leaf = ()) -> Iterator[Leaf]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path


def _more(live: Object, wanted: Object) -> Iterator[Leaf]:
    """Fields that `live` has and `wanted` has not."""
    told = _told(wanted)
    for leaf in _leaves(_told(live)):
        if leaf[0] == "metadata" and not (leaf[-1] == OWNER or _ISTIO in leaf[-1]):
            continue
        place: Any = told
        for part in leaf:
            if not isinstance(place, Mapping):
                break
            if part not in place:
                yield leaf
                break
            place = place[part]


def _is_covered(leaf: Leaf, owned: set[Leaf]) -> bool:
    return any(each[: len(leaf)] == leaf or leaf[: len(each)] == each for each in owned)


def _is_within(leaf: Leaf, field: Leaf) -> bool:
    """Whether `leaf` is `field`, or inside of it. What is inside of a field that is owned whole may be the server's."""
    return leaf[: len(field)] == field


def _managers(live: Object) -> Iterator[tuple[str, str, list[Leaf]]]:
    for entry in live["metadata"].get("managedFields") or ():
        if not entry.get("subresource"):
            name, operation = str(entry.get("manager", "")), str(entry.get("operation", ""))
            yield name, operation, list(_owned(entry.get("fieldsV1") or {}))


def _owned(fields: Mapping[str, Any], path: Leaf = ()) -> Iterator[Leaf]:
    if not fields and path:
        yield path
    for key, inner in fields.items():
        if key == ".":
            yield path
        else:
            yield from _owned(inner, (*path, key.removeprefix("f:")))
