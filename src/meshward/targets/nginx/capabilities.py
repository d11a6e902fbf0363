"""What stock nginx as an edge enforces, cannot, and does not yet. What it enforces, it is told by each decision.

Read by `plan.coverage`; docs/support.md is made from it.
"""

from __future__ import annotations

from types import MappingProxyType

from meshward.plan.features import Can, Cannot, Feature, NotYet, Table

_DOCS = "https://nginx.org/en/docs/http"
_NO_POLICY = Cannot(
    "no policy is in its file: it asks the decision service, and keeps the answer",
    "adr/0001-the-edge-is-a-fixed-program.md",
)
_CLIENTS = Cannot(
    "its callers are clients: they show a token of their issuer, or an SVID", "concepts.md#one-credential"
)
_SENDS = Cannot("it sends the token on unread", "life-of-a-request.md")
_BEHIND = Cannot("behind a guard; nginx knows its socket alone", "upstreams.md")
_NO_LEDGER = Cannot(
    "limit_req counts per second and minute: this is a ledger's work",
    f"{_DOCS}/ngx_http_limit_req_module.html",
)
_ASKED_AGAIN = Cannot(
    "it asks the decision service: no answer from before a revocation is used after it",
    "life-of-a-change.md#revocation",
)

CAPABILITIES: Table = MappingProxyType(
    {
        Feature.CALLER: _CLIENTS,
        Feature.TRANSACTION_TOKEN: _SENDS,
        Feature.PERMISSION: _SENDS,
        Feature.ROUTES: _NO_POLICY,
        Feature.IDENTITY: _NO_POLICY,
        Feature.WORKLOADS: Can(
            "nginx verifies the certificate, the decision whose it is; both are in the key"
        ),
        Feature.ROLES: _NO_POLICY,
        Feature.CONDITIONS: _NO_POLICY,
        Feature.ATTRIBUTES: _NO_POLICY,
        Feature.DENIES: _NO_POLICY,
        Feature.EXPIRY: _NO_POLICY,
        Feature.SHADOW: _NO_POLICY,
        Feature.ON_REQUEST: _NO_POLICY,
        Feature.VIA: _NO_POLICY,
        Feature.AGENTS: _NO_POLICY,
        Feature.CANONICAL_REQUEST: Can("one allow-list on the request line, host and method as sent"),
        Feature.BODY_ROUTING: Can("duplicate, escaped and differently cased keys are refused"),
        Feature.IDENTITY_HEADERS: Can("no client header goes on but four, if printable"),
        Feature.LISTENER: Can("from its file; HTTP/1.1 over TLS, one host name", reload=True),
        Feature.EDGE_CERTIFICATE: Can("files by generation, each parsed once by a worker"),
        Feature.TRUSTED_PROXIES: NotYet("the edge does not yet believe any proxy's X-Forwarded-For"),
        Feature.NEXT_HOP: Can("the DNS name in the guard's SVID: nginx compares no SPIFFE ID"),
        Feature.TOKEN_TYPE: _SENDS,
        Feature.TOKEN_AGE: _SENDS,
        Feature.REVOKED_SUBJECT: _ASKED_AGAIN,
        Feature.REVOKED_AGENT: _ASKED_AGAIN,
        Feature.REVOKED_TOKEN: _ASKED_AGAIN,
        Feature.REVOKED_STREAM: Can("the ties of each answer, compared at its next byte after a revocation"),
        Feature.EXPIRED_STREAM: Can("the decision names the end; at the first chunk after it"),
        Feature.REQUEST_RATE: Can(
            "a token bucket per grant and identity; a rate that no grant named before is a zone of its own",
            reload=True,
        ),
        Feature.REQUEST_LEDGER: _NO_LEDGER,
        Feature.TOKEN_BUDGET: _NO_LEDGER,
        Feature.CONCURRENCY: NotYet("requests at the same time are not yet counted"),
        Feature.SHARED_LIMIT: _NO_POLICY,
        Feature.MAX_BODY: Can(
            "named by the decision, below the file's largest; in memory, for its digest", reload=True
        ),
        Feature.TIMEOUT: Cannot(
            "it ends an answer at its next piece; of silence it has one limit for all models, the longest of them",
            f"{_DOCS}/ngx_http_proxy_module.html#proxy_read_timeout",
        ),
        Feature.WEIGHTS: Can("named by the decision, picked by the request's random id"),
        Feature.REPLICAS: _BEHIND,
        Feature.HEALTH: _BEHIND,
        Feature.SERVER_CREDENTIAL: _BEHIND,
        Feature.PASSED_SUBJECT: _BEHIND,
        Feature.HTTPS_UPSTREAM: _BEHIND,
        Feature.HOSTED_ENDPOINT: _BEHIND,
        Feature.BODY_MODEL: Can(
            "the one `model` of a body must be its own, and becomes what its server calls it"
        ),
        Feature.CALLS: Cannot("a model that calls another goes past the edge", "concepts.md"),
        Feature.CACHE: NotYet("answers are not yet cached"),
        Feature.LOG: Can("one JSON line per request, with what the decision said of the caller"),
        Feature.BODY_DIGESTS: Can("over the bytes that went through; of a cut answer without its end"),
        Feature.CAPTURE: Cannot(
            "it keeps no texts: only the guard sees what the server sees", "threat-model.md"
        ),
        Feature.BLOCK_WHEN_BLIND: _NO_POLICY,
        Feature.MAX_BLIND: _NO_POLICY,
        Feature.ALERT_WHEN_BLIND: _NO_POLICY,
        Feature.ROTATION: Can("files by generation; only a new root certificate takes a reload", reload=True),
    }
)
