from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from meshward.policy.parse import Source, parse
from meshward.policy.schema import Policy


@pytest.fixture
def policy_at() -> Callable[[Path], Policy]:
    return lambda path: parse([Source(path.name, path.read_bytes())]).policy
