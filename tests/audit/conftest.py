from __future__ import annotations

from pathlib import Path

import pytest

from tests.audit.making import Mesh


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return Mesh(tmp_path)
