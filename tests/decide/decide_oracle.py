"""A second, naive reading of the policy's text: slow, plain, and sharing no code with `meshward.decide`.

It reads the mapping that a person would write and answers which grants hold, or None where a deny applies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
WORKLOAD_PROFILES = {"kubernetes", "github-actions"}


@dataclass(frozen=True)
class Asked:
    """Everything known about one request."""

    model: str
    action: str
    at: int
    issuer: str | None = None
    subject: str | None = None
    groups: tuple[str, ...] = ()
    claims: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    workload: str | None = None
    actors: tuple[str, ...] = ()
    authenticated_at: int | None = None
    source: str | None = None
    via: str | None = None


def holding(policy: dict[str, Any], asked: Asked) -> list[str] | None:
    """The ids of the grants that hold, in the file's order; None if some deny applies."""
    if asked.model not in policy["models"]:
        return []
    roles = {role for role, lines in policy["roles"].items() if any(is_member(line, asked) for line in lines)}
    if any(denies(deny, policy, roles, asked) for deny in policy.get("denies", [])):
        return None
    if asked.via is not None:
        calls = policy["models"].get(asked.via, {}).get("calls", [])
        if asked.model not in calls:
            return []
    for name in asked.actors:
        agent = policy.get("agents", {}).get(name)
        if agent is None or not agent_may(agent, policy, asked):
            return []
        roles = roles & set(agent["acts_for"])
    return [grant["id"] for grant in policy.get("grants", []) if gives(grant, policy, roles, asked)]


def is_member(line: dict[str, Any], asked: Asked) -> bool:
    if "issuer" not in line and ("workload" not in line or asked.issuer is not None):
        return False
    tests = {
        "issuer": lambda v: v == asked.issuer,
        "group": lambda v: v in asked.groups,
        "subject": lambda v: v == asked.subject,
        "workload": lambda v: v == asked.workload,
        "claims": lambda v: all(has_claim(asked.claims, key, wanted) for key, wanted in v.items()),
        "until": lambda v: asked.at < day_end(v),
    }
    return all(tests[key](value) for key, value in line.items())


def has_claim(claims: dict[str, Any], key: str, wanted: Any) -> bool:
    found: Any = claims
    for step in key[1:].split("/") if key.startswith("/") else [key]:
        if not isinstance(found, dict) or step not in found:
            return False
        found = found[step]
    return repr(found) == repr(wanted)


def denies(deny: dict[str, Any], policy: dict[str, Any], roles: set[str], asked: Asked) -> bool:
    if deny.get("mode") == "shadow" or ("expires" in deny and asked.at >= day_end(deny["expires"])):
        return False
    if "roles" in deny and not roles & set(deny["roles"]):
        return False
    if "actions" in deny and asked.action not in deny["actions"]:
        return False
    if "models" in deny and selected(deny["models"], policy, asked) is False:
        return False
    if "subjects" in deny:
        speakers = [(asked.issuer, asked.subject)]
        for name in asked.actors:
            credential = policy.get("agents", {}).get(name, {}).get("credential", {})
            speakers.append((credential.get("issuer"), credential.get("subject")))
        if not any((who["issuer"], who["subject"]) in speakers for who in deny["subjects"]):
            return False
    return False not in conditions(deny.get("when", {}), policy, asked)  # the unknown does not save


def gives(grant: dict[str, Any], policy: dict[str, Any], roles: set[str], asked: Asked) -> bool:
    if grant.get("mode") == "shadow" or "on_request" in grant:
        return False
    if "expires" in grant and asked.at >= day_end(grant["expires"]):
        return False
    if not roles & set(grant["roles"]) or asked.action not in grant["actions"]:
        return False
    if selected(grant["models"], policy, asked) is not True:
        return False
    when = grant.get("when", {})
    if (asked.via is not None) != ("via" in when):
        return False
    return set(conditions(when, policy, asked)) <= {True}


def agent_may(agent: dict[str, Any], policy: dict[str, Any], asked: Asked) -> bool:
    return (
        len(asked.actors) <= agent.get("max_depth", 1)
        and len(set(asked.actors)) == len(asked.actors)
        and asked.action in agent["actions"]
        and selected(agent["models"], policy, asked) is True
    )


def selected(selection: Any, policy: dict[str, Any], asked: Asked) -> bool | None:
    """True, False, or None where the caller's attribute is not known."""
    if selection == "all":
        return True
    if isinstance(selection, list):
        return asked.model in selection
    labels = policy["models"][asked.model].get("labels", {})
    if any(labels.get(key) != value for key, value in selection.get("labels", {}).items()):
        return False
    answer: bool | None = True
    for name in selection.get("same", []):
        if name not in labels or (name in asked.attributes and asked.attributes[name] != labels[name]):
            return False
        if name not in asked.attributes:
            answer = None
    return answer


def conditions(when: dict[str, Any], policy: dict[str, Any], asked: Asked) -> list[bool | None]:
    found: list[bool | None] = []
    if "from" in when:
        known = asked.source is not None
        found.append(any(ip_address(asked.source) in ip_network(n) for n in when["from"]) if known else None)
    if "hours" in when:
        found.append(in_hours(when["hours"], asked.at))
    if "fresh" in when:
        hours = int(when["fresh"].removesuffix("h"))
        known = asked.authenticated_at is not None
        found.append(asked.at - asked.authenticated_at < hours * 3600 if known else None)
    if "via" in when:
        found.append(asked.via in when["via"])
    if "person" in when:
        found.append((when["person"] == "required") == is_person(policy, asked))
    if "actor" in when:
        found.append((when["actor"] == "present") == (len(asked.actors) > 0))
    return found


def is_person(policy: dict[str, Any], asked: Asked) -> bool:
    if asked.issuer is None or policy["issuers"][asked.issuer]["profile"] in WORKLOAD_PROFILES:
        return False
    return asked.claims.get("client_id") is None or asked.claims["client_id"] != asked.subject


def in_hours(text: str, at: int) -> bool:
    days, window, zone = text.split()
    start, end = window.split("-")
    now = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(zone))
    clock = now.strftime("%H:%M")
    if start < end:
        return named_day(days, now) and start <= clock < end
    return (named_day(days, now) and clock >= start) or (
        named_day(days, now - timedelta(days=1)) and clock < end
    )


def named_day(days: str, now: datetime) -> bool:
    wanted: set[str] = set()
    for part in days.split(","):
        first, last = (part.split("-") * 2)[:2]
        place = DAYS.index(first)
        wanted.add(DAYS[place])
        while DAYS[place] != last:
            place = (place + 1) % 7
            wanted.add(DAYS[place])
    return DAYS[now.weekday()] in wanted


def day_end(text: str) -> int:
    return int((datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1)).timestamp())
