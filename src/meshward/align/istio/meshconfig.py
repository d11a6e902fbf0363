"""What istiod's MeshConfig says about who may reach what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

PATHS = ("DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")
_EXPORTS = {
    "defaultServiceExportTo": "Service",
    "defaultVirtualServiceExportTo": "VirtualService",
    "defaultDestinationRuleExportTo": "DestinationRule",
}


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """`providers` by name, each as written; `unread` names settings that are not what they should be."""

    trust_domain: str = "cluster.local"
    aliases: tuple[str, ...] = ()
    root_namespace: str = "istio-system"
    normalization: str = "DEFAULT"
    providers: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    unread: tuple[str, ...] = ()
    interception: str = ""
    mutual: bool = True  # whether connections are by the mesh's identity where nobody says how
    authorities: int = 0  # further ones that sign for workloads
    exported: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))  # by kind
    revision: str | None = None  # not known: it reads what is for any


def read_config(body: object) -> MeshConfig:
    """`body` as parsed from YAML, whatever it is."""
    found = body if isinstance(body, Mapping) else {}
    unread: list[str] = [] if isinstance(body, Mapping) or body is None else ["the mesh's configuration"]

    def text(name: str, default: str) -> str:
        value = found.get(name, default)
        if not isinstance(value, str):
            unread.append(name)
            return default
        return value or default

    aliases = found.get("trustDomainAliases", [])
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        unread.append("trustDomainAliases")
        aliases = []
    paths = found.get("pathNormalization", {})
    normalization = paths.get("normalization", "DEFAULT") if isinstance(paths, Mapping) else None
    if normalization not in PATHS:
        unread.append("pathNormalization")
        normalization = "NONE"  # whatever it means, it is not more than this
    providers = found.get("extensionProviders", [])
    named = {
        each["name"]: each
        for each in (providers if isinstance(providers, list) else [])
        if isinstance(each, Mapping) and isinstance(each.get("name"), str)
    }
    return MeshConfig(
        trust_domain=text("trustDomain", "cluster.local"),
        aliases=tuple(aliases),
        root_namespace=text("rootNamespace", "istio-system"),
        normalization=str(normalization),
        providers=named,
        unread=tuple(unread),
        mutual=found.get("enableAutoMtls") is not False,
        interception=_interception(found.get("defaultConfig")),
        authorities=len(more) if isinstance(more := found.get("caCertificates"), list) else 0,
        exported={
            kind: tuple(told) for name, kind in _EXPORTS.items() if isinstance(told := found.get(name), list)
        },
    )


def _interception(config: object) -> str:
    mode = config.get("interceptionMode") if isinstance(config, Mapping) else None
    return mode if isinstance(mode, str) else ""
