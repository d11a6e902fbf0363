"""Which kinds of objects an API server serves, and at which paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from meshward.cluster.connection import Object, Server
from meshward.cluster.refusals import Refused


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """One kind in one version. `group` is empty for the core's; `plural` is its name in paths."""

    group: str
    version: str
    name: str
    plural: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Of one object, of all in `namespace`, or of all there are."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{within}/{self.plural}" + (f"/{name}" if name else "")

    def path_of(self, item: Object) -> str:
        return self.path(item["metadata"].get("namespace"), item["metadata"]["name"])


def served_kinds(server: Server, groups: Iterable[str]) -> list[Kind]:
    """Each kind of `groups` that can be listed, in the version that the server likes best. Absent groups are absent."""
    wanted = set(groups)
    found: dict[tuple[str, str], Kind] = {}
    if "" in wanted:
        found |= {("", kind.plural): kind for kind in _kinds(server, "", "v1")}
    for group in server.get("/apis").get("groups") or ():
        if group["name"] not in wanted:
            continue
        best = group["preferredVersion"]["version"]
        versions = [best, *(each["version"] for each in group["versions"] if each["version"] != best)]
        for version in versions:
            for kind in _kinds(server, group["name"], version):
                found.setdefault((kind.group, kind.plural), kind)
    return sorted(found.values())


def served_in(server: Server, api_version: str) -> list[Kind]:
    """The kinds of exactly this version; none where it is not served."""
    group, _, version = api_version.rpartition("/")
    try:
        return list(_kinds(server, group, version))
    except Refused as refused:
        if refused.refusal.status == 404:
            return []
        raise


def _kinds(server: Server, group: str, version: str) -> Iterator[Kind]:
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    for each in server.get(root).get("resources") or ():
        if "/" not in each["name"] and "list" in each.get("verbs", ()):
            yield Kind(group, version, each["kind"], each["name"], bool(each.get("namespaced")))
