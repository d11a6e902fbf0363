"""One spelling of a JSON value, so that equal values have equal digests.

Keys sorted, no white space, ASCII only, no floats that are not finite. Not RFC 8785: ours never holds floats.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical_json(value: Any) -> str:
    """`value` as canonical JSON text. Raises ValueError for NaN and infinities."""
    return _ENCODER.encode(value)


def digest(value: Any) -> str:
    """Lower-case hex SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
