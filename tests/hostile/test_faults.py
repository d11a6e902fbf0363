"""Invariant 8: whatever dies, under load, no door opens; and it comes back by itself."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from meshward.apply.edge_page import page_bytes
from tests.stack.live import raise_epoch
from tests.stack.load import at_work
from tests.stack.running import Stack, eventually


@dataclass
class Seen:
    """What callers met while something died."""

    good: list[int] = field(default_factory=list)
    evil: list[int] = field(default_factory=list)


@contextmanager
def under_load(stack: Stack) -> Iterator[Seen]:
    """Good and evil callers without pause. The evil ones ask what they must never get."""
    seen, stop = Seen(), threading.Event()
    alice, eve = stack.issuer.token("alice", ["users"]), stack.issuer.token("eve", ["others"])

    def good() -> None:
        while not stop.wait(0.01):
            _ask(seen.good, stack, "/m/m1/v1/public", alice)

    def evil() -> None:
        while not stop.wait(0.005):
            _ask(seen.evil, stack, "/m/m1/v1/public", eve)
            _ask(seen.evil, stack, "/m/m1/v1/secret", alice)
            _ask(seen.evil, stack, "/m/m2/v1/public", None)

    with at_work(stop, good, good, evil):
        yield seen


def _ask(into: list[int], stack: Stack, path: str, token: str | None) -> None:
    try:
        into.append(stack.call("GET", path, token).status)
    except OSError:
        into.append(0)
    except Exception:  # a broken transfer: no answer is no door
        into.append(-1)


def _part(stack: Stack, prefix: str, but: int = 0) -> int:
    """The process of the part, which is another than `but`."""

    def found() -> int:
        running = (pid for name, pid in stack.processes().items() if name.startswith(prefix))
        return next((pid for pid in running if pid != but), 0)

    return eventually(found, what=f"the part {prefix}")


@pytest.mark.parametrize("part", ["decide", "guard-00", "edge", "collector"])
def test_kill(stack: Stack, part: str) -> None:
    stack.taken()
    with under_load(stack) as seen:
        eventually(lambda: seen.good.count(200) > 5, what="good traffic")
        before = _part(stack, part)
        os.kill(before, signal.SIGKILL)
        raise_epoch(stack)  # no cached decision hides the fault
        _part(stack, part, but=before)
        mark = len(seen.good)
        eventually(lambda: 200 in seen.good[mark:], what="good traffic again")
        evils = len(seen.evil)
        eventually(lambda: len(seen.evil) > evils + 6, what="evil traffic again")
    assert 200 not in seen.evil, sorted(set(seen.evil))
    secret = [each for each in stack.models["m1/v1"].taken() if each.target != "/v1/public"]
    assert secret == [] and stack.models["m2/v1"].taken() == []


def test_the_edge_without_a_decision_service_refuses(stack: Stack) -> None:
    """Stopped, not dead: it accepts and never answers (K11)."""
    token = stack.issuer.token("alice", ["users"])
    decide = _part(stack, "decide")
    os.kill(decide, signal.SIGSTOP)
    try:
        raise_epoch(stack)
        reply = stack.call("GET", "/m/m1/v1/public", token)
        assert reply.status == 503, reply
    finally:
        os.kill(decide, signal.SIGCONT)
    eventually(lambda: stack.call("GET", "/m/m1/v1/public", token).status == 200, what="good traffic again")


_WHOLE = page_bytes(7, 1)


@pytest.mark.parametrize("content", [b"", b"junk", _WHOLE[:-1], _WHOLE + b"\0", page_bytes(0, 1), None])
def test_a_broken_page_refuses_until_it_is_whole(stack: Stack, content: bytes | None) -> None:
    """The epoch is part of every key: without it no remembered decision may be used, and none made."""
    token = stack.issuer.token("alice", ["users"])
    assert stack.call("GET", "/m/m1/v1/public", token).status == 200
    file = stack.run / "given" / "edge" / "page"
    kept = file.with_name("page.kept")
    file.rename(kept)
    try:
        if content is not None:
            _replace(file, content, kept)
        stack.taken()
        reply = _asked(stack, token)
        assert reply in (503, None) and stack.taken() == [], (content, reply)
    finally:
        kept.rename(file)
    assert stack.call("GET", "/m/m1/v1/public", token).status == 200


def _asked(stack: Stack, token: str) -> int | None:
    """The status; None: not even a handshake."""
    try:
        return stack.call("GET", "/m/m1/v1/public", token).status
    except OSError:
        return None


def _replace(file: Path, content: bytes, like: Path) -> None:
    file.write_bytes(content)
    stat = like.stat()
    file.chmod(stat.st_mode & 0o777)
    os.chown(file, stat.st_uid, stat.st_gid)
