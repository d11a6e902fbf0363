"""Which versions of the stock programs have known holes (November 2026): a build in, a finding out."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

NGINX_FIXED = (1, 30, 7)
NGINX_MAINLINE = (1, 31)  # some of its releases have the fixes; the number alone does not tell which
NGINX_DEBIAN_12 = ("1.22.1", "1.22.1-9+deb12u11")
_NGINX_ORG = re.compile(r"[0-9.]+-[0-9]+~[a-z]+", re.ASCII)  # nginx.org's own packages are as old as they say
NJS_FIXED = (1, 0, 2)
NJS_DEBIAN = "0.7.9"  # its holes are in ngx.fetch(), XML and js_fetch_proxy, none of which we use
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
    upstream, patched = NGINX_DEBIAN_12
    if build.release == "debian 12" and build.upstream == upstream:
        if _debian_at_least(build.package_version, patched):
            return None
        old = f"nginx {build.package_version} (package {build.package}) has known holes."
        remedy = f"Update to {patched} or later: apt-get update && apt-get install --only-upgrade nginx."
        return Finding(True, old, remedy)
    if build.upstream and numbers(build.upstream)[:2] == NGINX_MAINLINE:
        return _unjudged_finding("nginx", build, NGINX_FIXED)
    if _NGINX_ORG.fullmatch(build.package_version):
        build = replace(build, distributed=False)
    return _judge("nginx", build, NGINX_FIXED)


def judge_njs(build: Build) -> Finding | None:
    if build.package and build.upstream == NJS_DEBIAN:
        return None
    return _judge("njs", build, NJS_FIXED)


def judge_envoy(build: Build) -> Finding | None:
    version = numbers(build.upstream or "")
    branch = next((fixed for fixed in ENVOY_FIXED if fixed[:2] == version[:2]), ENVOY_FIXED[-1])
    return _judge("Envoy", build, branch)


def numbers(version: str) -> tuple[int, ...]:
    """`1.30.7`, or `1.30.7-1~bookworm`, as (1, 30, 7); empty where there is no version."""
    found = re.match(r"[0-9]+(\.[0-9]+)*", version, re.ASCII)
    return tuple(map(int, found[0].split("."))) if found else ()


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
