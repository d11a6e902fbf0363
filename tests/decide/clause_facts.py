"""What the clauses read: who is a person, what a pointer finds, when a window is open, who has which right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clause_world import DAY_START, NOON, STAFF

PERSONS: tuple[tuple[str, str | None, dict[str, Any], bool | None], ...] = (
    # case, issuer, claims, whether the subject `s` is a person (None: the token does not tell)
    ("of any provider", "i", {}, True),
    ("whose token names the client", "i", {"sub": "s", "client_id": "cli", "azp": "cli", "cid": "cli"}, True),
    ("a client in its own name", "i", {"client_id": "s"}, False),
    ("a client by its sub", "i", {"sub": "c", "client_id": "c"}, False),
    ("whose sub is not the subject", "i", {"sub": "c", "client_id": "s"}, True),
    ("a client at Okta", "okta", {"sub": "s", "cid": "s"}, False),
    ("somebody at Okta", "okta", {"sub": "s", "cid": "0oa1"}, True),
    ("an azp that is the subject", "i", {"azp": "s"}, False),
    ("an application at Entra", "entra", {"idtyp": "app", "scp": "use"}, False),
    ("an application without a scope", "entra", {"roles": ["use"]}, False),
    ("a scope that is no text", "entra", {"scp": ["use"]}, False),
    ("somebody at Entra", "entra", {"scp": "use"}, True),
    ("idtyp of somebody", "i", {"idtyp": "user"}, True),
    ("idtyp of an application", "i", {"idtyp": "app"}, False),
    ("a service account by its name", "i", {"preferred_username": "service-account-x"}, False),
    ("a name that only holds the word", "i", {"preferred_username": "my-service-account-x"}, True),
    ("a service account at Keycloak", "kc", {"preferred_username": "service-account-x", "sid": "1"}, False),
    ("a client at Keycloak", "kc", {"client_id": "x", "sid": "1"}, False),
    ("a host at Keycloak", "kc", {"clientHost": "192.0.2.1", "sid": "1"}, False),
    ("a session at Keycloak", "kc", {"sid": "1"}, True),
    ("an older session at Keycloak", "kc", {"session_state": "1"}, True),
    ("no session at Keycloak", "kc", {}, None),
    ("a pipeline", "ci", {}, False),
    ("a pod", "k8s", {}, False),
    ("a workload", None, {}, False),
    ("an issuer that there is not", "ghost", {}, False),
)

NOTHING = "nothing is there"
_CLAIMS = {
    "a": 1,
    "": 2,
    "/a": 3,
    "x/y": 4,
    "x~y": 5,
    "~1": 6,
    "none": None,
    "deep": {"list": ["p", {"q": 7}]},
}
_CLAIMS |= {"digits": {"0": 8, "01": 9}, "word": "text"}
POINTERS: tuple[tuple[str, object], ...] = (
    # what is asked for, and what is found in _CLAIMS
    ("a", 1),
    ("b", NOTHING),
    ("", 2),
    ("/a", 1),
    ("/b", NOTHING),
    ("/", 2),
    ("//a", NOTHING),
    ("/x~1y", 4),
    ("/x~0y", 5),
    ("/~01", 6),
    ("/none", None),
    ("/none/x", NOTHING),
    ("/deep/list/0", "p"),
    ("/deep/list/1/q", 7),
    ("/deep/list/2", NOTHING),
    ("/deep/list/2/q", NOTHING),
    ("/deep/list/-", NOTHING),
    ("/deep/list/-1", NOTHING),
    ("/deep/list/00", NOTHING),
    ("/deep/list/01", NOTHING),
    ("/deep/list/q", NOTHING),
    ("/deep/list/¹", NOTHING),
    ("/deep/list/١", NOTHING),  # an Arabic one is a digit, too
    ("/digits/0", 8),
    ("/digits/01", 9),
    ("/word/0", NOTHING),
    ("/a/0", NOTHING),
)
CLAIMS: dict[str, object] = _CLAIMS

SAME_VALUES: tuple[tuple[object, object, bool], ...] = (
    (1, 1, True),
    (1, 2, False),
    (1, True, False),
    (1, 1.0, False),
    ("1", 1, False),
    ("x", "x", True),
    (False, False, True),
    (False, 0, False),
)

_NIGHT = "Fri 22:15-06:45 UTC"
_SUNDAY = "Sun 02:30-03:00 Europe/Berlin"
WINDOWS: tuple[tuple[str, str, bool, str], ...] = (
    # window, when it is (UTC), whether it is open, and until when that is sure
    ("Mon 08:30-18:45 UTC", "2026-11-23 08:29:59", False, "2026-11-23 08:30"),
    ("Mon 08:30-18:45 UTC", "2026-11-23 08:30:00", True, "2026-11-23 18:45"),
    ("Mon 08:30-18:45 UTC", "2026-11-23 18:44:59", True, "2026-11-23 18:45"),
    ("Mon 08:30-18:45 UTC", "2026-11-23 18:45:00", False, "2026-11-24 08:30"),
    ("Mon 08:30-18:45 UTC", "2026-11-22 12:00:00", False, "2026-11-22 18:45"),
    ("Mon 00:00-24:00 UTC", "2026-11-23 00:00:00", True, "2026-11-24 00:00"),
    ("Mon 00:00-24:00 UTC", "2026-11-23 23:59:59", True, "2026-11-24 00:00"),
    ("Mon 00:00-24:00 UTC", "2026-11-24 00:00:00", False, "2026-11-25 00:00"),
    ("Mon 00:30-24:00 UTC", "2026-11-23 12:00:00", True, "2026-11-24 00:00"),
    (_NIGHT, "2026-11-20 22:14:59", False, "2026-11-20 22:15"),
    (_NIGHT, "2026-11-20 22:15:00", True, "2026-11-21 06:45"),
    (_NIGHT, "2026-11-21 06:44:59", True, "2026-11-21 06:45"),
    (_NIGHT, "2026-11-21 06:45:00", False, "2026-11-21 22:15"),
    (_NIGHT, "2026-11-21 23:00:00", False, "2026-11-22 06:45"),
    (_NIGHT, "2026-11-20 05:00:00", False, "2026-11-20 06:45"),
    (_NIGHT, "2026-11-20 12:00:00", False, "2026-11-20 22:15"),
    ("Mon 22:15-06:45 UTC", "2026-11-24 05:00:00", True, "2026-11-24 06:45"),
    ("Sun 22:15-06:45 UTC", "2026-11-23 05:00:00", True, "2026-11-23 06:45"),
    # In autumn 02:30 in Berlin comes twice. In spring it is left out, and where it would be is not sure.
    (_SUNDAY, "2026-10-25 00:30:00", True, "2026-10-25 01:00"),
    (_SUNDAY, "2026-10-25 01:00:00", False, "2026-10-25 01:30"),
    (_SUNDAY, "2026-10-25 01:30:00", True, "2026-10-25 02:00"),
    (_SUNDAY, "2026-10-25 02:00:00", False, "2026-10-26 01:30"),
    ("Sun 02:30-03:30 Europe/Berlin", "2026-10-25 00:45:00", True, "2026-10-25 01:00"),
    ("Sun 02:30-03:30 Europe/Berlin", "2026-10-25 01:10:00", False, "2026-10-25 01:30"),
    ("Sun 02:30-04:00 Europe/Berlin", "2027-03-28 00:30:00", False, "2027-03-28 01:00"),
    ("Sun 02:30-04:00 Europe/Berlin", "2027-03-28 01:00:00", True, "2027-03-28 01:30"),
    ("Sun 02:30-04:00 Europe/Berlin", "2027-03-28 01:30:00", True, "2027-03-28 02:00"),
    ("Sun 02:30-04:00 Europe/Berlin", "2027-03-28 02:00:00", False, "2027-03-29 00:30"),
)

RIGHTS_RULES: dict[str, Any] = {
    "operators": {
        "apply": ["boss"],
        "traffic": ["staff", "boss"],
        "audit": ["staff"],
        "open": [],
        "erase": ["crew"],
    },
    "roles": {
        "staff": [{"issuer": "i", "group": "staff"}, {"workload": "w"}],
        "boss": [{"issuer": "i", "group": "boss", "until": "2026-11-22"}],
        "crew": [{"issuer": "i", "subject": "e"}],
    },
}


@dataclass(frozen=True, slots=True)
class RightsRow:
    """Which of the operators' rights somebody has under RIGHTS_RULES."""

    case: str
    rights: set[str]
    who: dict[str, Any] = field(default_factory=lambda: STAFF)
    at: int = NOON


