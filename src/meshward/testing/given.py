"""A policy, as a test has it at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from meshward.apply.sources import read_policy
from meshward.policy.parse import Source, parse
from meshward.policy.schema import Policy

Given = Policy | Mapping[str, Any] | str | PathLike[str]
"""A policy that was read, the data of one, or the path of a file or a directory."""


def policy_of(given: Given) -> Policy:
    """Raises MeshwardError, with every problem of a policy that is wrong."""
    if isinstance(given, Policy):
        return given
    if isinstance(given, Mapping):
        return parse([Source("policy", json.dumps(given).encode())]).policy
    return read_policy(Path(given)).policy
