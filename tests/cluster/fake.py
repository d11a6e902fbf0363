"""An API server in memory: server-side apply with owners of fields, resource versions, and faults when told to.

It knows the kinds that a mesh has. Owners are kept for each field of an object that is not inside a list.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from meshward.cluster.connection import Object, Query, unreachable_error
from meshward.cluster.refusals import Refusal, Refused

SERVED: Mapping[str, Mapping[str, tuple[str, bool]]] = {
    "v1": {
        "Namespace": ("namespaces", False),
        "ConfigMap": ("configmaps", True),
        "Pod": ("pods", True),
        "Secret": ("secrets", True),
        "Service": ("services", True),
    },
    "apps/v1": {"Deployment": ("deployments", True)},
    "coordination.k8s.io/v1": {"Lease": ("leases", True)},
    "security.istio.io/v1": {
        "AuthorizationPolicy": ("authorizationpolicies", True),
        "PeerAuthentication": ("peerauthentications", True),
        "RequestAuthentication": ("requestauthentications", True),
    },
    "networking.istio.io/v1": {
        "DestinationRule": ("destinationrules", True),
        "ServiceEntry": ("serviceentries", True),
        "Sidecar": ("sidecars", True),
        "VirtualService": ("virtualservices", True),
    },
    "networking.istio.io/v1alpha3": {"EnvoyFilter": ("envoyfilters", True)},
    "telemetry.istio.io/v1": {"Telemetry": ("telemetries", True)},
}
WRITES = ("create", "replace", "apply", "merge", "delete")
_PLAIN: Query = MappingProxyType({})


def _nothing(*_: object) -> None:
    return None


@dataclass
class FakeServer:
    """`before` and `after` are called around each request with its method and path; what they raise, the client meets.

    What `before` raises was not done, what `after` raises was.
    """

    name: str = "https://cluster.test"
    objects: dict[str, Object] = field(default_factory=dict)
    user: str = "somebody"
    page: int = 2
    asked: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[str, str], None] = _nothing
    after: Callable[[str, str], None] = _nothing
    refuse: Callable[[str, str, Object], Refusal | None] = _nothing
    _versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def get(self, path: str, query: Query = _PLAIN) -> Object:
        self.asked.append(("get", path))
        self.before("get", path)
        answer = copy.deepcopy(self._found(path, query))
        self.after("get", path)
        return answer

    def create(self, path: str, body: Object) -> Object:
        if path.endswith("/selfsubjectreviews"):
            return {"status": {"userInfo": {"username": self.user}}}
        return self._write("create", f"{path}/{body['metadata']['name']}", body, {})

    def replace(self, path: str, body: Object) -> Object:
        return self._write("replace", path, body, {})

    def apply(self, path: str, body: Object, query: Query) -> Object:
        return self._write("apply", path, body, query)

    def merge(self, path: str, body: Object, query: Query) -> Object:
        return self._write("merge", path, body, query)

    def delete(self, path: str, body: Object, query: Query = _PLAIN) -> Object:
        return self._write("delete", path, body, query)

    def put(self, body: Object, manager: str = "somebody") -> Object:
        """As another manager writes it."""
        return self._apply(self.path(body), body, {"fieldManager": manager, "force": "true"})

    def mesh(self) -> dict[str, Object]:
        """What istiod would read."""
        return {path: body for path, body in self.objects.items() if ".istio.io/" in path}

    def path(self, body: Object) -> str:
        plural, namespaced = SERVED[body["apiVersion"]][body["kind"]]
        root = "/api/v1" if body["apiVersion"] == "v1" else f"/apis/{body['apiVersion']}"
        within = f"/namespaces/{body['metadata']['namespace']}" if namespaced else ""
        return f"{root}{within}/{plural}/{body['metadata']['name']}"

    def _write(self, method: str, path: str, body: Object, query: Query) -> Object:
        dry = query.get("dryRun") == "All"
        self.asked.append((f"dry {method}" if dry else method, path))
        self.before("dry" if dry else method, path)
        if (refusal := self.refuse(method, path, body)) is not None:
            raise Refused(refusal)
        kept = copy.deepcopy(self.objects)
        answer = copy.deepcopy(getattr(self, f"_{method}")(path, copy.deepcopy(body), query))
        if dry:
            self.objects = kept
        self.after("dry" if dry else method, path)
        return answer

    def _found(self, path: str, query: Query) -> Object:
        if path == "/apis":
            groups: dict[str, list[str]] = {}
            for api_version in SERVED:
                group, _, version = api_version.rpartition("/")
                if group:
                    groups.setdefault(group, []).append(version)
            return {"groups": [_group(name, versions) for name, versions in groups.items()]}
        api_version = path.removeprefix("/apis/").removeprefix("/api/")
        if api_version in SERVED:
            return {"resources": [_resource(k, *v) for k, v in SERVED[api_version].items()]}
        if path in self.objects:
            return self.objects[path]
        if path.rsplit("/", 1)[-1] not in {
            plural for kinds in SERVED.values() for plural, _ in kinds.values()
        }:
            raise Refused(Refusal(404, "NotFound", f"{path} not found"))
        return self._listed(path, query)

    def _listed(self, path: str, query: Query) -> Object:
        root, plural = path.rsplit("/", 1)
        namespaced = "/namespaces/" in path
        inside = [
            item
            for key, item in sorted(self.objects.items())
            if (key.rsplit("/", 1)[0] == path)
            or (not namespaced and key.startswith(root + "/") and key.split("/")[-2] == plural)
        ]
        start = int(query.get("continue", 0))
        more = str(start + self.page) if start + self.page < len(inside) else ""
        items = [{k: v for k, v in item.items() if k not in ("apiVersion", "kind")} for item in inside]
        return {"items": items[start : start + self.page], "metadata": {"continue": more}}

    def _create(self, path: str, body: Object, _query: Query) -> Object:
        if path in self.objects:
            raise Refused(Refusal(409, "AlreadyExists", f"{path} already exists"))
        return self._store(path, body, [])

    def _replace(self, path: str, body: Object, _query: Query) -> Object:
        self._demand(path, body["metadata"].get("resourceVersion"))
        return self._store(path, body, [])

    def _merge(self, path: str, body: Object, _query: Query) -> Object:
        self._demand(path, None)
        return self._store(path, _merged(self.objects[path], body), self._managed(path))

    def _delete(self, path: str, body: Object, _query: Query) -> Object:
        self._demand(path, (body.get("preconditions") or {}).get("resourceVersion"))
        del self.objects[path]
        return {"kind": "Status", "status": "Success"}

    def _apply(self, path: str, body: Object, query: Query) -> Object:
        manager, there = query["fieldManager"], self.objects.get(path)
        if wanted := body["metadata"].pop("resourceVersion", None):
            self._demand(path, wanted)
        mine = set(_leaves(body))
        owners = {each["manager"]: _owned(each["fieldsV1"]) for each in self._managed(path)}
        causes = tuple(
            (".".join(leaf), f'conflict with "{other}" using {body["apiVersion"]}')
            for other, leaves in owners.items()
            for leaf in sorted(mine & leaves)
            if other != manager and _at(there, leaf) != _at(body, leaf)
        )
        if causes and query.get("force") != "true":
            raise Refused(Refusal(409, "Conflict", f"Apply failed with {len(causes)} conflict", causes))
        result = copy.deepcopy(there) if there else {}
        others = set().union(*(leaves for other, leaves in owners.items() if other != manager), set())
        for leaf in owners.get(manager, set()) - mine - others:
            _drop(result, leaf)
        result = _merged(result, body)
        taken = {leaf for leaf in mine if _at(there, leaf) != _at(body, leaf)}
        owners = {other: leaves - (taken if other != manager else set()) for other, leaves in owners.items()}
        owners[manager] = mine
        managed = [_entry(name, leaves) for name, leaves in sorted(owners.items()) if leaves]
        if there and {**there, "metadata": _plain(there)} == {**result, "metadata": _plain(result)}:
            there["metadata"]["managedFields"] = managed
            return there
        return self._store(path, result, managed)

    def _managed(self, path: str) -> list[Object]:
        there = self.objects.get(path)
        found: list[Object] = there["metadata"].get("managedFields") or [] if there else []
        return found

    def _demand(self, path: str, version: str | None) -> None:
        if path not in self.objects:
            raise Refused(Refusal(404, "NotFound", f"{path} not found"))
        if version is not None and self.objects[path]["metadata"]["resourceVersion"] != version:
            raise Refused(Refusal(409, "Conflict", "the object has been modified"))

    def _store(self, path: str, body: Object, managed: list[Object]) -> Object:
        number = next(self._versions)
        before = self.objects.get(path)
        uid = before["metadata"]["uid"] if before else f"uid-{number}"
        marks = {"uid": uid, "resourceVersion": str(number), "managedFields": managed}
        self.objects[path] = {**body, "metadata": {**body["metadata"], **marks}}
        return self.objects[path]


def _group(name: str, versions: list[str]) -> Object:
    return {
        "name": name,
        "preferredVersion": {"version": versions[0]},
        "versions": [{"version": version} for version in versions],
    }


def _resource(kind: str, plural: str, namespaced: bool) -> Object:
    return {"kind": kind, "name": plural, "namespaced": namespaced, "verbs": ["get", "list", "patch"]}


def _plain(item: Object) -> Object:
    return {k: v for k, v in item["metadata"].items() if k not in ("managedFields", "resourceVersion", "uid")}


_IDENTITY = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
Leaf = tuple[str, ...]


def _leaves(value: Any, path: Leaf = ()) -> Iterator[Leaf]:
    if isinstance(value, dict) and (value or not path):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif path not in _IDENTITY:
        yield path


def _entry(manager: str, leaves: set[Leaf]) -> Object:
    fields: Object = {}
    for leaf in leaves:
        place = fields
        for part in leaf:
            place = place.setdefault(f"f:{part}", {})
    return {"manager": manager, "operation": "Apply", "fieldsV1": fields}


def _owned(fields: Object, path: Leaf = ()) -> set[Leaf]:
    if not fields:
        return {path}
    inner = [_owned(value, (*path, key.removeprefix("f:"))) for key, value in fields.items()]
    return set().union(*inner)


def _at(value: Any, leaf: Leaf) -> Any:
    for part in leaf:
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value


def _drop(value: Object, leaf: Leaf) -> None:
    for part in leaf[:-1]:
        value = value.get(part, {})
    value.pop(leaf[-1], None)


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def broken(server: FakeServer) -> Exception:
    """As a connection that broke."""
    return unreachable_error(server.name, ConnectionResetError())
