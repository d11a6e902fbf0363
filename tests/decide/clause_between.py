"""Between two revisions: what of the following one must be as it was, and until when the answer then holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clause_world import BASE, DAY_END, NOON, STAFF, Expected, given, permit, refused


@dataclass(frozen=True, slots=True)
class BetweenRow:
    """What m's `POST /run` comes to for somebody who is permitted now, while `following` arrives."""

    case: str
    following: dict[str, Any]
    expected: Expected
    who: dict[str, Any] = field(default_factory=lambda: STAFF)
    now: dict[str, Any] = field(default_factory=dict)


def _withheld() -> Expected:
    return refused("no_grant", "no grant gives m.infer to this identity", NOON)


def _other(section: str, name: str, **keys: Any) -> dict[str, Any]:
    return {section: BASE[section] | {name: BASE[section][name] | keys}}


_ECHO = {"describe": ["POST /run"], "infer": ["GET /info"], "health": "GET /health"}
_OF_W = {"roles": BASE["roles"] | {"staff": [{"workload": "w"}]}}
_BY_BOT = STAFF | {"actors": ("bot",)}
_DAY = {"grants": [given("g", expires="2026-11-23")]}
_TWO_DAYS = {"grants": [given("g", expires="2026-11-24")]}

BETWEEN: tuple[BetweenRow, ...] = (
    BetweenRow("nothing changes", {}, permit()),
    BetweenRow("the following ends", _DAY, permit(until=DAY_END)),
    BetweenRow("this one ends", {}, permit(until=DAY_END), now=_DAY),
    BetweenRow("the following ends sooner", _DAY, permit(until=DAY_END), now=_TWO_DAYS),
    BetweenRow("this one ends sooner", _TWO_DAYS, permit(until=DAY_END), now=_DAY),
    BetweenRow(
        "the following denies",
        {"denies": [{"id": "d", "models": "all"}]},
        refused("denied_by_rule", "the rule d denies m.infer to i:s", NOON),
    ),
    BetweenRow("the route means another action", {"servers": {"echo": _ECHO}}, _withheld()),
    BetweenRow("the model is gone", {"models": {"n": BASE["models"]["n"]}}, _withheld()),
    BetweenRow("its issuer is another", _other("issuers", "i", audience="others"), _withheld()),
    BetweenRow("another issuer is another", _other("issuers", "j", audience="others"), permit()),
    BetweenRow(
        "its workload is another",
        _OF_W | {"workloads": {"w": {"id": "/v"}}},
        _withheld(),
        {"workload": "w"},
        _OF_W,
    ),
    BetweenRow("another workload is another", {"workloads": {"w": {"id": "/v"}}}, permit()),
    BetweenRow("its agent may do more", _other("agents", "bot", max_depth=3), _withheld(), _BY_BOT),
    BetweenRow("its agent stays", {}, permit(), _BY_BOT),
    BetweenRow("another agent may do more", _other("agents", "tool", max_depth=3), permit(), _BY_BOT),
    BetweenRow(
        "the second of two agents may do more",
        _other("agents", "tool", max_depth=3),
        _withheld(),
        STAFF | {"actors": ("bot", "tool")},
    ),
)
