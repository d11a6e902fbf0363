from __future__ import annotations

from collections.abc import Iterator

import pytest
from guard_harness import Guard, running


@pytest.fixture(scope="module")
def shared_guard() -> Iterator[Guard]:
    """One guard for all tests of a module that leave it as it was."""
    with running() as guard:
        yield guard


@pytest.fixture
def guard(shared_guard: Guard) -> Guard:
    shared_guard.model.seen.clear()
    shared_guard.model.answer_headers.clear()
    return shared_guard
