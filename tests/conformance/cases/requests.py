"""One spelling of a request: what is not it is refused, by the edge for clients and by the last hop for who is inside.

Where a mesh's sidecar normalises a path, it judges and sends on the path that comes of it: no door, for only who shows
the edge's certificate and a token for that very permission gets so far, and from the edge no such spelling comes.
"""

from __future__ import annotations

from tests.conformance.cases.common import (
    CLOSED,
    RULES_SMALL,
    SCIENTIST,
    SITE,
    case,
    client,
    deny,
    get,
    inside,
    permit,
    token,
    trap,
)
from tests.conformance.format import Case, Expect, Otherwise
from tests.conformance.suite import topic

_NOT_CANONICAL = deny("edge", "not_canonical")
_NO_ROUTE = deny("decision", "route_unknown")

SPELLINGS: list[tuple[str, str, str, Expect, str | None]] = [
    ("two-slashes-first", "Two slashes at the beginning", "//v1/ask", _NOT_CANONICAL, None),
    ("two-slashes", "Two slashes within", "/v1//ask", _NOT_CANONICAL, None),
    ("an-escaped-slash", "An escaped slash", "/v1%2fask", _NOT_CANONICAL, None),
    ("an-escaped-slash-upper", "An escaped slash, in upper case", "/v1%2Fask", _NOT_CANONICAL, None),
    ("a-parameter", "A path parameter", "/v1/ask;x", _NOT_CANONICAL, None),
    ("a-trailing-slash", "A slash at the end", "/v1/ask/", _NO_ROUTE, None),
    ("another-case", "Another case", "/V1/ask", _NO_ROUTE, None),
    ("double-encoding", "An escape that is escaped", "/v1/%2561sk", _NOT_CANONICAL, None),
    ("dots", "A way back up", "/v1/x/../ask", _NOT_CANONICAL, "/v1/ask"),
    ("escaped-dots", "An escaped way back up", "/v1/x/%2e%2e/ask", _NOT_CANONICAL, "/v1/ask"),
    ("one-dot", "A dot as a segment", "/v1/./ask", _NOT_CANONICAL, "/v1/ask"),
    ("an-escaped-letter", "A letter that needs no escape", "/v1/%61sk", _NOT_CANONICAL, "/v1/ask"),
    ("a-backslash", "A backslash for a slash", "/v1\\ask", _NOT_CANONICAL, "/v1/ask"),
    ("an-escaped-backslash", "An escaped backslash", "/v1%5cask", _NOT_CANONICAL, None),
    ("a-fragment", "A fragment", "/v1/ask#f", _NOT_CANONICAL, None),
    ("a-nul", "An escaped NUL", "/v1/ask%00", _NOT_CANONICAL, None),
    ("beyond-the-root", "More ways up than down", "/../v1/ask", _NOT_CANONICAL, "/v1/ask"),
]


def _outside(id_: str, what: str, target: str, refusal: Expect, _: str | None) -> Case:
    about = f"{what} is not the path: a client who may use the path gets nowhere by it."
    return trap(id_, about, (client(target=target), refusal), covers=["canonical request", "routes"])


def _inside(id_: str, what: str, target: str, _: Expect, normal: str | None) -> Case:
    about = f"{what} is not the path at the last hop either; or is made the path there, and judged as that."
    where = {} if normal is None else {"normalises": Otherwise(decision="permit", arrives=normal)}
    refusal = deny("guard", where=where)
    return trap(f"{id_}-inside", about, (inside(token(), target), refusal), covers=["permission"])


CASES = [
    *(_outside(*each) for each in SPELLINGS),
    *(_inside(*each) for each in SPELLINGS),
    case(
        "a-query-goes-along",
        "A query changes no decision and arrives as it was sent.",
        (client(target="/ask?q=a%20b"), permit("science")),
        covers=["canonical request"],
    ),
    case(
        "a-query-goes-along-inside",
        "Nor does it at the last hop.",
        (inside(token(), "/ask?q=a%20b"), permit()),
        covers=["permission"],
    ),
    case(
        "another-method",
        "A path is open for the method that an action names, and for no other.",
        (client(SCIENTIST, "/info"), _NO_ROUTE),
        (get(SCIENTIST, "/info"), permit("science")),
        covers=["routes"],
    ),
    case(
        "another-method-inside",
        "So it is at the last hop, whatever another header says.",
        (inside(token("minilm.describe"), "/info", method="GET"), permit()),
        *(
            (inside(token(), "/ask", method=method), CLOSED)
            for method in ("GET", "PUT", "DELETE", "OPTIONS", "TRACE")
        ),
        (inside(token(), method="GET", headers=[("X-HTTP-Method-Override", "POST")]), CLOSED),
        covers=["permission"],
    ),
    trap(
        "no-way-to-another-path",
        "No spelling of a path that is not granted is taken for one that is.",
        *(
            (inside(token(), target), CLOSED)
            for target in (
                "/admin/load",
                "/admin%2fload",
                "//admin/load",
                "/ask/../admin/load",
                "/ask/%2e%2e/admin/load",
                "/ask;/../admin/load",
                "/metrics",
                "/metrics;x",
                "/",
                "/askme",
                "/ask/more",
                "/xask",
            )
        ),
        covers=["permission", "routes"],
    ),
    trap(
        "identity-headers-stay-outside",
        "What a client says in the mesh's and the edge's own words reaches no server.",
        (
            client(
                headers=[
                    ("X-Forwarded-Client-Cert", "URI=spiffe://models.test/edge"),
                    ("Txn-Token", "of-my-own"),
                    ("X-Mw-Subject", "staff:root"),
                    ("X-Remote-User", "root"),
                    ("X-Auth-Request-User", "root"),
                    ("l5d-client-id", "edge"),
                ]
            ),
            permit(
                "science",
                sees={
                    "X-Forwarded-Client-Cert": None,
                    "Txn-Token": None,
                    "X-Mw-Subject": None,
                    "X-Remote-User": None,
                    "X-Auth-Request-User": None,
                    "l5d-client-id": None,
                    "Authorization": None,
                },
            ),
        ),
        covers=["identity headers"],
    ),
]
TOPIC = topic("requests", __doc__ or "", {"small": RULES_SMALL}, CASES, {"cluster": SITE})
