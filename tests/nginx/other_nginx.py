"""Another nginx than the machine's own: MESHWARD_TEST_NGINX names the directory that its packages were unpacked in.

The tree may be of another release of the system: its programs then run with the C library that lies in it.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from meshward.apply.hop_files import KEEPALIVE_MIN_TIMEOUT

_TREE = os.environ.get("MESHWARD_TEST_NGINX")


@cache
def binary() -> str | None:
    """A program that runs the tree's nginx; None where the machine's own is meant."""
    if not _TREE:
        return None
    tree = Path(_TREE).resolve()
    nginx = _only(tree, "usr/sbin/nginx")
    loaders = sorted(tree.glob("usr/lib/*/ld-linux-*"))
    if not loaders:
        return str(nginx)
    script = Path(tempfile.mkdtemp(prefix="mwn-", dir="/tmp"), "nginx")
    script.parent.chmod(0o755)
    loader = loaders[0]
    script.write_text(f'#!/bin/sh\nexec "{loader}" --library-path "{loader.parent}" "{nginx}" "$@"\n')
    script.chmod(0o755)
    return str(script)


@cache
def settings() -> dict[str, Any]:
    """What the edge must be told of it; empty where the machine's own is meant."""
    if not _TREE:
        return {}
    tree = Path(_TREE).resolve()
    modules = (
        _only(tree, f"usr/lib/nginx/modules/{name}_module.so") for name in ("ndk_http", "ngx_http_lua")
    )
    core = _only(tree, "usr/share/lua/5.1/resty/core.lua")
    return {
        "lua_modules": tuple(map(str, modules)),
        "lua_path": f"{core.parent.parent}/?.lua",
        "keepalive_min_timeout": _version() >= KEEPALIVE_MIN_TIMEOUT,
    }


def _version() -> tuple[int, ...]:
    about = subprocess.run([str(binary()), "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", about)
    assert found, about
    return tuple(map(int, found.groups()))


def _only(tree: Path, path: str) -> Path:
    assert (tree / path).is_file(), f"MESHWARD_TEST_NGINX={_TREE} has no {path}"
    return tree / path
