"""The vectors of real sidecars: a mesh, edits of it, and what was answered; read into what the reader takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from meshward.align.istio.attach import Workload
from meshward.align.istio.jwks import key_id
from meshward.align.istio.meshconfig import MeshConfig, read_config
from meshward.align.istio.objects import Mesh, gather, read_object
from meshward.align.istio.request import Client, Request, Token, TokenText

NOW = 1_750_000_000
PORT = 15443
ADDRESSES = {"minilm": "127.0.3.1", "assistant": "127.0.3.2"}
_FIRST, _LATER = "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"
CONFIG = {"trustDomain": "meshward.test", "rootNamespace": "istio-system"}

Case = dict[str, Any]


class Drift:
    """`given.json`, or any file of its form."""

    def __init__(self, path: Path) -> None:
        found = json.loads(path.read_text())
        self.base: list[dict[str, Any]] = found["base"]
        self.cases: list[Case] = found["cases"]
        self.base_answers: Mapping[str, Mapping[str, int | str]] = found["base_answers"]
        self.keys = self._keys()
        self.requests = {
            model: {name: self._request(each, ADDRESSES[model]) for name, each in requests.items()}
            for model, requests in found["requests"].items()
        }

    def objects(self, case: Case | None) -> list[dict[str, Any]]:
        """The mesh behind an edit."""
        kept = {_named(each): _aged(each, _FIRST) for each in self.base}
        if case and not case.get("api_server_refused"):
            for name in case.get("delete", []):
                del kept[tuple(name)]
            for each in case.get("put", []):
                kept[_named(each)] = _aged(each, _FIRST if _named(each) in kept else _LATER)
        return list(kept.values())

    def config(self, case: Case | None) -> MeshConfig:
        return read_config({**CONFIG, **(yaml.safe_load((case or {}).get("mesh_config", "")) or {})})

    def mesh(self, case: Case | None) -> Mesh:
        return gather([read_object(each) for each in self.objects(case)], self.config(case))

    def expected(self, case: Case, model: str) -> dict[str, int | str]:
        return {**self.base_answers[model], **case["changed_answers"].get(model, {})}

    def _keys(self) -> dict[str, str]:
        """Which key material a name stands for: the first that says so."""
        keys: dict[str, str] = {}
        for each in [*self.base, *(put for case in self.cases for put in case.get("put", []))]:
            for rule in each.get("spec", {}).get("jwtRules", []):
                for key in _usable(rule.get("jwks", "")):
                    keys.setdefault(key.get("kid", ""), key_id(key))
        return keys

    def _request(self, told: Mapping[str, Any], address: str) -> Request:
        client = told["client"]
        headers: dict[str, Any] = {name: (value,) for name, value in told["headers"].items()}
        if told["token"]:
            token = told["token"]
            claims = {name: _time(value) for name, value in token["claims"].items()}
            signed = self.keys.get(token["signed_by"], token["signed_by"])
            before = "Bearer " if told["token_header"] == "authorization" else ""
            headers[told["token_header"]] = (TokenText(Token(claims, signed, token["kid"]), before),)
        return Request(
            Client(client["spiffe_id"], client["tls"], client["trusted_ca"]),
            told["method"],
            told["path"],
            headers,
            host=f"{address}:{PORT}",
            port=PORT,
            now=NOW,
            source_ip="127.0.0.1",
            remote_ip="127.0.0.1",
            destination_ip=address,
            sni="",
        )


def workload(model: str, mesh: Mesh) -> Workload:
    """The sidecars ran without interception; a proxy has the labels of the endpoint that has its address."""
    labels = {"app": model, "version": "v1"}
    for entry in mesh.all("ServiceEntry"):
        for endpoint in entry.spec.get("endpoints", []):
            if endpoint.get("address") == ADDRESSES[model]:
                labels = endpoint.get("labels", {})
    return Workload("models", labels, protocols={PORT: "http"}, intercepted=False)


def _aged(each: Mapping[str, Any], created: str) -> dict[str, Any]:
    """As the API server has it: what is written again keeps its age."""
    return {**each, "metadata": {**each["metadata"], "creationTimestamp": created}}


def _named(each: Mapping[str, Any]) -> tuple[str, str, str]:
    return (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])


def _time(value: Any) -> Any:
    return NOW + int(value[3:] or 0) if isinstance(value, str) and value.startswith("now") else value


def _usable(jwks: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(jwks)
    except ValueError:
        return []
    return found.get("keys", []) if isinstance(found, dict) else []
