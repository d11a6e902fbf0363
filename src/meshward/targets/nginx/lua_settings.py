"""The settings that the Lua of the edge needs, as a Lua module: a table of literals."""

from __future__ import annotations

from collections.abc import Iterable

from meshward.targets.nginx.gate import CHECKS, UPGRADE, Check
from meshward.targets.nginx.log import FIELDS
from meshward.targets.nginx.settings import EdgeSettings


def lua_settings(s: EdgeSettings) -> str:
    """The text of settings.lua. Equal settings give equal text."""
    values = {
        "log": _string(s.log),
        "fields": _names(FIELDS),
        "page": _string(f"{s.given}/page"),
        "revoked": _string(f"{s.given}/revoked"),
        "certificates": _string(f"{s.given}/certs"),
        "gate": _list(_check(check) for check in CHECKS if check is not UPGRADE),
        "rates": _set(s.rates),
        "slots": str(s.slots),
        "pools": str(s.pools),
        "open_per_address": str(s.open_per_address),
        "handshake_rate": str(s.handshake_rate),
        "handshake_burst": str(s.handshake_burst),
        "held_per_address": str(s.held_per_address),
        "refusals_told": str(s.refusals_told),
        "refusals_most": str(s.refusals_most),
        "room": str(s.decision_room),
    }
    lines = [f"    {name} = {value}," for name, value in values.items()]
    return "\n".join(["return {", *lines, "}", ""])


def _string(text: str) -> str:
    """As Lua reads it back byte for byte: what is no plain character is a decimal escape."""
    plain = (chr(b) if 32 <= b < 127 and b not in b'"\\\\' else f"\\{b:03d}" for b in text.encode())
    return f'"{"".join(plain)}"'


def _check(check: Check) -> str:
    equal = "true" if check.operator == "=" else "false"
    words = f"variable = {_string(check.variable)}, equal = {equal}, literal = {_string(check.literal)}"
    return f"{{ {words}, status = {check.status} }}"


def _list(values: Iterable[str]) -> str:
    return "{\n" + "".join(f"        {value},\n" for value in values) + "    }"


def _names(names: Iterable[str]) -> str:
    return "{ " + ", ".join(map(_string, names)) + " }"


def _set(names: tuple[str, ...]) -> str:
    return "{ " + ", ".join(f"[{_string(name)}] = true" for name in sorted(set(names))) + " }"
