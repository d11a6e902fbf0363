"""Three checks on a whole nginx.conf that no linter has, each about a way in which a decision stops being one.

They read the file as crossplane does, and a finding is one sentence. What counts as protected is whatever comes after a
decision: a location with `auth_request`, and one that a script of such a location redirects to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crossplane

Directive = dict[str, Any]
_ASKS = "auth_request"
_SENDS = ("proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass")
_ROUTED = ("js_content", "auth_request")  # a location with one of these hands on to others


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


def key_misses_an_input(conf: Path, script: str) -> Iterator[str]:
    """A cached answer, and an input of the question that is not in the answer's key: one caller gets another's."""
    every = locations(conf)
    for location in every:
        if not _answers_decisions(location, every) or not location.own("proxy_cache"):
            continue
        hashed = _hashed(script)
        key = " ".join(location.own("proxy_cache_key")[0]) if location.own("proxy_cache_key") else ""
        for name, value, *_ in location.own("proxy_set_header"):
            for variable in re.findall(r"\$\{?([a-z_0-9]+)", value):
                if f"${variable}" not in key and not ("mw_key" in key and variable in hashed):
                    yield f"`{location.name}`: `{name}` depends on `${variable}`, its cache key does not"


def stale_decision(conf: Path) -> Iterator[str]:
    """A decision that is used after its time, because the service that would renew it is gone."""
    every = locations(conf)
    for location in every:
        if not _answers_decisions(location, every):
            continue
        for name in ("proxy_cache_use_stale", "proxy_cache_background_update"):
            for arguments in location.all(name):
                if arguments != ["off"]:
                    yield f"`{location.name}`: `{name} {' '.join(arguments)}` keeps a decision past its end"


def _is_protected(location: Location) -> bool:
    return bool(location.all(_ASKS)) or location.name.startswith("@")


def _answers_decisions(location: Location, every: list[Location]) -> bool:
    asked = {arguments[0] for other in every for arguments in other.all(_ASKS)}
    return location.name.split(" ")[-1] in asked


def _place(target: str, every: list[Location]) -> Location | None:
    """The location that `target` leads to: exactly, by name, or by the longest prefix. None: it leaves nginx."""
    if target.startswith("@"):
        return next((each for each in every if each.name == target), None)
    if not target.startswith("/"):
        return None
    fitting = [each for each in every if target.startswith(each.name.split(" ")[-1])]
    return max(fitting, key=lambda each: len(each.name.split(" ")[-1]), default=None)


def _hashed(script: str) -> set[str]:
    """The nginx variables that `key` of meshward.js hashes: through its locals, and what `cut` gives back."""
    body = re.search(r"^(?:async )?function key\(r\) \{\n(.*?)^\}", script, re.MULTILINE | re.DOTALL)
    assert body, "meshward.js holds no function `key`"
    local = dict(re.findall(r"const (\w+) = ([^;]+);", body[1]))
    parts = re.search(r"\[([^\]]*)\]\.join\('\\n'\)", body[1])
    assert parts, "`key` joins no list of its inputs"
    into = parts[1].split(",") + re.findall(r"\.update\((\w+)\)", body[1])
    sources = [local.get(name.strip(), name.strip()) for name in into]
    names = {name for source in sources for name in re.findall(r"[vV]ariables\.(\w+)|\bv\.(\w+)", source)[:1]}
    return {one or other for one, other in names} | ({"mw_front"} if "cut(v)" in sources else set())
