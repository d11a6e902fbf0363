"""RUN/control/changes.log: who changed this instance, and what became of it; the collector takes it into the records.

Of what one author is refused, a few of a second have a line each; the others are counted, and a line for each code says
how many they were once the second is over (`settle`).

A change is two lines with one id: what was asked, on the disk before anything is touched, and how it ended. So what
cannot be written down is not done, and what a crash cut short still names who began it.
"""

from __future__ import annotations

import asyncio
import errno
import json
import math
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from meshward.apply.tally import Counted, Tally
from meshward.audit.lines import BEGUN, DONE, FAILED, REFUSED, ChangeLine, change_text
from meshward.kit import codes
from meshward.kit.clock import Clock, system_clock
from meshward.kit.durable import opened_directory
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit

INSTANCE = "the instance"
"""The author of what nobody asked for. No user of the machine can be called so."""
_LONGEST = 200  # characters of one fact
_SETTLE = 1.0  # seconds

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _UnderWay:
    """The change that this thread carries out."""

    id: str
    did: str
    recheck: Callable[[], None]
    facts: dict[str, str] = field(default_factory=dict)


_under_way: ContextVar[_UnderWay | None] = ContextVar("under_way", default=None)


class Changes:
    """The log at `path`. Its one writer; from any thread."""

    def __init__(self, path: Path, clock: Clock = system_clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._tally, self._counting = Tally(), threading.Lock()

    @contextmanager
    def change(
        self, author: str, did: str, asked: Mapping[str, str], recheck: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """What is done inside is one change, or a part of the one that is under way.

        `recheck` raises where its author may not make it, or no more (`require_still`).

        Raises MeshwardError (MW3070) if it cannot be written down: then nothing inside was done.
        """
        if _under_way.get() is not None:
            yield
            return
        change = _UnderWay(secrets.token_hex(16), did, recheck)
        try:
            self._write(self._line_now(change.id, author, did, BEGUN, asked))
        except OSError as error:
            raise _unwritten_error(error) from None
        token = _under_way.set(change)
        try:
            yield
        except MeshwardError as error:
            broken = error.exit_code in (Exit.FAULT, Exit.HOP_REFUSED)
            self._add_refusal(author)
            self._end(change, author, FAILED if broken else REFUSED, {"code": error.code.number})
            raise
        except BaseException as error:
            self._end(change, author, FAILED, {"why": type(error).__name__})
            raise
        else:
            self._end(change, author, DONE, {})
        finally:
            _under_way.reset(token)

    def note(self, author: str, did: str, what: Mapping[str, str]) -> None:
        """What was done: a fact of the change under way, or one that the instance made by itself, after it."""
        change = _under_way.get()
        if change is not None:
            change.facts |= what
        else:
            self._try(self._line_now(secrets.token_hex(16), author, did, DONE, what))

    def note_refusal(self, author: str, did: str, code: codes.Code, what: Mapping[str, str]) -> None:
        """Somebody who is known asked for what they may not, or cannot, have. Nothing was begun.

        Beyond a few of a second that is counted, which takes no time.
        """
        if self._add_refusal(author):
            with self._counting:
                self._tally.count(author, did, code.number, what, self._clock())
        else:
            told = {**what, "code": code.number}
            self._try(self._line_now(secrets.token_hex(16), author, did, REFUSED, told))

    def refused_too_often(self, author: str) -> bool:
        """Whether `author` was refused so often in this second that nothing more is looked at in it."""
        with self._counting:
            return self._tally.too_often(author, self._clock())

    def settle(self, *, all_of_it: bool = False) -> None:
        """Write down what was counted in seconds that are over, or `all_of_it`. What cannot be written is kept."""
        with self._counting:
            counted = self._tally.take(math.inf if all_of_it else self._clock())
        for each in counted:
            if not self._settle_one(each):
                with self._counting:
                    self._tally.put_back(each)

    def require_still(self) -> None:
        """Raises MeshwardError where the author of the change under way may not make it any more."""
        change = _under_way.get()
        if change is not None:
            change.recheck()

    def _end(self, change: _UnderWay, author: str, outcome: str, more: Mapping[str, str]) -> None:
        self._try(self._line_now(change.id, author, change.did, outcome, {**change.facts, **more}))

    def _add_refusal(self, author: str) -> bool:
        with self._counting:
            return self._tally.add(author, self._clock())

    def _settle_one(self, counted: Counted) -> bool:
        facts = {**counted.facts, "code": counted.code, "count": str(counted.count)}
        line = _line(secrets.token_hex(16), counted.at, counted.author, counted.did, REFUSED, facts)
        return self._try(line)

    def _line_now(
        self, number: str, author: str, did: str, outcome: str, facts: Mapping[str, str]
    ) -> ChangeLine:
        return _line(number, self._clock(), author, did, outcome, facts)

    def _try(self, line: ChangeLine) -> bool:
        """Of what has happened already: a full disk cannot undo it. Its own log says so. Whether it is written."""
        try:
            self._write(line)
        except OSError as error:
            told = {"author": line.author, "did": line.did, "outcome": line.outcome}
            log.error("change_not_noted", **told, why=error.strerror)
            return False
        return True

    def _write(self, line: ChangeLine) -> None:
        """Raises OSError."""
        with self._lock:
            _append(self._path, change_text(line).encode() + b"\n")


def _line(
    number: str, at: float, author: str, did: str, outcome: str, facts: Mapping[str, str]
) -> ChangeLine:
    texts = {name: value[:_LONGEST] for name, value in facts.items() if value}
    return ChangeLine(number, f"{at:.3f}", author, did, outcome, json.dumps(texts, sort_keys=True))


async def settle_refusals(changes: Changes) -> None:
    """Write down once a second what was counted, until cancelled."""
    while True:
        await asyncio.sleep(_SETTLE)
        await asyncio.to_thread(changes.settle)


def _append(path: Path, data: bytes) -> None:
    """Durably, or not at all. Raises OSError."""
    with opened_directory(path.parent) as directory:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path.name, flags, 0o600, dir_fd=directory)
        try:
            before = os.fstat(descriptor).st_size
            try:
                if os.write(descriptor, data) != len(data):
                    raise OSError(errno.ENOSPC, "no space is left for a whole line")
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, before)
                raise
            if before == 0:
                os.fsync(directory)
        finally:
            os.close(descriptor)


def _unwritten_error(error: OSError) -> MeshwardError:
    return MeshwardError(
        codes.CHANGE_NOT_NOTED,
        f"nothing was changed, because it cannot be written down who does: {error.strerror}",
    )
