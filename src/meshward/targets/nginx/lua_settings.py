"""The settings that the Lua of the edge needs, as a Lua module: a table of literals."""

from __future__ import annotations

from meshward.targets.nginx.settings import EdgeSettings


def lua_settings(s: EdgeSettings) -> str:
    """The text of settings.lua. Equal settings give equal text."""
    values = {
        "page": _string(f"{s.run_dir}/page"),
        "revoked": _string(f"{s.run_dir}/revoked"),
        "certificates": _string(f"{s.run_dir}/certs"),
        "rates": _set(s.rates),
        "slots": str(s.slots),
        "open_per_address": str(s.open_per_address),
        "handshake_rate": str(s.handshake_rate),
        "handshake_burst": str(s.handshake_burst),
        "room": str(s.decision_room),
    }
    lines = [f"    {name} = {value}," for name, value in values.items()]
    return "\n".join(["return {", *lines, "}", ""])


def _string(text: str) -> str:
    """As Lua reads it back byte for byte: what is no plain character is a decimal escape."""
    plain = (chr(b) if 32 <= b < 127 and b not in b'"\\\\' else f"\\{b:03d}" for b in text.encode())
    return f'"{"".join(plain)}"'


def _set(names: tuple[str, ...]) -> str:
    return "{ " + ", ".join(f"[{_string(name)}] = true" for name in sorted(set(names))) + " }"
