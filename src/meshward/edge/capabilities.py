"""What the decision service enforces: nothing passes the edge without its answer. See `plan.features`."""

from __future__ import annotations

from types import MappingProxyType

from meshward.plan.features import Can, Cannot, Feature, NotYet, Table

_TOLD = Cannot("it is told of a request, and sees neither its bytes nor its answer", "life-of-a-request.md")
_MINTS = Cannot(
    "it mints the token: who is handed one must verify it", "adr/0002-one-permission-per-token.md"
)
_NEXT = Cannot("no request passes through it, only the question", "life-of-a-request.md")

CAPABILITIES: Table = MappingProxyType(
    {
        Feature.CALLER: _NEXT,
        Feature.TRANSACTION_TOKEN: _MINTS,
        Feature.PERMISSION: _MINTS,
        Feature.ROUTES: Can("looked up exactly; that names the action"),
        Feature.IDENTITY: Can("every step of the issuer's profile; the token goes no further"),
        Feature.WORKLOADS: Can("the chain once more, then its SPIFFE ID"),
        Feature.ROLES: Can("the first grant, in the file's order, that holds"),
        Feature.CONDITIONS: Can("an answer is kept no longer than to the next instant that changes it"),
        Feature.ATTRIBUTES: Can("from the claims that the policy names"),
        Feature.DENIES: Can("before any grant"),
        Feature.EXPIRY: Can("at its instant: no kept answer outlives it"),
        Feature.SHADOW: NotYet("rules in shadow are not yet compared with what was decided"),
        Feature.ON_REQUEST: NotYet("grants cannot yet be asked for"),
        Feature.VIA: NotYet("calls from model to model are not yet let through"),
        Feature.AGENTS: NotYet("token exchange for agents does not exist yet"),
        Feature.CANONICAL_REQUEST: _TOLD,
        Feature.BODY_ROUTING: _TOLD,
        Feature.IDENTITY_HEADERS: _TOLD,
        Feature.LISTENER: _NEXT,
        Feature.EDGE_CERTIFICATE: _NEXT,
        Feature.TRUSTED_PROXIES: _TOLD,
        Feature.NEXT_HOP: _NEXT,
        Feature.TOKEN_TYPE: Can("its key signs Transaction Tokens and nothing else"),
        Feature.TOKEN_AGE: Can("none is minted for more than 60 s, or beyond its credential's end"),
        Feature.REVOKED_SUBJECT: Can("the epoch is raised, so the next request is decided anew, and refused"),
        Feature.REVOKED_AGENT: Can("likewise, wherever it stands in the chain"),
        Feature.REVOKED_TOKEN: Can("likewise, by the credential's `jti`"),
        Feature.REVOKED_STREAM: _TOLD,
        Feature.EXPIRED_STREAM: _TOLD,
        Feature.REQUEST_RATE: Cannot(
            "it answers once for many requests; nginx counts", "life-of-a-request.md"
        ),
        Feature.REQUEST_LEDGER: NotYet("request limits per hour or day are not yet counted"),
        Feature.TOKEN_BUDGET: NotYet("budgets of tokens are not yet counted"),
        Feature.CONCURRENCY: _TOLD,
        Feature.SHARED_LIMIT: NotYet("limits per attribute are not yet counted"),
        Feature.MAX_BODY: _TOLD,
        Feature.TIMEOUT: _TOLD,
        Feature.WEIGHTS: Cannot("it names the weights; nginx picks", "traffic.md"),
        Feature.REPLICAS: _NEXT,
        Feature.HEALTH: _NEXT,
        Feature.SERVER_CREDENTIAL: _NEXT,
        Feature.PASSED_SUBJECT: _NEXT,
        Feature.HTTPS_UPSTREAM: _NEXT,
        Feature.HOSTED_ENDPOINT: _NEXT,
        Feature.BODY_MODEL: _TOLD,
        Feature.CALLS: NotYet("calls from model to model are not yet let through"),
        Feature.CACHE: _TOLD,
        Feature.LOG: Cannot("it answers once for many requests; nginx logs each", "life-of-a-request.md"),
        Feature.BODY_DIGESTS: _TOLD,
        Feature.CAPTURE: _TOLD,
        Feature.BLOCK_WHEN_BLIND: Can("it watches the collector's heartbeat"),
        Feature.MAX_BLIND: NotYet("the bound is fixed at its default"),
        Feature.ALERT_WHEN_BLIND: NotYet("going on while records are lost is not offered yet"),
        Feature.ROTATION: Can("a new signing key is taken while it runs; it shows no certificate"),
    }
)
