"""What a mesh of Istio enforces at a model's sidecar, what it cannot, and what this emitter does not do yet.

Read by `plan.coverage`; docs/support.md is made from it. Whatever a row does not claim here was seen to pass a real
sidecar, or is nowhere in Istio's API: docs/istio.md says which.
"""

from __future__ import annotations

from types import MappingProxyType

from meshward.plan.features import Can, Cannot, Feature, NotYet, Table

_DECIDED = Cannot(
    "roles and conditions are resolved to the token's one permission before it comes here",
    "adr/0002-one-permission-per-token.md",
)
_PAST = Cannot("clients do not come here", "life-of-a-request.md")
_COUNTS = Cannot(
    "a sidecar counts by itself, and only by EnvoyFilter: `--allow envoyfilter` gives a net of twice the limit",
    "istio.md#limits",
)
_NO_LEDGER = Cannot("tokens, hours and days are a ledger's work", "istio.md#limits")
_BEGUN = Cannot("RBAC judges a request when it begins: a running answer goes on", "istio.md#what-it-leaves")
_OF_THE_EDGE = Cannot("whether requests are recorded is asked before they come here", "life-of-a-request.md")
_NO_BODIES = Cannot("a sidecar does not look into bodies", "istio.md#what-it-leaves")
_LIVES_ON = "a live token is good until its end and 60 s of skew"

CAPABILITIES: Table = MappingProxyType(
    {
        Feature.CALLER: Can("STRICT mTLS, and an AuthorizationPolicy for exactly one principal, the edge's"),
        Feature.TRANSACTION_TOKEN: Can(
            "RequestAuthentication with current and next key: signature, issuer, audience, `exp` with 60 s of skew "
            "(a token without one would pass: the edge mints none); without a token no rule matches"
        ),
        Feature.PERMISSION: Can(
            "AuthorizationPolicy per exact method and path: the permission is among the token's audiences"
        ),
        Feature.ROUTES: Can(
            "exact paths alone, never templates; what has none is denied, as is every other spelling that the "
            "sidecar does not first make into that path"
        ),
        Feature.IDENTITY: _DECIDED,
        Feature.WORKLOADS: _DECIDED,
        Feature.ROLES: _DECIDED,
        Feature.CONDITIONS: _DECIDED,
        Feature.ATTRIBUTES: _DECIDED,
        Feature.DENIES: _DECIDED,
        Feature.EXPIRY: _DECIDED,
        Feature.SHADOW: _DECIDED,
        Feature.ON_REQUEST: _DECIDED,
        Feature.VIA: _DECIDED,
        Feature.AGENTS: _DECIDED,
        Feature.CANONICAL_REQUEST: Cannot(
            "it serves `/x/../embed`, `\\embed` and `/%65mbed` as `/embed`", "istio.md#spellings"
        ),
        Feature.BODY_ROUTING: _NO_BODIES,
        Feature.IDENTITY_HEADERS: Cannot(
            "headers pass as they came; a forged X-Forwarded-Client-Cert stays before its own",
            "istio.md#what-it-leaves",
        ),
        Feature.LISTENER: _PAST,
        Feature.EDGE_CERTIFICATE: _PAST,
        Feature.TRUSTED_PROXIES: _PAST,
        Feature.NEXT_HOP: Can("ISTIO_MUTUAL at the edge's own sidecar: the SPIFFE ID of the version's pods"),
        Feature.TOKEN_TYPE: Cannot(
            "`typ` is not read: the signing key must sign nothing else", "istio.md#what-it-leaves"
        ),
        Feature.TOKEN_AGE: Cannot(
            "`iat` is not read, and a token without `exp` passes: the minter alone bounds a token's life",
            "istio.md#what-it-leaves",
        ),
        Feature.REVOKED_SUBJECT: NotYet(f"a DENY by request principal would; until then {_LIVES_ON}"),
        Feature.REVOKED_AGENT: NotYet(f"a DENY by claim would; until then {_LIVES_ON}"),
        Feature.REVOKED_TOKEN: Cannot(
            f"a Transaction Token does not carry its credential's `jti`: {_LIVES_ON}",
            "life-of-a-change.md#revocation",
        ),
        Feature.REVOKED_STREAM: _BEGUN,
        Feature.EXPIRED_STREAM: _BEGUN,
        Feature.REQUEST_RATE: _COUNTS,
        Feature.REQUEST_LEDGER: _NO_LEDGER,
        Feature.TOKEN_BUDGET: _NO_LEDGER,
        Feature.CONCURRENCY: Cannot("a connection pool counts for all callers together", "istio.md#limits"),
        Feature.SHARED_LIMIT: _DECIDED,
        Feature.MAX_BODY: Cannot("there is no limit of a body's size in its API", "istio.md#what-it-leaves"),
        Feature.TIMEOUT: Cannot(
            "it bounds a whole request, and no silence; of answers that stream we bound neither",
            "istio.md#what-it-leaves",
        ),
        Feature.WEIGHTS: Can(
            "weights of a VirtualService or HTTPRoute, for callers inside; the edge names the version itself"
        ),
        Feature.REPLICAS: Can(
            "endpoints of the Service; who breaks off three times is left out; no POST is sent twice"
        ),
        Feature.HEALTH: Cannot(
            "readiness is Kubernetes': pods that are not ready are no endpoints, where they have a probe",
            "istio.md#what-it-leaves",
        ),
        Feature.SERVER_CREDENTIAL: NotYet("a server's key is not sent: our guard in the pod would"),
        Feature.PASSED_SUBJECT: NotYet("outputClaimToHeaders would; servers are not yet told who asks"),
        Feature.HTTPS_UPSTREAM: NotYet("servers behind https are not yet reached from a sidecar"),
        Feature.HOSTED_ENDPOINT: NotYet(
            "the way to hosted Inference Endpoints is rendered; nobody yet sends their key"
        ),
        Feature.BODY_MODEL: _NO_BODIES,
        Feature.CALLS: NotYet(
            "calls from model to model are not yet let through: the edge mints no such tokens"
        ),
        Feature.CACHE: Cannot(
            "each answer is for one token's holder", "adr/0002-one-permission-per-token.md"
        ),
        Feature.LOG: Can(
            "one JSON line per request with the verified claims, by a log provider of the mesh; who fails at TLS "
            "leaves none"
        ),
        Feature.BODY_DIGESTS: Cannot("it logs the edge's, marked as told", "istio.md#what-it-leaves"),
        Feature.CAPTURE: _NO_BODIES,
        Feature.BLOCK_WHEN_BLIND: _OF_THE_EDGE,
        Feature.MAX_BLIND: _OF_THE_EDGE,
        Feature.ALERT_WHEN_BLIND: _OF_THE_EDGE,
        Feature.ROTATION: Can(
            "certificates by istiod; token keys by one write per guarded namespace, no restart"
        ),
    }
)
