"""What is there of ours, and of others at the places of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from meshward.cluster.connection import Object, Server, list_all
from meshward.cluster.discovery import Kind, served_in, served_kinds
from meshward.cluster.manifest import Key, key_of, manifest
from meshward.cluster.ownership import adopters, is_owned, is_same, strange_fields
from meshward.cluster.read import MESH_GROUPS
from meshward.cluster.refusals import Refused, refused_error
from meshward.kit import codes
from meshward.kit.errors import MeshwardError

_ADMISSION = "admissionregistration.k8s.io"
_ELSEWHERE = {
    "": ("services",),
    _ADMISSION: ("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
}
"""Of groups that are not the mesh's alone, what we ever write."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """`raw`: objects as the server has them, that are ours or at a place that ours are to have. `kinds`: by their keys.

    `left`: ours once, and somebody else's by now: what they are and whose.
    """

    raw: Mapping[Key, Object]
    kinds: Mapping[tuple[str, str], Kind]
    left: Mapping[Key, Sequence[str]]

    def live(self, wanted: Mapping[Key, Object]) -> dict[Key, Object]:
        """As somebody would write it; what says what is wanted is that."""
        found = {key: manifest(body) for key, body in self.raw.items() if key not in self.left}
        return {
            key: wanted[key] if key in wanted and is_same(self.raw[key], wanted[key]) else body
            for key, body in found.items()
        }

    def path(self, key: Key) -> str:
        return self.kinds[key.group, key.kind].path(key.namespace or None, key.name)


def take_stock(
    server: Server, wanted: Mapping[Key, Object], owner: str, *, takeover: bool = False
) -> Inventory:
    """Raises MeshwardError for kinds that are not served (MW5065), for objects of somebody else at a place of ours
    (MW5070) and for what others added to ours (MW5066), unless these are to be taken over; and Refused."""
    kinds = _kinds(server, wanted.values())
    raw: dict[Key, Object] = {}
    left: dict[Key, Sequence[str]] = {}
    for kind in kinds.values():
        for item in _listed(server, kind):
            key = key_of(item)
            if key in wanted:
                raw[key] = item
            elif is_owned(item, owner):
                raw[key] = item
                if others := adopters(item):
                    left[key] = others
    _require_staying(raw, wanted)
    if not takeover:
        _require_ours(raw, wanted, owner)
    return Inventory(raw, kinds, left)


def _kinds(server: Server, wanted: Iterable[Object]) -> dict[tuple[str, str], Kind]:
    """Every kind that we ever write: in the version that is wanted, or the one that the server likes best."""
    found = {
        (kind.group, kind.name): kind
        for kind in _served(server)
        if kind.plural in _ELSEWHERE.get(kind.group, (kind.plural,))
    }
    named = {(str(body["apiVersion"]), str(body["kind"])) for body in wanted}
    for version in sorted({version for version, _ in named}):
        served = {kind.name: kind for kind in served_in(server, version)}
        for name in sorted(name for each, name in named if each == version):
            if name not in served:
                raise MeshwardError(codes.CLUSTER_LACKS, f"`{server.name}` serves no {name} in {version}")
            found[served[name].group, name] = served[name]
    return found


def _served(server: Server) -> list[Kind]:
    try:
        return served_kinds(server, (*MESH_GROUPS, *_ELSEWHERE))
    except Refused as refused:
        raise refused_error(refused.refusal, "the kinds that it serves", server.name) from None


def _listed(server: Server, kind: Kind) -> list[Object]:
    try:
        found = list_all(server, kind.path())
    except Refused as refused:
        raise refused_error(refused.refusal, f"reading every {kind.name}", server.name) from None
    return [{**item, "apiVersion": kind.api_version, "kind": kind.name} for item in found]


def _require_staying(raw: Mapping[Key, Object], wanted: Mapping[Key, Object]) -> None:
    """What somebody is deleting is there until its finalizers are gone, and then it is not."""
    for key in wanted:
        if key in raw and raw[key]["metadata"].get("deletionTimestamp"):
            waits = ", ".join(f"`{each}`" for each in raw[key]["metadata"].get("finalizers") or ())
            message = f"{key} is being deleted by somebody else, and waits for {waits or 'nothing'}"
            raise MeshwardError(codes.CHANGED_MEANWHILE, message)


def _require_ours(raw: Mapping[Key, Object], wanted: Mapping[Key, Object], owner: str) -> None:
    for key, body in wanted.items():
        there = raw.get(key)
        if there is None:
            continue
        if not is_owned(there, owner):
            whose = ", ".join(f"`{name}`" for name in adopters(there)) or "nobody that the server knows"
            raise MeshwardError(codes.NOT_OURS, f"{key} is there already, written by {whose}")
        if strange := strange_fields(there, body):
            said = "; ".join(f"`{name}` owns `{where}`" for name, where in strange)
            remedy = "Have them take it out: what is in it besides is not ours to judge."
            raise MeshwardError(codes.FIELD_OWNED_BY_ANOTHER, f"{key}: {said}", remedy)
