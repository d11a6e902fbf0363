"""A site file: where a policy's names live in one environment. The policy is the same everywhere; this is not.

Every class here is one mapping in the file; schemas/site.schema.json is made from it. What it says is only where
something is. What follows from that for who may do what (nothing, or the site is refused) `check.site` proves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError
from typing_extensions import TypeAliasType

from meshward.kit.canonical import canonical_json
from meshward.kit.errors import PolicyInvalid, Problem
from meshward.policy.jsonschema import Format
from meshward.policy.positions import Positions
from meshward.policy.rules import MOST_PROBLEMS
from meshward.policy.shape import shape_problems
from meshward.policy.texts import Hostname, Name, TrustDomain
from meshward.policy.tree import Source, Unusable, read_tree

DnsLabel = TypeAliasType(
    "DnsLabel",
    Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            description="A DNS label (RFC 1123): at most 63 of `a-z`, `0-9`, `-`; no `-` at either end.",
            examples=["models"],
        ),
    ],
)
ServiceAccount = TypeAliasType(
    "ServiceAccount",
    Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$",
            max_length=253,
            description="A Kubernetes object's name (RFC 1123 subdomain).",
            examples=["nginx"],
        ),
    ],
)
LabelKey = TypeAliasType(
    "LabelKey",
    Annotated[
        str,
        Field(
            pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
            description="A Kubernetes label's key.",
            examples=["app"],
        ),
    ],
)
LabelValue = TypeAliasType(
    "LabelValue",
    Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
            description="A Kubernetes label's value; not empty.",
            examples=["minilm"],
        ),
    ],
)
_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = (
    rf"({_LABEL}\.)*[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?"  # its last label is no number: else it is an address
)
Loopback = TypeAliasType(
    "Loopback",
    Annotated[
        str,
        Field(
            pattern=rf"^(127(\.{_OCTET}){{3}}|::1)$",
            description="An address that a machine, or a pod, has for itself: `127.x.y.z` or `::1`.",
            examples=["127.0.2.1"],
        ),
    ],
)
Port = TypeAliasType("Port", Annotated[int, Field(ge=1, le=65535, description="A TCP port.")])
Labels = TypeAliasType(
    "Labels",
    Annotated[
        dict[LabelKey, LabelValue], Field(min_length=1, description="Labels, all of which a pod must have.")
    ],
)


def _form(value: object) -> str:
    keys = (
        value.keys()
        if isinstance(value, dict)
        else type(value).model_fields
        if isinstance(value, BaseModel)
        else ()
    )
    return "<elsewhere>" if "guard" in keys else "<mesh>"


class _Node(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, populate_by_name=True, use_attribute_docstrings=True
    )


class Workload(_Node):
    """Who a workload is in this mesh: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`."""

    namespace: DnsLabel
    """Its namespace."""
    service_account: ServiceAccount
    """Its ServiceAccount. Whoever may use it is this workload."""


class Edge(_Node):
    """The edge in this mesh."""

    workload: Workload = Workload(namespace="edge", service_account="nginx")
    """Who it is. Nobody else may use this ServiceAccount: whoever does may show any token that he has seen."""
    select: Labels = {"app": "nginx"}
    """The labels of its pods."""
    sidecar: Loopback = "127.0.2.1"
    """Where its sidecar takes what nginx sends to services of the mesh, in plain HTTP: at each service's own port.
    Whoever reaches it speaks as the edge."""


class Logs(_Node):
    """How hop logs reach the collector."""

    source: Annotated[Literal["file", "sidecar"], Field(alias="from")] = "file"
    """`file`: on the same machine. `sidecar`: by a reader in the pod."""


class Mesh(_Node):
    """The mesh's own settings, where they are not its defaults."""

    root_namespace: DnsLabel = "istio-system"
    """Where what holds for the whole mesh is written."""
    cluster_domain: Hostname = "cluster.local"
    """The end of a service's name."""
    revision: DnsLabel | None = None
    """The control plane's revision, where it has one."""
    mode: Literal["sidecar", "ambient"] = "sidecar"
    """`ambient`: models are guarded by waypoints."""


class Service(_Node):
    """A version that runs behind a service of the mesh."""

    namespace: DnsLabel
    """Its namespace."""
    service: DnsLabel
    """The service's name."""
    port: Port
    """The service's port."""
    target_port: Port | None = None
    """The port of its pods, where that is another one."""
    select: Labels
    """The labels of its pods, and of no others."""
    service_account: ServiceAccount | None = None
    """The ServiceAccount of its pods."""


class Elsewhere(_Node):
    """A version behind a guard of ours on another machine."""

    guard: Annotated[
        str,
        Field(
            pattern=rf"^(\[[0-9a-f:]{{2,39}}\]|{_OCTET}(\.{_OCTET}){{3}}|{_NAME}):{_PORT}$",
            max_length=260,
            description="A host name or IP address, and a port.",
            examples=["gpu1.internal:8443", "10.0.0.7:8443"],
        ),
    ]
    """Where that guard listens. The edge verifies the version's DNS name in its SVID."""


Place = Annotated[
    Annotated[Service, Tag("<mesh>")] | Annotated[Elsewhere, Tag("<elsewhere>")], Discriminator(_form)
]


class Site(_Node):
    """Where the policy's names live in one environment."""

    version: Literal[1]
    """The version of this format."""
    trust_domain: TrustDomain | None = None
    """In place of the policy's."""
    edge: Edge = Edge()
    """The edge."""
    logs: Logs = Logs()
    """Hop logs."""
    mesh: Mesh = Mesh()
    """The mesh."""
    workloads: dict[Name, Workload] = {}
    """Who the policy's workloads are here."""
    models: dict[Name, dict[Name, Place]] = {}
    """Where each version of each model runs."""

    @property
    def digest(self) -> str:
        """SHA-256 of its canonical content, in hex: equal sites have equal ones, however they are written."""
        return sha256(site_to_json(self).encode()).hexdigest()


SITE_FORMAT = Format(Site, "meshward site", "the site")


@dataclass(frozen=True, slots=True)
class SiteDocument:
    """A site that has its form, and where each of its values stands."""

    site: Site
    positions: Positions


def parse_site(source: Source) -> SiteDocument:
    """The site that `source` says. Raises PolicyInvalid with all problems, in the file's order."""
    problems: list[Problem] = []
    try:
        root = read_tree(source, problems)
    except Unusable as error:
        raise PolicyInvalid([*problems, error.problem]) from None
    positions = Positions(root)
    try:
        site = Site.model_validate(root.value, by_alias=True, by_name=False)
    except ValidationError as error:
        known = {problem.where for problem in problems}
        found = (each for each in shape_problems(error, positions, SITE_FORMAT) if each.where not in known)
        problems += islice(found, MOST_PROBLEMS)
        raise PolicyInvalid(problems) from None
    if problems:
        raise PolicyInvalid(problems)
    return SiteDocument(site, positions)


def site_to_json(site: Site) -> str:
    """The site as one canonical line of JSON, which `parse_site` reads back as the same site."""
    return canonical_json(site.model_dump(mode="json", by_alias=True, exclude_none=True))


def site_from_json(text: str) -> Site:
    """What `site_to_json` wrote. Raises ValueError for what is no site."""
    return Site.model_validate_json(text, by_alias=True, by_name=False)


def placed_versions(site: Site) -> Mapping[tuple[str, str], Service | Elsewhere]:
    """Every version that it places, by (model, version)."""
    return {
        (model, version): place
        for model, versions in site.models.items()
        for version, place in versions.items()
    }
