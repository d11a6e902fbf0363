"""What EnvoyFilters do to the chain that decides. What is not known here is said, never taken for harmless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from meshward.align.istio.filters import HTTP_RBAC
from meshward.align.istio.matchers import JWT_FILTER
from meshward.align.istio.objects import MeshObject, Ref, items, mapping, text
from meshward.align.istio.paths import Normalization, merged

_MANAGER = "envoy.filters.network.http_connection_manager"
_INBOUND = ("", "ANY", "SIDECAR_INBOUND")
# They can only refuse a request more, or are of no meaning for who is let in.
_NARROW = {"local_ratelimit.v3.LocalRateLimit", "buffer.v3.Buffer"}
_TYPES = "type.googleapis.com/envoy.extensions.filters.http."
_SLASHES = {
    "KEEP_UNCHANGED": "keep",
    "REJECT_REQUEST": "reject",
    "UNESCAPE_AND_REDIRECT": "redirect",
    "UNESCAPE_AND_FORWARD": "forward",
}
_ELSEWHERE = {"CLUSTER", "BOOTSTRAP"}


@dataclass(frozen=True, slots=True)
class Patched:
    """`removed`, `slashes`, `merged`: by which object; `normalization` after all; `unknown` could mean anything."""

    normalization: Normalization
    removed: Mapping[str, Ref] = field(default_factory=dict)
    unknown: tuple[tuple[Ref, str], ...] = ()
    slashes: Ref | None = None
    merged: Ref | None = None


def apply(objects: Sequence[MeshObject], start: Normalization, ports: Sequence[int]) -> Patched:
    """Removals and insertions are kept apart: a filter that was put in again is unknown."""
    state = Patched(start)
    for each in objects:
        for patch in items(each.spec.get("configPatches")):
            state = _patch(state, each.ref, mapping(patch), ports)
    return state


def _patch(state: Patched, ref: Ref, patch: Mapping[str, Any], ports: Sequence[int]) -> Patched:
    match, change = mapping(patch.get("match")), mapping(patch.get("patch"))
    if text(match.get("context")) not in _INBOUND or text(patch.get("applyTo")) in _ELSEWHERE:
        return state
    listener = mapping(match.get("listener"))
    port = listener.get("portNumber")
    if isinstance(port, int) and port and ports and port not in ports:
        return state
    chain = mapping(mapping(listener.get("filterChain")).get("filter"))
    plain = not (match.keys() - {"context", "listener"}) and not (
        listener.keys() - {"filterChain", "portNumber"}
    )
    on_manager = text(chain.get("name")) in ("", _MANAGER)
    if plain and on_manager and not mapping(listener.get("filterChain")).keys() - {"filter"}:
        known = _known(state, ref, text(patch.get("applyTo")), chain, change)
        if known is not None:
            return known
    what = (
        f"{text(patch.get('applyTo')) or 'a patch'} {text(change.get('operation')) or 'without an operation'}"
    )
    return replace(state, unknown=(*state.unknown, (ref, what)))


def _known(
    state: Patched, ref: Ref, target: str, chain: Mapping[str, Any], change: Mapping[str, Any]
) -> Patched | None:
    """The state behind a patch whose meaning is known; None for any other."""
    operation, value = text(change.get("operation")), mapping(change.get("value"))
    below = text(mapping(chain.get("subFilter")).get("name"))
    if target == "HTTP_FILTER" and operation == "REMOVE" and below:
        if below in (HTTP_RBAC, JWT_FILTER):
            return replace(state, removed={**state.removed, below: ref})
        return None
    if target == "HTTP_FILTER" and operation.startswith(("INSERT", "ADD")):
        config = mapping(value.get("typed_config")) or mapping(value.get("typedConfig"))
        return state if text(config.get("@type")).removeprefix(_TYPES) in _NARROW else None
    if target == "NETWORK_FILTER" and operation == "MERGE":
        return _manager(state, ref, value)
    return None


def _manager(state: Patched, ref: Ref, value: Mapping[str, Any]) -> Patched | None:
    """Settings of paths; a `false` changes nothing, since messages are merged."""
    if value.keys() - {"name", "typed_config", "typedConfig"} or text(value.get("name")) not in (
        "",
        _MANAGER,
    ):
        return None
    config = mapping(value.get("typed_config")) or mapping(value.get("typedConfig"))
    told = {_snake(str(key)): each for key, each in config.items() if key != "@type"}
    if told.keys() - {"normalize_path", "merge_slashes", "path_with_escaped_slashes_action"}:
        return None
    action = text(told.get("path_with_escaped_slashes_action", ""))
    if told.get("path_with_escaped_slashes_action", "") != action or (action and action not in _SLASHES):
        return None
    found = merged(
        state.normalization,
        canonical=told.get("normalize_path") is True,
        merge=told.get("merge_slashes") is True,
        slashes=_SLASHES.get(action, ""),
    )
    merges = ref if told.get("merge_slashes") is True else state.merged
    return replace(state, normalization=found, slashes=ref if action else state.slashes, merged=merges)


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)
