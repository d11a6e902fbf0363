"""The edge's Lua modules for the body, called from Python: bytes in, bytes out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from lupa.luajit21 import LuaRuntime

MODULES = files("meshward.targets.nginx") / "lua"


@dataclass(frozen=True, slots=True)
class Found:
    """Where a body names its model, as Python counts, and the name."""

    start: int
    stop: int
    name: str


@cache
def _lua() -> LuaRuntime:
    lua = LuaRuntime(encoding=None)
    lua.globals().package.path = f"{MODULES}/?.lua".encode()
    return lua


def module(name: str) -> Any:
    return _lua().require(name.encode())


def find(
    body: bytes, content_type: str | None = "application/json", pauses: list[int] | None = None
) -> Found | str:
    """What the body names, or the word of the problem."""
    seen = pauses if pauses is not None else []
    answer = module("body_model").find(body, content_type and content_type.encode(), lambda: seen.append(1))
    if answer[0] is None:
        return answer[1].decode()
    start, stop, name = answer
    return Found(start - 1, stop, name.decode())


def put(body: bytes, found: Found, name: str) -> bytes:
    return module("body_model").put(body, found.start + 1, found.stop, name.encode())


def sentences() -> dict[str, str]:
    return {word.decode(): text.decode() for word, text in module("body_problems").items()}
