"""The gate: what must be true of a request before anybody is asked about it, in the order in which it is looked at.

nginx's maps judge. Where a location is nginx's alone its `if`s refuse; below the fronts of the models `lua/gate.lua`
goes through the same `CHECKS`, of each request that nothing is remembered of.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshward.targets.nginx.emit import Directive, Key, Regex, Variable, mapping, refuse_if
from meshward.targets.nginx.settings import EdgeSettings

# An allow-list on the whole request line, so absolute-form, HTTP/0.9 and stray spaces fail too.
_SEGMENT = r"/(?!\.{1,2}(?:/|\?| ))[A-Za-z0-9._~:@-]+"
CANONICAL = rf"^[A-Z]+ (?:{_SEGMENT})+/?(?:\?[\x21\x22\x24-\x7e]*)? HTTP/1\.[01]\z"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
PRINTABLE = r"^[\x20-\x7e]+\z"


@dataclass(frozen=True, slots=True)
class Check:
    """Refuse with `status` where the variable, compared so with `literal`, holds."""

    variable: str
    operator: str  # `=` or `!=`
    literal: str
    status: int


# A model's 101 would open a tunnel past every later check: `lua/request.lua` looks at each request for it by itself.
UPGRADE = Check("http_upgrade", "!=", "", 400)
CHECKS = (
    Check("mw_host", "=", "0", 421),
    Check("mw_method", "=", "", 405),
    Check("mw_canonical", "=", "0", 400),
    UPGRADE,
    Check("mw_peer", "=", "0", 401),
    Check("mw_query_token", "!=", "", 401),
    Check("mw_credential", "=", "0", 401),
)


def judges(s: EdgeSettings) -> list[Directive]:
    """A map judges what a client sent: what does not match is empty, or 0."""
    hosts = (s.hostname, f"{s.hostname}:{s.listen_port}")
    return [
        mapping(Variable("http_host"), "mw_host", "0", *((Key(host), "1") for host in hosts)),
        mapping(Variable("request_method"), "mw_method", "", *((Key(method), method) for method in METHODS)),
        mapping(Variable("request"), "mw_canonical", "0", (Regex(CANONICAL), "1")),
        mapping(Variable("request_uri"), "mw_query_token", "", (Regex("[?&]access_token="), "1")),
        mapping(
            Variable("http_authorization"), "mw_credential", "0", (Key(""), "1"), (Regex(PRINTABLE), "1")
        ),
        mapping(Variable("ssl_client_verify"), "mw_peer", "0", (Key("NONE"), "1"), (Key("SUCCESS"), "1")),
    ]


def refusals() -> list[Directive]:
    """In each location, not in the server, whose `if`s would run again for /_err/."""
    return [refuse_if(check.variable, check.operator, check.literal, check.status) for check in CHECKS]
