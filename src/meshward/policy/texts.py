"""The kinds of value that a policy is made of, as types that read, spell and describe themselves.

Names, host names and free texts are text. Each other kind is a text in the file and, once `policy.grammar` has read
it, one of `policy.values`; it is written back as its author spelled it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypeAliasType

from meshward.kit.names import NAME
from meshward.policy import grammar, urls, values
from meshward.policy.values import Written


@dataclass(frozen=True, slots=True)
class _Read:
    """A text in the file that is held as what `parse` makes of it, and written as `str` spells that."""

    parse: Callable[[str], object]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            self.parse, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )


def _keep_spelling(parse: Callable[[str], object]) -> _Read:
    """Of a grammar with several spellings of one value: the author's is kept beside it."""
    return _Read(partial(grammar.parse_written, parse))


def _describe(description: str, *examples: str, pattern: str | None = None) -> Any:
    """How a kind of text is described to people and editors."""
    extra: dict[str, Any] = {"pattern": pattern} if pattern else {}
    return Field(description=description, examples=list(examples), json_schema_extra=extra)


NAME_RULE = "1 to 63 of `a-z`, `0-9`, `.`, `_`, `-`, beginning with a letter or a digit."

Name = TypeAliasType(
    "Name",
    Annotated[
        str,
        Field(
            pattern=NAME,
            description=NAME_RULE,
            examples=["minilm", "data-scientist"],
        ),
    ],
)
Text = TypeAliasType(
    "Text",
    Annotated[
        str,
        Field(
            min_length=1,
            max_length=512,
            description="1 to 512 characters that can be seen: no controls or line breaks, no bidirectional "
            "marks, nothing of zero width, no other space than U+0020. Compared byte for byte.",
        ),
    ],
)
Pointer = TypeAliasType(
    "Pointer",
    Annotated[
        Written[tuple[str, ...]],
        _keep_spelling(grammar.parse_pointer),
        _describe("A JSON pointer (RFC 6901) into a token's claims.", "/realm_access/roles"),
    ],
)
Duration = TypeAliasType(
    "Duration",
    Annotated[
        Written[int],
        _keep_spelling(grammar.parse_duration),
        _describe(
            "A number and `s`, `m`, `h` or `d`; at most 100 years.", "90s", "24h", pattern=grammar.DURATION
        ),
    ],
)
Size = TypeAliasType(
    "Size",
    Annotated[
        Written[int],
        _keep_spelling(grammar.parse_size),
        _describe(
            "Bytes, or with `k` or `m` (1024, 1024 squared); at most `256m`.",
            "512k",
            "2m",
            pattern=grammar.SIZE,
        ),
    ],
)
Room = TypeAliasType(
    "Room",
    Annotated[
        Written[int],
        _keep_spelling(grammar.parse_room),
        _describe(
            "A number and `m`, `g` or `t` (1024 squared, cubed, to the fourth), from `64m` to `1000t`.",
            "500m",
            "20g",
            pattern=grammar.ROOM,
        ),
    ],
)
Rate = TypeAliasType(
    "Rate",
    Annotated[
        values.Rate,
        _Read(grammar.parse_rate),
        _describe(
            "A number per `s`, `min`, `hour` or `day`.", "10/s", "600/min", "200000/day", pattern=grammar.RATE
        ),
    ],
)
Hours = TypeAliasType(
    "Hours",
    Annotated[
        Written[values.Hours],
        _keep_spelling(grammar.parse_hours),
        _describe(
            "Days, hours and an IANA time zone. An end before the start runs past midnight.",
            "Mon-Fri 08:00-18:00 Europe/Berlin",
            "Sat,Sun 22:00-06:00 UTC",
            pattern=grammar.HOURS,
        ),
    ],
)
Date = TypeAliasType(
    "Date",
    Annotated[
        Written[int],
        _keep_spelling(grammar.parse_date),
        _describe(
            "A day, which means its end in UTC, or an RFC 3339 instant.",
            "2027-03-31",
            "2027-03-31T12:00:00Z",
            pattern=grammar.DATE,
        ),
    ],
)
Instant = TypeAliasType(
    "Instant",
    Annotated[
        Written[int],
        _keep_spelling(grammar.parse_instant),
        _describe(
            "A minute in UTC, or an RFC 3339 instant.",
            "2026-11-23 10:00",
            "2026-11-23T10:00:00+01:00",
            pattern=grammar.INSTANT,
        ),
    ],
)
IpAddress = TypeAliasType(
    "IpAddress",
    Annotated[
        Written[values.Address],
        _keep_spelling(grammar.parse_address),
        _describe("An IPv4 or IPv6 address.", "203.0.113.9", "2001:db8::1"),
    ],
)
Network = TypeAliasType(
    "Network",
    Annotated[
        Written[values.Network],
        _keep_spelling(grammar.parse_network),
        _describe("A network in CIDR form, or one address.", "203.0.113.0/24", "2001:db8::/32"),
    ],
)
ProxyNetwork = TypeAliasType(
    "ProxyNetwork",
    Annotated[
        Written[values.Network],
        _keep_spelling(grammar.parse_proxy_network),
        _describe("A network in CIDR form, or one address; not the whole internet.", "10.0.0.0/24"),
    ],
)
Listen = TypeAliasType(
    "Listen",
    Annotated[
        Written[values.Listen],
        _keep_spelling(grammar.parse_listen),
        _describe("An IP address and a port.", "127.0.0.1:8443", "[::1]:8443"),
    ],
)
Url = TypeAliasType(
    "Url",
    Annotated[
        urls.Url,
        _Read(grammar.parse_url),
        _describe(
            "An `https` URL (`http` only where it says so) without user, query or fragment.",
            "https://sso.example.com/realms/staff",
        ),
    ],
)
ServerUrl = TypeAliasType(
    "ServerUrl",
    Annotated[
        urls.ServerUrl,
        _Read(grammar.parse_server_url),
        _describe(
            "`unix:` and an absolute path, or `http(s)://host[:port]`; no link-local or metadata address.",
            "unix:/run/models/minilm-v1.sock",
            "http://127.0.0.1:8000",
        ),
    ],
)
Route = TypeAliasType(
    "Route",
    Annotated[
        values.Route,
        _Read(grammar.parse_route),
        _describe(
            "A method and one exact path in its plain form.", "POST /ask", "GET /info", pattern=grammar.ROUTE
        ),
    ],
)
Hostname = TypeAliasType(
    "Hostname",
    Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$",
            max_length=253,
            description="A DNS name in lower case.",
            examples=["models.example.com"],
        ),
    ],
)
TrustDomain = TypeAliasType(
    "TrustDomain",
    Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?)*$",
            max_length=120,
            description="A SPIFFE trust domain that is also a DNS name: at most 120 characters, so that a "
            "version's name (`<version>.<model>.<trust domain>`) can be one too.",
            examples=["models.example.com"],
        ),
    ],
)
SpiffePath = TypeAliasType(
    "SpiffePath",
    Annotated[
        str,
        Field(
            pattern=r"^(/[A-Za-z0-9._-]+)+$",
            max_length=1024,
            description="The path of a SPIFFE ID.",
            examples=["/ns/jobs/sa/scorer"],
        ),
    ],
)
