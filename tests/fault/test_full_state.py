"""STATE on a disk that is full: a revocation says whether it holds, and whether it is kept, and both are so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from meshward.apply.revocation_store import load_revocations
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from tests.apply.test_live_changes import statuses
from tests.apply.test_watch_and_start import start
from tests.hostile.conftest import write_hostile
from tests.stack.asking import ask
from tests.stack.disk import small_disk
from tests.stack.running import Stack, eventually, running

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="not run: a disk that can be filled is a small tmpfs, which only root can mount"
)
PATH = "/m/m1/v1/public"


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    """STATE, with all records, on 32 MB of its own."""
    place = short_dir / "s"
    place.mkdir()
    with small_disk(place, "32m", 0o700), running(short_dir, write_hostile) as started:
        yield started


def revoke(stack: Stack, **asked: Any) -> dict[str, Any]:
    return ask(stack.state, {"do": "revoke", **asked}, lambda _: None)


def refusal(stack: Stack, **asked: Any) -> MeshwardError:
    with pytest.raises(MeshwardError) as told:
        revoke(stack, **asked)
    assert told.value.exit_code is Exit.HOP_REFUSED
    return told.value


def test_what_is_said_is_so(stack: Stack) -> None:
    """
    1. Full: who is revoked is refused and not kept; who was revoked is let in by nobody.
    2. With room again it is written by itself, and a kill keeps it.
    """
    alice, bob = (stack.issuer.token(name, ["users"]) for name in ("alice", "bob"))
    assert statuses(stack, alice, PATH) == statuses(stack, bob, PATH) == [200]
    revoke(stack, subject="test:bob")
    ballast = stack.state / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):  # 1
        while True:
            file.write(b"x" * 4096)
    assert (error := refusal(stack, subject="test:alice")).code.number == "MW3074", error
    assert "holds at every hop" in error.message and "No space left" in error.message
    assert statuses(stack, alice, PATH)[0] in (401, 503), "503: no record of it could be kept"
    assert (error := refusal(stack, subject="test:bob", undo=True)).code.number == "MW3075", error
    assert set(revoke(stack)["subjects"]) == {"test:alice", "test:bob"}
    assert set(load_revocations(stack.state).subjects) == {"test:bob"}
    ballast.unlink()  # 2
    eventually(lambda: "test:alice" in load_revocations(stack.state).subjects, what="the list")
    stack.process.kill()
    stack.process.wait(60)
    start(stack)
    eventually(
        lambda: statuses(stack, alice, PATH) == statuses(stack, bob, PATH) == [401], what="both refused"
    )
