"""Which versions of the stock programs have known holes (November 2026): a build in, a finding out."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

NGINX_FIXED = (1, 30, 7)
NGINX_MAINLINE_FIXED = (1, 31, 9)
NGINX_DEBIAN_12 = ("1.22.1", "1.22.1-9+deb12u11")
_NGINX_ORG = re.compile(
    r"[0-9.]+-[0-9]+~[a-z]+[0-9]*", re.ASCII
)  # nginx.org's and OpenResty's are as old as they say
LUA_FIXED = (
    0,
    10,
    27,
)  # later holes are in receiveuntil() and in set_serialized_session(), neither of which we use
LUA_DEBIAN_12 = ("0.10.23", "1:0.10.23-1+deb12u1")
ENVOY_FIXED = ((1, 36, 10), (1, 37, 6), (1, 38, 4), (1, 39, 1))  # the newest branch last


@dataclass(frozen=True, slots=True)
class Build:
    """A program as found: its upstream version if it tells, and the package it came in if dpkg knows."""

    path: Path
    upstream: str | None
    distributed: bool = False  # it came with the system, whose packagers patch without changing `upstream`
    release: str = ""
    package: str = ""
    package_version: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """`vulnerable`: known to have holes; else it could not be judged."""

    vulnerable: bool
    message: str
    remedy: str


def judge_nginx(build: Build) -> Finding | None:
    if _is_of_debian_12(build, NGINX_DEBIAN_12):
        return _judge_debian_12("nginx", build, NGINX_DEBIAN_12)
    if _NGINX_ORG.fullmatch(build.package_version):
        build = replace(build, distributed=False)
    is_mainline = numbers(build.upstream or "")[:2] == NGINX_MAINLINE_FIXED[:2]
    return _judge("nginx", build, NGINX_MAINLINE_FIXED if is_mainline else NGINX_FIXED)


def judge_lua(build: Build) -> Finding | None:
    if _is_of_debian_12(build, LUA_DEBIAN_12):
        return _judge_debian_12("lua-nginx-module", build, LUA_DEBIAN_12)
    return _judge("lua-nginx-module", build, LUA_FIXED)


def judge_envoy(build: Build) -> Finding | None:
    version = numbers(build.upstream or "")
    branch = next((fixed for fixed in ENVOY_FIXED if fixed[:2] == version[:2]), ENVOY_FIXED[-1])
    return _judge("Envoy", build, branch)


def numbers(version: str) -> tuple[int, ...]:
    """`1.30.7`, or `1.30.7-1~bookworm`, as (1, 30, 7); empty where there is no version."""
    found = re.match(r"[0-9]+(\.[0-9]+)*", version, re.ASCII)
    return tuple(map(int, found[0].split("."))) if found else ()


def _is_of_debian_12(build: Build, known: tuple[str, str]) -> bool:
    return build.release == "debian 12" and build.upstream == known[0]


def _judge_debian_12(name: str, build: Build, known: tuple[str, str]) -> Finding | None:
    """Debian 12 patches without changing the upstream version: its own number tells."""
    if _debian_at_least(build.package_version, known[1]):
        return None
    old = f"{name} {build.package_version} (package {build.package}) has known holes."
    update = f"apt-get update && apt-get install --only-upgrade {build.package}"
    return Finding(True, old, f"Update to {known[1]} or later: {update}.")


def _judge(name: str, build: Build, fixed: tuple[int, ...]) -> Finding | None:
    version = numbers(build.upstream or "")
    if version >= fixed:
        return None
    if not version or build.distributed:
        return _unjudged_finding(name, build, fixed)
    remedy = f"Install {name} {_text(fixed)} or later."
    return Finding(True, f"{name} {build.upstream} ({build.path}) has known holes.", remedy)


def _unjudged_finding(name: str, build: Build, fixed: tuple[int, ...]) -> Finding:
    version = build.package_version or build.upstream or "of unknown version"
    message = f"{name} {version} ({build.path}) could not be judged."
    return Finding(False, message, f"Make sure that it has the fixes of {name} {_text(fixed)}.")


def _debian_at_least(version: str, minimum: str) -> bool:
    """Debian's order of versions (deb-version(7)) is dpkg's own to tell."""
    return subprocess.run(["dpkg", "--compare-versions", version, "ge", minimum], check=False).returncode == 0


def _text(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
