"""The one alphabet of names (docs/concepts.md), what a name becomes as a DNS label, how long what else names may be."""

from __future__ import annotations

import hashlib
import re

NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_LABEL_LIMIT = 63
LONGEST_SAID = 256
"""Characters of what a body may call a model; `targets/nginx/lua/plain_name.lua` takes no more."""
LONGEST_SOCKET = 103
"""Bytes of a unix socket's path on every platform we know: sockaddr_un.sun_path (104 on BSDs) less its NUL."""


def is_name(text: str) -> bool:
    """Whether `text` may name a model, version, role, workload, grant or agent."""
    return _NAME.fullmatch(text) is not None


def dns_label(name: str) -> str:
    """`name` as a DNS label; a name that changed or is too long ends in `-` and 6 hex digits of its SHA-256."""
    label = name.replace(".", "-").replace("_", "-").rstrip("-")
    if label == name and len(label) <= _LABEL_LIMIT:
        return label
    return f"{label[: _LABEL_LIMIT - 7].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
