"""The Kubernetes API as the lab writes to it: server-side apply, strict, with plain HTTP requests.

Not the client that `meshward apply` uses: what one of them misunderstands, the other shows.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from meshward.testing.waiting import DEADLINE, eventually

Json = dict[str, Any]
MANAGER = "lab"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class Refused(AssertionError):
    """The API server took it not: `status`, and its own sentence."""

    def __init__(self, status: int, message: str, what: str) -> None:
        super().__init__(f"{status} for {what}: {message}")
        self.status, self.message = status, message


@dataclass(frozen=True, slots=True)
class Kind:
    plural: str
    namespaced: bool


class KubernetesApi:
    """As the holder of `token`; `url` and `authority` (a PEM file) are the API server's."""

    def __init__(self, url: str, authority: Path, token: str) -> None:
        self.url, self.authority, self.token = url, authority, token
        self._kinds: dict[tuple[str, str], Kind] = {}
        self._http = httpx2.Client(
            base_url=url,
            verify=ssl.create_default_context(cafile=str(authority)),
            headers={"authorization": f"Bearer {token}"},
            timeout=DEADLINE,
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def acting_as(self, token: str) -> KubernetesApi:
        return KubernetesApi(self.url, self.authority, token)

    def is_ready(self) -> bool:
        return self._http.get("/readyz").status_code == 200

    def apply(
        self, given: Json, *, manager: str = MANAGER, dry_run: bool = False, force: bool = True
    ) -> Json:
        """Server-side apply, unknown fields refused. Raises Refused."""
        query = {"fieldManager": manager, "fieldValidation": "Strict", "force": str(force).lower()}
        if dry_run:
            query["dryRun"] = "All"
        return self._ask("PATCH", self.path(given), given, params=query, content_type=_APPLY)

    def set_status(self, given: Json, status: Json) -> Json:
        """What no controller is here to say of it."""
        return self._ask("PATCH", f"{self.path(given)}/status", {"status": status}, content_type=_MERGE)

    def get(self, given: Json) -> Json | None:
        """It as it stands there; None where it does not. `given`: apiVersion, kind, metadata."""
        try:
            return self._ask("GET", self.path(given))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def list(self, api_version: str, kind: str, namespace: str = "") -> list[Json]:
        """Of one namespace; `*`: of all."""
        found: list[Json] = self._ask("GET", self._collection(api_version, kind, namespace))["items"]
        return [{"apiVersion": api_version, "kind": kind, **each} for each in found]

    def delete(self, given: Json) -> None:
        """Also where it is not there. Raises Refused."""
        try:
            self._ask("DELETE", self.path(given))
        except Refused as refused:
            if refused.status != 404:
                raise

    def path(self, given: Json) -> str:
        meta = given["metadata"]
        collection = self._collection(given["apiVersion"], given["kind"], meta.get("namespace", ""))
        return f"{collection}/{meta['name']}"

    def wait_established(self, definitions: Iterable[Json]) -> None:
        """Until the API serves what these CustomResourceDefinitions define."""
        wanted = {given["metadata"]["name"] for given in definitions}

        def are_established() -> bool:
            there = self.list("apiextensions.k8s.io/v1", "CustomResourceDefinition")
            established = {
                crd["metadata"]["name"]
                for crd in there
                if any(
                    c["type"] == "Established" and c["status"] == "True"
                    for c in crd.get("status", {}).get("conditions") or []
                )
            }
            return wanted <= established

        eventually(are_established, what="the CustomResourceDefinitions")

    def _collection(self, api_version: str, kind: str, namespace: str) -> str:
        found = self._kind(api_version, kind)
        within = f"/namespaces/{namespace or 'default'}" if found.namespaced and namespace != "*" else ""
        return f"{_prefix(api_version)}{within}/{found.plural}"

    def _kind(self, api_version: str, kind: str) -> Kind:
        if (api_version, kind) not in self._kinds:
            for resource in self._ask("GET", _prefix(api_version))["resources"]:
                if "/" not in resource["name"]:
                    self._kinds[api_version, resource["kind"]] = Kind(
                        resource["name"], resource["namespaced"]
                    )
        if (api_version, kind) not in self._kinds:
            raise Refused(404, "the API serves no such kind", f"{api_version} {kind}")
        return self._kinds[api_version, kind]

    def _ask(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        answer = self._http.request(
            method, path, json=body, params=params, headers={"content-type": content_type}
        )
        if answer.status_code >= 300:
            raise Refused(answer.status_code, _message(answer), f"{method} {path}")
        found: Json = answer.json()
        return found


def _message(answer: httpx2.Response) -> str:
    try:
        return str(answer.json().get("message", answer.text))
    except ValueError:
        return answer.text


def _prefix(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
