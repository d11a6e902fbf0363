"""Three checks on a whole nginx.conf that no linter has, each about a way in which a decision stops being one.

They read the file as crossplane does, and a finding is one sentence. What counts as protected is whatever comes after a
decision: a location that begins with the handler which decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crossplane

Directive = dict[str, Any]
_HANDLER = "rewrite_by_lua_file"
_QUESTION = "= /_decide"  # where the handler asks
_SENDS = ("proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass")
_ROUTED = (
    "content_by_lua_file",
    "content_by_lua_block",
    "auth_request",
    _HANDLER,
)  # these may hand on to others


@dataclass(frozen=True)
class Location:
    """One location and all that holds in it: `inherited` is what its server and the http block say."""

    name: str
    block: list[Directive]
    inherited: list[Directive]
    siblings: tuple[str, ...]

    def all(self, *names: str) -> list[list[str]]:
        """The arguments of each directive with one of these names, in it or around it."""
        return [d["args"] for d in (*self.inherited, *self.block) if d["directive"] in names]

    def own(self, *names: str) -> list[list[str]]:
        return [d["args"] for d in self.block if d["directive"] in names]


def locations(conf: Path) -> list[Location]:
    """Every location of `conf`. Raises AssertionError for a file that crossplane cannot read."""
    parsed = crossplane.parse(str(conf), single=True, strict=False, check_ctx=False, check_args=False)
    assert parsed["status"] == "ok", parsed["errors"]
    (http,) = [d["block"] for d in parsed["config"][0]["parsed"] if d["directive"] == "http"]
    found = []
    for server in (d["block"] for d in http if d["directive"] == "server"):
        around = [d for d in (*http, *server) if "block" not in d]
        inside = [d for d in server if d["directive"] == "location"]
        names = tuple(" ".join(d["args"]) for d in inside)
        found += [Location(" ".join(d["args"]), d["block"], around, names) for d in inside]
    return found


def error_page_to_a_server(conf: Path) -> Iterator[str]:
    """`error_page 500 = @fallback` beside a decision: when the decision breaks, the fallback answers in its place."""
    every = locations(conf)
    for location in every:
        if not _is_protected(location):
            continue
        for *_, target in location.all("error_page"):
            place = _place(target, every)
            if place is None or place.own(*_SENDS, *_ROUTED):
                yield f"`{location.name}`: an error goes to `{target}`, which asks another server"


# What the handler sets itself, before it asks, from what its key has: a piece of the request line, or of the address.
_MADE_OF = {
    **dict.fromkeys(("mw_method", "mw_front", "mw_model", "mw_path"), "request"),
    "mw_net": "remote_addr",
}


def key_misses_an_input(conf: Path, key: str) -> Iterator[str]:
    """An input of the question that is not in the key of its answer: one caller gets another's."""
    hashed = _keyed(key)
    for location in locations(conf):
        if location.name != _QUESTION:
            continue
        for name, value, *_ in location.own("proxy_set_header"):
            for variable in re.findall(r"\$\{?([a-z_0-9]+)", value):
                if _MADE_OF.get(variable, variable) not in hashed:
                    yield f"`{location.name}`: `{name}` depends on `${variable}`, the key does not"


def kept_decision(conf: Path) -> Iterator[str]:
    """An answer that nginx keeps itself: it would outlive the epoch, or its end, or the service that gave it."""
    for location in locations(conf):
        for name in ("proxy_cache", "proxy_cache_use_stale", "proxy_cache_background_update", "proxy_store"):
            for arguments in location.all(name):
                if arguments != ["off"]:
                    yield f"`{location.name}`: `{name} {' '.join(arguments)}` keeps what a hop was answered"


def _is_protected(location: Location) -> bool:
    return bool(location.own(_HANDLER))


def _place(target: str, every: list[Location]) -> Location | None:
    """The location that `target` leads to: exactly, by name, or by the longest prefix. None: it leaves nginx."""
    if target.startswith("@"):
        return next((each for each in every if each.name == target), None)
    if not target.startswith("/"):
        return None
    fitting = [each for each in every if target.startswith(each.name.split(" ")[-1])]
    return max(fitting, key=lambda each: len(each.name.split(" ")[-1]), default=None)


def _keyed(text: str) -> set[str]:
    """The nginx variables whose bytes lua/key.lua puts into the key: each that it reads."""
    parts = re.search(r"^local PARTS = \{(.*?)\}", text, re.MULTILINE | re.DOTALL)
    assert parts, "lua/key.lua holds no list of PARTS"
    assert "for i = 1, #PARTS do\n        add(c, raw.get(PARTS[i]))" in text, "lua/key.lua adds no PARTS"
    return {*re.findall(r'"(\w+)"', parts[1]), *re.findall(r'raw\.get\("(\w+)"\)', text)}
