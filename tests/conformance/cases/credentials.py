"""A client's own credentials: one token of its issuer, or one certificate of ours. What proves nothing is nobody."""

from __future__ import annotations

from tests.conformance.cases.common import (
    RULES_SMALL,
    SCIENTIST,
    SCORER,
    SITE,
    case,
    client,
    deny,
    permit,
    trap,
)
from tests.conformance.format import Case, Certificate, Token
from tests.conformance.suite import topic


def _bad(id_: str, about: str, reason: str, *tokens: Token) -> Case:
    return trap(
        id_,
        about,
        *((client(token=each), deny("decision", reason)) for each in tokens),
        covers=["identity"],
    )


CASES = [
    case("good", "A good token is its caller.", (client(), permit("science")), covers=["identity"]),
    case(
        "none",
        "Without credentials nobody is anybody.",
        (client(None), deny("decision", "no_credentials")),
        covers=["identity"],
    ),
    _bad(
        "expired", "A token that has ended is none.", "token_expired", Token(times={"iat": -300, "exp": -30})
    ),
    _bad(
        "not-yet",
        "One of the future is none yet.",
        "token_times_refused",
        Token(times={"nbf": 120}),
        Token(times={"iat": 120}),
    ),
    _bad("without-an-end", "One without an end is none.", "token_times_refused", Token(claims={"exp": None})),
    _bad(
        "another-issuer",
        "Another issuer's is none, however near its name.",
        "issuer_unknown",
        Token(claims={"iss": "https://evil.example"}),
        Token(claims={"iss": "https://staff.example/realms/staff/"}),
        Token(claims={"iss": None}),
    ),
    _bad(
        "another-audience",
        "One that was made for others is none.",
        "audience_refused",
        Token(claims={"aud": "others"}),
        Token(claims={"aud": None}),
    ),
    _bad(
        "a-strangers-key",
        "A stranger's signature under our issuer's key id is none.",
        "signature_invalid",
        Token(key="forged"),
    ),
    _bad(
        "an-unknown-key",
        "Nor is one by a key that the issuer does not publish.",
        "key_unknown",
        Token(key="unknown"),
    ),
    _bad(
        "broken-signature",
        "A signature that is not the token's is none.",
        "signature_invalid",
        Token(signature="broken"),
    ),
    _bad(
        "alg-none",
        "`none` is no algorithm.",
        "token_header_refused",
        Token(signature="none", header={"kid": "test-key"}),
    ),
    _bad("garbage", "What is no JWT is none.", "token_malformed", Token(raw="garbage")),
    _bad("two-parts", "Nor are two parts of one.", "token_malformed", Token(raw="e30.e30")),
    _bad(
        "no-subject", "A token that names nobody is nobody's.", "subject_refused", Token(claims={"sub": None})
    ),
    _bad(
        "bound-to-a-key",
        "One that is bound to a key is no bearer's.",
        "claims_refused",
        Token(claims={"cnf": {"jkt": "x"}}),
    ),
    _bad("another-type", "An ID token is none.", "token_type_refused", Token(header={"typ": "id+jwt"})),
    trap(
        "two-headers",
        "Two tokens name two callers.",
        (
            client(token=Token(sent_as=[("Authorization", "Bearer {token}"), ("Authorization", "Bearer x")])),
            deny("edge", "bad_request"),
        ),
        covers=["identity"],
    ),
    trap(
        "another-scheme",
        "Only a bearer token is one.",
        (client(token=Token(sent_as=[("Authorization", "Basic {token}")])), deny("decision", "not_bearer")),
        (client(token=Token(sent_as=[("X-Token", "{token}")])), deny("decision", "no_credentials")),
        covers=["identity"],
    ),
    case(
        "a-workload",
        "A workload's certificate is its credential.",
        (client(SCORER), permit("nightly")),
        covers=["workloads"],
    ),
    trap(
        "another-authoritys-certificate",
        "A workload's name by another authority is nobody's.",
        (
            client(SCORER, certificate=Certificate(authority="another")),
            deny("decision", "certificate_refused"),
        ),
        covers=["workloads"],
    ),
    trap(
        "a-certificate-of-no-workload",
        "A certificate of ours that names no workload of the policy is nobody's here.",
        (
            client(SCORER, certificate=Certificate(path="/ns/jobs/sa/other")),
            deny("decision", "workload_unknown"),
        ),
        (client(SCORER, certificate=Certificate(path="{own}/x")), deny("decision", "workload_unknown")),
        covers=["workloads"],
    ),
    trap(
        "a-hops-certificate",
        "A part of the mesh is no caller.",
        (client(SCORER, certificate=Certificate(path="/edge")), deny("decision", "certificate_refused")),
        (
            client(SCORER, certificate=Certificate(path="/model/minilm")),
            deny("decision", "certificate_refused"),
        ),
        covers=["workloads"],
    ),
    trap(
        "another-trust-domain",
        "The same path in another trust domain is another.",
        (
            client(SCORER, certificate=Certificate(trust_domain="other.test")),
            deny("decision", "certificate_refused"),
        ),
        covers=["workloads"],
    ),
    trap(
        "a-certificate-and-a-token",
        "Two credentials name two callers.",
        (
            client(SCORER, headers=[("Authorization", "Bearer x")]),
            deny("decision", "two_credentials"),
        ),
        covers=["workloads", "identity"],
    ),
    case(
        "the-token-goes-no-further",
        "No server sees the caller's token.",
        (client(SCIENTIST), permit("science", sees={"Authorization": None, "Cookie": None})),
        covers=["identity headers"],
    ),
]
TOPIC = topic("credentials", __doc__ or "", {"small": RULES_SMALL}, CASES, {"cluster": SITE})
