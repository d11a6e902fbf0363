"""The collector: reads the edge's and the guards' access logs, joins a request's two lines, keeps records; and what
the instance wrote about changes of itself.

It is not in the path of any request. Whatever happens to it, the proxies go on writing their files, and it
goes on where its last transaction ended: positions are stored with the records that they cover.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from meshward.audit.join import counted_reason, seconds
from meshward.audit.keeping import KeepingFile
from meshward.audit.lines import ChangeLine, EdgeLine, Garbage, Line
from meshward.audit.looks import Look, look, without_late
from meshward.audit.places import ALL_READ, CHANGES, CONTROL, HEARTBEAT
from meshward.audit.quarantine import load_quarantine
from meshward.audit.records import StoreUnwritable
from meshward.audit.store import Batch, Store
from meshward.audit.tail import GONE, Log, LogUnreadable, Position, Tail
from meshward.kit import codes
from meshward.kit.clock import Clock, system_clock
from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.errors import MeshwardError

POLL = 0.1
"""Seconds between two looks at the logs."""
WINDOW = 0.5
"""The same while much comes: one transaction then holds many records, and most of them whole."""
_MUCH = 10  # lines of one look
_LOG = "access.log"
_DISCOVER = 0.5  # seconds
_BEAT = 1.0  # seconds
_OLD = 1.0  # seconds between two looks for what is too old, where there was nothing
_PATIENCE = 5.0  # seconds in which the supervisor shuts a guard away whose log cannot be read
_ROOM = 1 << 20  # bytes free, below which a log or the store must be expected to fail


_Taken = tuple[list[Look], list[tuple[Log, Tail]]]


class NotKept(MeshwardError):
    """Records cannot be kept, although the store itself could be written (MW4008)."""

    def __init__(self, why: str) -> None:
        super().__init__(codes.RECORDS_NOT_KEPT, f"records are not kept: {why}")


class NoRoomLeft(NotKept):
    """Records take all the room that the policy gives them (MW4010)."""

    def __init__(self, size: int, room: int) -> None:
        message = f"records take {size} bytes, and `audit.max_disk` gives them {room}"
        MeshwardError.__init__(self, codes.RECORDS_TAKE_ALL, message)


class Collector:
    """`round` does all of the work; `run` repeats it. `ended`: nobody writes any more, so half a line stays one."""

    def __init__(
        self, run: Path, store: Store, log: Any, clock: Clock = system_clock, *, ended: bool = False
    ) -> None:
        self.run_directory = run
        self._store = store
        self._log = log
        self._clock = clock
        self._ended = ended
        self._said: set[codes.Code] = set()
        self._looked = float("-inf")
        self._beaten = float("-inf")
        self._unreadable: list[str] = []
        self._odd: dict[str, float] = {}  # logs that cannot be read, since when
        self._read = 0  # bytes since the start
        self._told_read = -1
        self._found = Batch()  # gaps and vanished files that no transaction has written yet
        self._stored: _Taken = ([], [])  # written, and not yet anchored and erased
        self._keeping = KeepingFile(run / CONTROL)
        self._look_for_old = float("-inf")
        self._pause = 0.0  # seconds until the next look
        self._complete = float("-inf")  # all that was in the logs then had been read by the end of that round
        self._known = store.take_positions()
        self._logs: dict[str, Log] = {}
        for source in {position.source for position, _ in self._known}:
            self._follow(source)

    def run(self, stop: threading.Event) -> None:
        """Collect until `stop` is set, then read what is left. Raises StoreDamaged."""
        while not stop.is_set():
            self.round()
            stop.wait(self._pause)
        self._looked = float("-inf")
        while self.round():
            pass

    def round(self) -> bool:
        """One look at all logs. Returns whether more waits to be taken. Raises StoreDamaged.

        1. Find logs that are new.
        2. Read whole lines behind the positions; leave the last of a log for the next round while their other
           halves are not there yet.
        3. Write records, counts and positions in one transaction.
        4. Only then anchor it, and only then move the positions, which erases the raw lines.
        5. When all is read, stop waiting for halves that are late; count on in a large store.
        6. Erase what is older than it is kept.
        7. Show that records are kept.
        """
        now, clock, self._pause = self._clock(), self._store.clock(), POLL
        if not self._finish():
            return False
        self._discover(int(now))  # 1
        released = [(log, tail) for log in self._logs.values() for tail in log.released()]
        found = self._looks({tail for _, tail in released})  # 2
        taken = without_late(found)
        more, left = any(each.chunk.more for each in found), _count(found) - _count(taken)
        try:
            batch = self._batch(taken, [tail.position for _, tail in released], now)
            if batch:
                self._store.write(batch, now, clock)  # 3
            self._found, self._stored = Batch(), (taken, released)
            if not self._finish():  # 4
                return False
            if not more:
                self._store.settle(self._complete if left else clock)  # 5
                self._complete = clock
                self._count_on(now)
            if not self._end_old(now, clock):  # 6
                return False
            self._beat()  # 7
        except (StoreUnwritable, NotKept) as error:
            self._say_once(error)
            return False
        self._pause = 0.0 if more else WINDOW if _count(found) > _MUCH else POLL
        return more or left > 0

    def lag(self) -> int:
        """Bytes in the logs that are not read yet."""
        return sum(tail.lag for log in self._logs.values() for tail in log.tails.values())

    def close(self) -> None:
        """Remember, and leave for whoever removes the logs, whether everything was read. Raises StoreUnwritable."""
        all_read = not self._unreadable and self.lag() == 0
        self._store.close(clean=all_read)
        if all_read:
            with suppress(OSError):
                write_atomic(self.run_directory / ALL_READ, "")

    def _follow(self, source: str) -> None:
        if source not in self._logs:
            known = {p.inode: p for p, _ in self._known if p.source == source}
            done = frozenset(p.inode for p, was_clean in self._known if was_clean and p.source == source)
            self._logs[source] = Log(source, self.run_directory / source, known, done)

    def _discover(self, second: int) -> None:
        if time.monotonic() - self._looked < _DISCOVER:
            return
        self._looked = time.monotonic()
        unreadable: list[LogUnreadable] = []
        for source in sources(self.run_directory):
            self._follow(source)
        clean = {(p.source, p.inode) for p, was_clean in self._known if was_clean}
        for source, log in self._logs.items():
            gaps, refused = log.discover()
            unreadable += refused
            lost = log.lost()
            gaps += [GONE for p in lost if (source, p.inode) not in clean]
            self._found.gone += lost
            self._found.gaps.update((second, source, gap) for gap in gaps)
        self._judge(unreadable)

    def _judge(self, unreadable: list[LogUnreadable]) -> None:
        """A guard whose log cannot be read is shut away by the supervisor. Until then nothing is lost: of each of its
        requests the edge has a line. Where it is not, in time, everything is closed.
        """
        now, shut = time.monotonic(), self._shut_away() if unreadable else frozenset[str]()
        self._odd = {error.source: self._odd.get(error.source, now) for error in unreadable}
        self._unreadable = [
            error.message
            for error in unreadable
            if not (_guard_of(error.source) and (now - self._odd[error.source] < _PATIENCE))
            and _guard_of(error.source) not in shut
        ]

    def _shut_away(self) -> frozenset[str]:
        try:
            return frozenset(load_quarantine(self.run_directory / CONTROL))
        except MeshwardError:
            return frozenset()

    def _looks(self, released: set[Tail]) -> list[Look]:
        tails = [tail for log in self._logs.values() for tail in log.tails.values()]
        return [found for tail in tails if (found := look(tail, final=self._ended or tail in released))]

    def _batch(self, taken: list[Look], released: list[Position], now: float) -> Batch:
        batch = Batch(gaps=self._found.gaps.copy(), gone=self._found.gone + released)
        for each in taken:
            batch.positions.append(each.chunk.position)
            if each.chunk.gap:
                batch.gaps[(int(now), each.tail.source, each.chunk.gap)] += 1
            batch.lines[each.tail.source] += sum(map(len, each.lines))
            for lines in each.lines:
                _sort(batch, lines, each.tail.source, int(now))
        return batch

    def _finish(self) -> bool:
        """Step 4 of what was written, in this round or one before. Nothing more is written until it is done."""
        try:
            self._store.anchor()
        except OSError as error:
            self._say_once(NotKept(f"{self._store.path.parent}: {error.strerror}"))
            return False
        stored, self._stored = self._stored, ([], [])
        self._advance(*stored)
        return True

    def _count_on(self, now: float) -> None:
        loss = self._store.count_on(now)
        if loss is not None:
            self._log.warning(loss.sentence, code=codes.RECORDS_LOST.number, remedy=codes.RECORDS_LOST.remedy)

    def _end_old(self, now: float, clock: float) -> bool:
        """Some of it: the rest in rounds to come. Whether that is anchored. Counts have the machine's time alone: they
        end when by neither clock they are younger.
        """
        retention = self._keeping.now().retention if time.monotonic() >= self._look_for_old else None
        if retention is None:
            return True
        if not self._store.end(clock - retention, now, min(now, clock) - retention):
            self._look_for_old = time.monotonic() + _OLD
        return self._finish()

    def _advance(self, taken: list[Look], released: list[tuple[Log, Tail]]) -> None:
        for each in taken:
            tail, position = each.tail, each.chunk.position
            self._read += max(0, position.offset - tail.position.offset)
            tail.advance(position)
            if not tail.erasable:
                self._say_once(
                    MeshwardError(codes.LOG_NOT_ERASED, "read lines cannot be erased from the logs")
                )
        for log, tail in released:
            log.forget(tail)

    def _beat(self) -> None:
        """Called after a round that read and stored all that it could. Raises NotKept, StoreUnwritable."""
        if time.monotonic() - self._beaten < _BEAT:
            return
        try:
            self._check()
            self._write_heartbeat()
        except OSError as error:
            raise NotKept(str(error.strerror)) from error
        self._beaten = time.monotonic()
        self._said &= {codes.LOG_NOT_ERASED}

    def _check(self) -> None:
        if self._unreadable:
            raise NotKept(self._unreadable[0])
        for directory in (self.run_directory, self._store.path.parent):
            if not _has_room(directory):
                raise NotKept(f"no space or no inodes are left for `{directory}`")
        room = self._keeping.now().max_disk
        if room is not None and (size := self._store.size()) >= room:
            raise NoRoomLeft(size, room)
        self._store.probe()

    def _write_heartbeat(self) -> None:
        path = self.run_directory / HEARTBEAT
        if self._told_read == self._read and path.exists():
            os.utime(path)
            return
        private_directory(path.parent, 0o711)
        write_atomic(path, json.dumps({"read": self._read, "lag": self.lag(), "at": self._clock()}) + "\n")
        self._told_read = self._read

    def _say_once(self, error: MeshwardError) -> None:
        """Once until it is mended. What this log says holds no personal data."""
        if error.code not in self._said:
            self._said.add(error.code)
            self._log.error(error.message, code=error.code.number, remedy=error.remedy)


def _sort(batch: Batch, lines: Sequence[Line], source: str, now: int) -> None:
    """Put what one raw line said where it belongs."""
    for line in lines:
        if isinstance(line, Garbage):
            batch.gaps[(now, source, line.reason)] += 1
        elif isinstance(line, ChangeLine):
            batch.changes.append(line)
        elif not isinstance(line, EdgeLine):
            batch.guards.append(line)
        elif reason := counted_reason(line):
            batch.refusals[(int(seconds(line.t)) or now, "edge", reason)] += 1
        else:
            batch.edges.append(line)


def _count(looks: Sequence[Look]) -> int:
    """The raw lines in all of them."""
    return sum(len(each.lines) for each in looks)


def sources(run: Path) -> list[str]:
    """Every log that there may be, by its path below RUN."""
    guards = sorted(
        path.name for path in (run / "guards").glob("*") if path.is_dir() and not path.is_symlink()
    )
    return [f"edge/{_LOG}", CHANGES, *(f"guards/{name}/{_LOG}" for name in guards)]


def _guard_of(source: str) -> str:
    """The guard's directory below RUN; empty: the log is no guard's."""
    return source.rpartition("/")[0] if source.startswith("guards/") else ""


def _has_room(directory: Path) -> bool:
    """Whether other uids can still write there. Some file systems count no inodes."""
    state = os.statvfs(directory)
    return state.f_bavail * state.f_frsize >= _ROOM and (state.f_files == 0 or state.f_favail > 0)
