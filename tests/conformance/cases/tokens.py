"""Transaction Tokens at the last hop: the right one opens what it names, every other opens nothing.

A mesh's proxy may take one for 60 s after its end, or without an end, and no proxy compares `typ`: what they take was
signed by the edge's key all the same, which signs nothing else, and none that lasts.
"""

from __future__ import annotations

from tests.conformance.cases.common import (
    CLOSED,
    OPENS,
    RULES_SMALL,
    SITE,
    case,
    client,
    deny,
    inside,
    permit,
    token,
    trap,
)
from tests.conformance.format import Case, Expect, TransactionToken
from tests.conformance.suite import topic

_LATE = deny("guard", where={"takes-late-tokens": OPENS})
_ENDLESS = deny("guard", where={"takes-endless-tokens": OPENS})
_ANY_TYPE = deny("guard", where={"takes-any-type": OPENS})


def _bad(id_: str, about: str, *tokens: TransactionToken, expect: Expect = CLOSED) -> Case:
    return trap(
        id_,
        about,
        *((inside(each), expect) for each in tokens),
        covers=["transaction token", "permission"],
    )


CASES = [
    case(
        "the-right-one",
        "The edge with the token for this permission is let in; the server sees the request as it was sent.",
        (inside(token()), permit()),
        (inside(token("minilm.describe"), "/info", method="GET"), permit()),
        (inside(token("minilm.observe"), "/metrics", method="GET"), permit()),
        (inside(token("minilm.manage"), "/admin/load"), permit()),
        covers=["transaction token", "permission", "caller"],
    ),
    case(
        "none",
        "Without a token nobody gets through, whoever calls.",
        (inside(None), CLOSED),
        covers=["transaction token"],
    ),
    case(
        "another-permission",
        "The permission of one action opens no other action's routes.",
        *((inside(token(f"minilm.{action}")), CLOSED) for action in ("describe", "observe", "manage")),
        (inside(token(), "/admin/load"), CLOSED),
        covers=["permission"],
    ),
    case(
        "another-models",
        "A sibling's permission opens nothing here, nor that of a name that is part of this one.",
        (inside(token("assistant.infer")), CLOSED),
        (inside(token("mini.infer")), CLOSED),
        (inside(token("minilm2.infer")), CLOSED),
        (inside(token(), model="assistant"), CLOSED),
        covers=["permission"],
    ),
    _bad(
        "permission-of-another-type",
        "The permission is a text among `aud`: nothing that only looks like it in another type.",
        token(claims={"aud": [1, True], "scope": 1}),
        token(claims={"aud": {"minilm.infer": True}, "scope": True}),
        token(claims={"aud": ["models.test minilm.infer"], "scope": "x"}),
        token(claims={"aud": "models.test", "scope": ["minilm.describe"]}),
    ),
    _bad(
        "audience-missing-or-another",
        "Who the token is for must be said, and be us.",
        token(claims={"aud": None}),
        token(claims={"aud": []}),
        token(claims={"aud": "other.test"}),
        token(claims={"aud": ["other.test", "minilm.describe"]}),
    ),
    _bad(
        "no-subject",
        "A token that names nobody opens nothing.",
        token(claims={"sub": None}),
    ),
    _bad(
        "expired",
        "A token that ended two minutes ago opens nothing at any hop.",
        token(times={"iat": -180, "exp": -120}),
    ),
    _bad(
        "expired-just-now",
        "One that ended half a minute ago opens nothing; a mesh's proxy allows a minute.",
        token(times={"iat": -85, "exp": -30}),
        expect=_LATE,
    ),
    _bad(
        "without-an-end",
        "One without `exp` opens nothing; a mesh's proxy takes it, and nobody mints one.",
        token(claims={"exp": None}),
        expect=_ENDLESS,
    ),
    _bad(
        "not-yet",
        "One that begins in two minutes opens nothing yet.",
        token(times={"nbf": 120}),
    ),
    _bad(
        "another-issuer",
        "The issuer is the edge, character for character.",
        token(claims={"iss": "https://evil.test"}),
        token(claims={"iss": None}),
        token(claims={"iss": "https://models.test/"}),
    ),
    _bad(
        "another-key",
        "A key that we do not publish signs nothing: not under its own name, nor under the name of ours.",
        token(key="unknown"),
        token(key="forged"),
        token(header={"kid": "nobody"}),
    ),
    _bad(
        "broken-signature",
        "A signature that is not this token's is none; so is none at all.",
        token(signature="broken"),
        token(signature="none"),
    ),
    _bad(
        "garbage",
        "What is no token is none.",
        token(raw="garbage"),
        token(raw="a.b.c"),
        token(raw=""),
    ),
    _bad(
        "in-another-header",
        "A token is read from its own header: as a bearer it is none.",
        token(sent_as=[("Authorization", "Bearer {token}")]),
    ),
    trap(
        "in-the-query",
        "Nor is it read from the query.",
        (inside(None, "/ask?access_token=x"), CLOSED),
        covers=["transaction token"],
    ),
    _bad(
        "two-of-them",
        "Two headers are no token: of two, who says which was checked?",
        token(sent_as=[("Txn-Token", "{token}"), ("Txn-Token", "garbage")]),
        token(sent_as=[("Txn-Token", "garbage"), ("Txn-Token", "{token}")]),
    ),
    trap(
        "another-type",
        "Another kind of token does not pass for one; no proxy compares `typ`, so the key signs no other.",
        (inside(token(header={"typ": "at+jwt"})), _ANY_TYPE),
        covers=["token type"],
    ),
    case(
        "roles-in-it-open-nothing",
        "What a token says of roles is for people to read.",
        (inside(token("minilm.describe", claims={"roles": ["platform", "admin"]})), CLOSED),
        covers=["permission"],
    ),
    case(
        "it-cannot-be-brought-along",
        "A client cannot bring one along, nor use it as a credential.",
        (
            client(None, headers=[("Txn-Token", "e30.e30.e30")]),
            deny("decision", "no_credentials"),
        ),
        covers=["transaction token", "token type"],
    ),
]
TOPIC = topic("tokens", __doc__ or "", {"small": RULES_SMALL}, CASES, {"cluster": SITE})
