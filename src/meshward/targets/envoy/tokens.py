"""How a guard verifies a Transaction Token (ECDS): by whom, for whom, for which permission, and what it takes from it.

Each action of the model has a requirement, which its routes name; one whose permission is not among the token's
audiences is refused. What no route serves falls to a rule that no token meets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshward.kit import codes
from meshward.kit.canonical import canonical_json
from meshward.kit.errors import MeshwardError
from meshward.policy.schema import ACTIONS
from meshward.targets.envoy.projection import GuardView
from meshward.targets.envoy.wire import (
    GRANT_HEADER,
    JWT_RESOURCE,
    PASSED_SUBJECT_HEADER,
    REVISION_HEADER,
    SUBJECT_HEADER,
    TOKEN_HEADER,
    TXN_HEADER,
    Json,
    typed_extension,
)

MAX_LIFETIME = 60  # seconds; bounds what is left of a token's life, the minter alone bounds the whole
CLOCK_SKEW = 5
LONGEST_CHAIN = 8  # agents; the policy's bound of `max_depth`
_PROVIDER = "txn"
_NOBODY = " "  # an audience that no token has: a permission and a trust domain are never blank
# <issuer's name>:<stable id>; jwt_authn itself passes a token without any `sub`.
_SUBJECT = "(?s)[^:]+:.+"
# One that is passed on as a header: no character that could end it.
_PLAIN_SUBJECT = r"[^:\x00-\x1f\x7f]+:[^\x00-\x1f\x7f]+"
_PUBLIC_MEMBERS = ("kty", "crv", "x", "y", "kid", "alg", "use")


def token_keys(view: GuardView, keys: Sequence[Mapping[str, Any]], cache: int) -> Json:
    """The jwt_authn filter for tokens signed by one of `keys` (EC P-256 JWKs); it keeps `cache` tokens.

    Which actions have a route takes no part: a grant that comes or goes leaves the tokens that are kept.
    """
    if not keys:
        raise MeshwardError(codes.NO_TXN_KEY, "there is no Transaction Token key")
    permissions = [f"{view.model}.{action}" for action in ACTIONS]
    filter_ = typed_extension(
        "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers={_PROVIDER: _provider(view, keys, cache)},
        requirement_map={permission: _require(permission) for permission in permissions},
        rules=[{"match": {"prefix": "/"}, "requires": _require(_NOBODY)}],
        strip_failure_response=True,
    )
    return typed_extension("config.core.v3.TypedExtensionConfig", name=JWT_RESOURCE, typed_config=filter_)


def _provider(view: GuardView, keys: Sequence[Mapping[str, Any]], cache: int) -> Json:
    headers = claim_headers(view) | ({PASSED_SUBJECT_HEADER: "sub"} if "subject" in view.told else {})
    return {
        "issuer": view.issuer,
        "audiences": [_NOBODY],
        "subjects": {"safe_regex": {"regex": _PLAIN_SUBJECT if view.told else _SUBJECT}},
        "local_jwks": {"inline_string": canonical_json({"keys": [_public(key) for key in keys]})},
        "from_headers": [{"name": TOKEN_HEADER}],
        "forward": False,
        "claim_to_headers": [{"header_name": name, "claim_name": claim} for name, claim in headers.items()],
        "require_expiration": True,
        "max_lifetime": f"{MAX_LIFETIME}s",
        "clock_skew_seconds": CLOCK_SKEW,
        "jwt_cache_config": {"jwt_cache_size": cache, "jwt_max_token_size": 8192},
    }


def _require(audience: str) -> Json:
    return {"provider_and_audiences": {"provider_name": _PROVIDER, "audiences": [audience]}}


def claim_headers(view: GuardView) -> dict[str, str]:
    """The headers between our own filters, and the verified claims that they hold: by name, a dot for each step."""
    depths = range(1, LONGEST_CHAIN + 2) if view.agents else ()
    return {
        SUBJECT_HEADER: "sub",
        GRANT_HEADER: "tctx.grant",
        REVISION_HEADER: "tctx.rev",
        TXN_HEADER: "txn",
        **{actor_header(depth): "act." * depth + "sub" for depth in depths},
    }


def actor_header(depth: int) -> str:
    """The header of the agent that stands at `depth` of the actor chain; 1: the current one."""
    return f"x-mw-act-{depth}"


def _public(key: Mapping[str, Any]) -> Json:
    """`key`, public members only. One of another kind, or without `alg`, would accept more than ES256."""
    whole = all(key.get(name) for name in ("kid", "x", "y"))
    if not whole or (key.get("kty"), key.get("crv"), key.get("alg")) != ("EC", "P-256", "ES256"):
        raise MeshwardError(
            codes.TXN_KEY_NOT_WHOLE,
            "a Transaction Token key is not a whole ES256 key with a `kid`",
        )
    return {name: key[name] for name in _PUBLIC_MEMBERS if name in key}
