"""A guard as files: a fixed bootstrap, the watched files, and a static twin to be judged beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshward.kit.canonical import canonical_json
from meshward.kit.secret import Secret
from meshward.targets.envoy import resources, tokens
from meshward.targets.envoy.listener import GuardSettings, PartSource, callers_only, listener
from meshward.targets.envoy.projection import GuardView
from meshward.targets.envoy.resources import BUNDLE, RULES, SERVER, SVID, TOKEN_KEYS, SentKey
from meshward.targets.envoy.wire import CREDENTIAL, Json, typed_extension

_JWT_TYPE = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"


@dataclass(frozen=True, slots=True)
class GuardIdentity:
    """What a guard is given beside the policy: PEM texts; the current and the next signing key as JWKs."""

    chain: str
    key: Secret
    bundle: str
    token_keys: Sequence[Mapping[str, Any]]
    sent: SentKey | None = None  # to its servers; exactly where the view has a credential


@dataclass(frozen=True, slots=True)
class GuardFiles:
    """`xds` maps a file's stem to its bytes, `versions` to its digest. `twin` too holds the private key."""

    bootstrap: bytes
    xds: Mapping[str, bytes] = field(repr=False)
    twin: bytes = field(repr=False)
    versions: Mapping[str, str]

    @property
    def by_path(self) -> Mapping[str, bytes]:
        """What the guard reads, by path below the directory of what it is given."""
        watched = {f"xds/{stem}.json": content for stem, content in self.xds.items()}
        return {**watched, "guard.json": self.bootstrap}


def render(view: GuardView, settings: GuardSettings, identity: GuardIdentity) -> GuardFiles:
    """Every file of one guard. Raises MeshwardError for an upstream or a key that a guard cannot use."""
    content = {
        **changing_content(view, settings, identity.token_keys),
        SVID: resources.svid(identity.chain, identity.key),
        BUNDLE: resources.bundle(identity.bundle),
    }
    versions = {name: resources.version_of(each) for name, each in content.items()}
    twin = encode_file(_twin(view, settings, content))
    if view.credential:
        if identity.sent is None:
            raise ValueError("a guard that sends a key needs one")
        content[CREDENTIAL] = resources.credential(identity.sent.secret)
        versions[CREDENTIAL] = identity.sent.edition
    return GuardFiles(
        bootstrap=bootstrap(view, settings),
        xds={
            name: encode_file(resources.discovery_response(each, versions[name]))
            for name, each in content.items()
        },
        twin=twin,
        versions=versions,
    )


def changing_digests(
    view: GuardView, settings: GuardSettings, token_keys: Sequence[Mapping[str, Any]]
) -> Mapping[str, str]:
    """The digests of the files by which a new policy changes a running guard, by file stem.

    Raises MeshwardError for an upstream or a key that a guard cannot use.
    """
    content = changing_content(view, settings, token_keys)
    return {name: resources.version_of(each) for name, each in content.items()}


def bootstrap(view: GuardView, settings: GuardSettings) -> bytes:
    """The file that a guard is started with: to change it takes another guard."""
    return encode_file(_bootstrap(view, settings))


def command(binary: str, given: str) -> list[str]:
    """The argument list that runs the guard whose bootstrap is `given`/guard.json."""
    return [
        binary,
        "-c", f"{given}/guard.json",
        "--concurrency", "1",
        "--disable-hot-restart",
        "--file-flush-interval-msec", "50",
        # Without this a mistyped field inside RBACPerRoute is a warning, and everything is allowed.
        "--reject-unknown-dynamic-fields",
        "--log-level", "warning",
    ]  # fmt: skip


def validate_command(binary: str, twin: str) -> list[str]:
    """The argument list that judges the twin in the file `twin`: exit 0 or 1, in some 60 ms."""
    return [
        binary,
        "--mode",
        "validate",
        "-c",
        twin,
        "--reject-unknown-dynamic-fields",
        "--log-level",
        "error",
    ]


def changing_content(
    view: GuardView, settings: GuardSettings, token_keys: Sequence[Mapping[str, Any]]
) -> dict[str, Json]:
    """In the order in which they are to be written: a route must not name a server before it is there."""
    return {
        SERVER: resources.server(view),
        TOKEN_KEYS: tokens.token_keys(view, token_keys, settings.token_cache),
        RULES: resources.rules(view, settings.max_identities),
    }


def encode_file(value: Json) -> bytes:
    return canonical_json(value).encode()


def _bootstrap(view: GuardView, settings: GuardSettings) -> Json:
    def watched(name: str) -> Json:
        source = {"path": f"{settings.xds}/{name}.json", "watched_directory": {"path": settings.xds}}
        return {"path_config_source": source, "resource_api_version": "V3"}

    validation = {
        "default_validation_context": callers_only(view),
        "validation_context_sds_secret_config": {"name": BUNDLE, "sds_config": watched(BUNDLE)},
    }
    source = PartSource(
        routes={"rds": {"route_config_name": "guard", "config_source": watched(RULES)}},
        token={"config_discovery": {"config_source": watched(TOKEN_KEYS), "type_urls": [_JWT_TYPE]}},
        tls={
            "tls_certificate_sds_secret_configs": [{"name": SVID, "sds_config": watched(SVID)}],
            "combined_validation_context": validation,
        },
        credential={"name": CREDENTIAL, "sds_config": watched(CREDENTIAL)},
    )
    return {
        **_frame(view, settings),
        "static_resources": {"listeners": [listener(view, settings, source, settings.access_log)]},
        "dynamic_resources": {"cds_config": watched(SERVER)},
    }


def _twin(view: GuardView, settings: GuardSettings, content: Mapping[str, Json]) -> Json:
    """The same guard with everything inline, for the vendor's judgement: nothing runs from it."""
    trust = {**content[BUNDLE]["validation_context"], **callers_only(view)}
    source = PartSource(
        routes={"route_config": _without_type(content[RULES])},
        token={"typed_config": content[TOKEN_KEYS]["typed_config"]},
        tls={"tls_certificates": [content[SVID]["tls_certificate"]], "validation_context": trust},
        credential={"name": CREDENTIAL},
    )
    static: Json = {
        # Judging opens the log, and would leave it to the guard as the judge's own file.
        "listeners": [listener(view, settings, source, log="/dev/null")],
        "clusters": [_without_type(content[SERVER])],
    }
    if (
        view.credential
    ):  # its place is judged, not its value: the real one is nowhere but in the guard's own file
        static["secrets"] = [_without_type(resources.credential(Secret("any")))]
    return {**_frame(view, settings), "static_resources": static}


def _without_type(resource: Json) -> Json:
    return {name: value for name, value in resource.items() if name != "@type"}


def _frame(view: GuardView, settings: GuardSettings) -> Json:
    monitor = typed_extension(
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=settings.max_connections,
    )
    return {
        "node": {"id": view.dns_name, "cluster": "meshward"},
        "admin": {"address": {"pipe": {"path": settings.admin_socket, "mode": 0o600}}},
        "overload_manager": {
            "resource_monitors": [
                {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": monitor}
            ]
        },
    }