RIGHTS: tuple[RightsRow, ...] = (
    RightsRow("a role that is named", {"traffic", "audit"}),
    RightsRow("a role that is over", {"traffic", "audit"}, STAFF | {"groups": ("staff", "boss")}),
    RightsRow(
        "a role in its last second",
        {"apply", "traffic", "audit"},
        STAFF | {"groups": ("staff", "boss")},
        DAY_START - 1,
    ),
    RightsRow("another role", {"erase"}, {"issuer": "i", "subject": "e"}),
    RightsRow("no role", set(), STAFF | {"groups": ()}),
    RightsRow("somebody for whom an agent acts", set(), STAFF | {"actors": ("bot",)}),
    RightsRow("a workload", set(), {"workload": "w"}),
    RightsRow("a workload that calls for somebody", set(), STAFF | {"workload": "w"}),
)

SUFFICE: tuple[tuple[set[str], str | None, bool], ...] = (
    # rights, what is asked for (None: any that changes something), whether they suffice
    ({"apply"}, "apply", True),
    ({"apply"}, "traffic", True),
    ({"apply"}, "erase", True),
    ({"apply"}, None, True),
    ({"traffic"}, "traffic", True),
    ({"traffic"}, None, True),
    ({"traffic"}, "apply", False),
    ({"audit"}, "audit", True),
    ({"audit"}, "traffic", False),
    ({"audit"}, None, False),
    (set(), "audit", False),
    (set(), None, False),
)
