"""The kinds of text that a policy's values are made of, as types that check and describe themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from typing_extensions import TypeAliasType

from meshward.kit.names import NAME
from meshward.policy import urls, values


def _reads(parse: Callable[[str], object]) -> AfterValidator:
    """The text must follow `parse`'s grammar; it stays as it is."""

    def validate(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(validate)


def _shown(description: str, *examples: str, pattern: str | None = None) -> Any:
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
        str,
        _reads(values.parse_pointer),
        _shown("A JSON pointer (RFC 6901) into a token's claims.", "/realm_access/roles"),
    ],
)
Duration = TypeAliasType(
    "Duration",
    Annotated[
        str,
        _reads(values.parse_duration),
        _shown(
            "A number and `s`, `m`, `h` or `d`; at most 100 years.", "90s", "24h", pattern=values.DURATION
        ),
    ],
)
Size = TypeAliasType(
    "Size",
    Annotated[
        str,
        _reads(values.parse_size),
        _shown(
            "Bytes, or with `k` or `m` (1024, 1024 squared); at most `256m`.",
            "512k",
            "2m",
            pattern=values.SIZE,
        ),
    ],
)
Rate = TypeAliasType(
    "Rate",
    Annotated[
        str,
        _reads(values.parse_rate),
        _shown(
            "A number per `s`, `min`, `hour` or `day`.", "10/s", "600/min", "200000/day", pattern=values.RATE
        ),
    ],
)
Hours = TypeAliasType(
    "Hours",
    Annotated[
        str,
        _reads(values.parse_hours),
        _shown(
            "Days, hours and an IANA time zone. An end before the start runs past midnight.",
            "Mon-Fri 08:00-18:00 Europe/Berlin",
            "Sat,Sun 22:00-06:00 UTC",
            pattern=values.HOURS,
        ),
    ],
)
Date = TypeAliasType(
    "Date",
    Annotated[
        str,
        _reads(values.parse_date),
        _shown(
            "A day, which means its end in UTC, or an RFC 3339 instant.",
            "2027-03-31",
            "2027-03-31T12:00:00Z",
            pattern=values.DATE,
        ),
    ],
)
Instant = TypeAliasType(
    "Instant",
    Annotated[
        str,
        _reads(values.parse_instant),
        _shown(
            "A minute in UTC, or an RFC 3339 instant.",
            "2026-11-23 10:00",
            "2026-11-23T10:00:00+01:00",
            pattern=values.INSTANT,
        ),
    ],
)
IpAddress = TypeAliasType(
    "IpAddress",
    Annotated[
        str, _reads(values.parse_address), _shown("An IPv4 or IPv6 address.", "203.0.113.9", "2001:db8::1")
    ],
)
Network = TypeAliasType(
    "Network",
    Annotated[
        str,
        _reads(values.parse_network),
        _shown("A network in CIDR form, or one address.", "203.0.113.0/24", "2001:db8::/32"),
    ],
)
ProxyNetwork = TypeAliasType(
    "ProxyNetwork",
    Annotated[
        str,
        _reads(values.parse_proxy_network),
        _shown("A network in CIDR form, or one address; not the whole internet.", "10.0.0.0/24"),
    ],
)
Listen = TypeAliasType(
    "Listen",
    Annotated[
        str, _reads(values.parse_listen), _shown("An IP address and a port.", "127.0.0.1:8443", "[::1]:8443")
    ],
)
Url = TypeAliasType(
    "Url",
    Annotated[
        str,
        _reads(urls.parse_url),
        _shown(
            "An `https` URL (`http` only where it says so) without user, query or fragment.",
            "https://sso.example.com/realms/staff",
        ),
    ],
)
ServerUrl = TypeAliasType(
    "ServerUrl",
    Annotated[
        str,
        _reads(urls.parse_server_url),
        _shown(
            "`unix:` and an absolute path, or `http(s)://host[:port]`; no link-local or metadata address.",
            "unix:/run/models/minilm-v1.sock",
            "http://127.0.0.1:8000",
        ),
    ],
)
Route = TypeAliasType(
    "Route",
    Annotated[
        str,
        _reads(values.parse_route),
        _shown(
            "A method and one exact path in its plain form.", "POST /ask", "GET /info", pattern=values.ROUTE
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
