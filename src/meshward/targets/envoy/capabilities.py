"""What a guard made of stock Envoy enforces, what it cannot, and what this emitter does not do yet.

Read by `plan.coverage`; docs/support.md is made from it.
"""

from __future__ import annotations

from types import MappingProxyType

from meshward.plan.features import Can, Cannot, Feature, NotYet, Table

_FILTERS = "https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters"
_JWT = f"{_FILTERS}/jwt_authn_filter"
_RBAC = f"{_FILTERS}/rbac_filter"
_DECIDED = Cannot(
    "roles and conditions are resolved to the token's one permission before it comes here",
    "adr/0002-one-permission-per-token.md",
)
_PAST = Cannot("clients do not come here", "life-of-a-request.md")
_NO_LEDGER = Cannot(
    "it counts its own requests: tokens, hours and days are a ledger's work",
    f"{_FILTERS}/local_rate_limit_filter",
)
_BEGUN = Cannot("RBAC judges a request when it begins: a running answer goes on", _RBAC)
_OF_THE_EDGE = Cannot("whether requests are recorded is asked before they come here", "life-of-a-request.md")

CAPABILITIES: Table = MappingProxyType(
    {
        Feature.CALLER: Can("mTLS, TLS 1.3, exactly one SPIFFE ID, the edge's; no session is resumed"),
        Feature.TRANSACTION_TOKEN: Can(
            "jwt_authn with current and next key: signature, issuer, subject, at most 60 s (and 5 s skew) left; "
            "one token serves its decision's whole window, by design"
        ),
        Feature.PERMISSION: Can(
            "jwt_authn per exact method and path: the permission is among the token's audiences"
        ),
        Feature.ROUTES: Can(
            "a route for each that some grant gives; what has none meets a rule that no token passes"
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
        Feature.CANONICAL_REQUEST: NotYet(
            "host, method and path are compared whole; a query passes as it came"
        ),
        Feature.BODY_ROUTING: Cannot("it stands for one version of one model", "life-of-a-request.md"),
        Feature.IDENTITY_HEADERS: Can("those that name a caller are taken off, and all that begin with ours"),
        Feature.LISTENER: _PAST,
        Feature.EDGE_CERTIFICATE: _PAST,
        Feature.TRUSTED_PROXIES: _PAST,
        Feature.NEXT_HOP: Cannot("it is the last hop", "upstreams.md#who-else-can-reach-a-server"),
        Feature.TOKEN_TYPE: Cannot(
            "jwt_authn ignores `typ` and `crit`: the signing key must sign nothing else", _JWT
        ),
        Feature.TOKEN_AGE: Cannot("`iat` is not read, only what is left of a token's life", _JWT),
        Feature.REVOKED_SUBJECT: Can(
            "RBAC: a live token of theirs is refused, some 70 ms after the revocation"
        ),
        Feature.REVOKED_AGENT: Can(
            "RBAC: anywhere in `act`, as far as a chain may reach; beyond it all are refused"
        ),
        Feature.REVOKED_TOKEN: Cannot(
            "a Transaction Token does not carry its credential's `jti`: one that lives goes on, 66 s at most",
            "life-of-a-change.md#revocation",
        ),
        Feature.REVOKED_STREAM: _BEGUN,
        Feature.EXPIRED_STREAM: _BEGUN,
        Feature.REQUEST_RATE: Cannot(
            "a guard sees one version's requests: it holds a net of twice the limit, full again after new rules",
            f"{_FILTERS}/local_rate_limit_filter",
        ),
        Feature.REQUEST_LEDGER: _NO_LEDGER,
        Feature.TOKEN_BUDGET: _NO_LEDGER,
        Feature.CONCURRENCY: Cannot(
            "a guard sees one version's requests", f"{_FILTERS}/local_rate_limit_filter"
        ),
        Feature.SHARED_LIMIT: _DECIDED,
        Feature.MAX_BODY: Can(
            "by the length that a request tells, else buffered up to the model's size; beyond it 413"
        ),
        Feature.TIMEOUT: Can("the longest silence of a request, and its whole length"),
        Feature.WEIGHTS: Cannot("it stands for one version of one model", "traffic.md"),
        Feature.REPLICAS: Can(
            "one endpoint each; who breaks off three times is left out; no POST is sent twice"
        ),
        Feature.HEALTH: Can("asked each second where there is another server or version to go to"),
        Feature.SERVER_CREDENTIAL: Can("credential_injector, from a watched file"),
        Feature.PASSED_SUBJECT: Can("jwt_authn's own header of the verified `sub`; one that came is wiped"),
        Feature.HTTPS_UPSTREAM: NotYet("servers behind https are not yet reached"),
        Feature.HOSTED_ENDPOINT: NotYet("hosted Inference Endpoints are not yet reached"),
        Feature.BODY_MODEL: NotYet(
            "bodies pass as they came: models on one server are told apart by the edge alone"
        ),
        Feature.CALLS: NotYet("calls from model to model are not yet let through"),
        Feature.CACHE: Cannot(
            "each answer is for one token's holder", "adr/0002-one-permission-per-token.md"
        ),
        Feature.LOG: Can("one JSON line per request with the verified claims; a full disk stops nothing"),
        Feature.BODY_DIGESTS: NotYet("a Lua filter would; until then it logs the edge's, marked as told"),
        Feature.CAPTURE: NotYet("capture modes other than `digest` are not yet recorded"),
        Feature.BLOCK_WHEN_BLIND: _OF_THE_EDGE,
        Feature.MAX_BLIND: _OF_THE_EDGE,
        Feature.ALERT_WHEN_BLIND: _OF_THE_EDGE,
        Feature.ROTATION: Can("SVID, trust bundle and token keys each by a renamed file"),
    }
)
