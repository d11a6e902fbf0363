"""A log is read once, wholly, whatever happens to its file; what was read is erased."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from meshward.audit import tail as tail_module
from meshward.audit.tail import Log, LogUnreadable, Position, Tail
from tests.audit.making import append


def read_all(tail: Tail) -> list[bytes]:
    lines: list[bytes] = []
    while (chunk := tail.read()) is not None:
        lines += [line for line in chunk.lines if line.strip(b"\0")]
        tail.advance(chunk.position)
    return lines


def opened(path: Path, *known: Position) -> Tail:
    return Tail("edge/access.log", path, {position.inode: position for position in known})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def test_whole_lines_are_read_once_and_a_partial_one_waits(path: Path):
    path.write_bytes(b"one\ntwo\nthr")
    tail = opened(path)
    assert read_all(tail) == [b"one", b"two"]
    assert tail.read() is None
    with path.open("ab") as file:
        file.write(b"ee\n")
    assert read_all(tail) == [b"three"]


def test_a_chunk_that_was_not_stored_is_read_again(path: Path):
    append(path, b"one", b"two")
    tail = opened(path)
    first, second = tail.read(), tail.read()
    assert first == second and first is not None
    tail.advance(first.position)
    assert tail.read() is None


def test_reading_goes_on_at_a_known_position(path: Path):
    append(path, *[b"line %d" % n for n in range(500)])
    tail = opened(path)
    assert len(read_all(tail)) == 500
    append(path, b"more")
    assert read_all(opened(path, tail.position)) == [b"more"]


def test_a_small_limit_reads_everything_in_pieces(path: Path):
    lines = [b"%05d" % n for n in range(1000)]
    append(path, *lines)
    tail, found = opened(path), []
    while (chunk := tail.read(limit=100)) is not None:
        assert chunk.more or chunk.position.offset == 6000
        found += [line for line in chunk.lines if line]
        tail.advance(chunk.position)
    assert found == lines


def test_what_a_file_only_claims_is_not_read(path: Path):
    """Else whoever may write it keeps us reading for years, and the instance from ending."""
    append(path, b"one")
    tail = opened(path)
    assert read_all(tail) == [b"one"]
    os.truncate(path, 1 << 42)
    reads = 0
    while (chunk := tail.read()) is not None and reads < 10:
        reads += 1
        tail.advance(chunk.position)
    assert reads <= 2 and tail.lag <= 1 << 21
    with path.open("ab") as file:
        file.write(b"\ntwo\n")
    assert read_all(tail)[-1] == b"two"
    os.truncate(path, 1 << 43)
    again = opened(path, tail.position)
    assert again.gap is None and read_all(again) == [] and again.lag <= 1 << 21


def test_what_was_read_is_a_hole_and_reads_as_zeros(path: Path):
    append(path, *[b"alice" * 20] * 2000)
    before = path.stat()
    tail = opened(path)
    read_all(tail)
    after = path.stat()
    assert after.st_size == before.st_size
    assert after.st_blocks < before.st_blocks / 4
    assert path.read_bytes().strip(b"\0") == b""
    with path.open("rb") as file:
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == 0


def test_an_unread_line_is_not_erased(path: Path):
    append(path, b"read")
    tail = opened(path)
    read_all(tail)
    append(path, b"unread")
    assert path.read_bytes() == b"\0" * 5 + b"unread\n"


def test_erasing_is_done_again_after_a_crash_before_it(path: Path, monkeypatch: pytest.MonkeyPatch):
    append(path, b"alice", b"bob")
    tail = opened(path)
    monkeypatch.setattr(tail, "_erase", lambda: None)
    read_all(tail)
    assert b"alice" in path.read_bytes()
    opened(path, tail.position)
    assert b"alice" not in path.read_bytes()


def test_a_reader_without_a_position_starts_behind_the_hole(path: Path):
    append(path, *[b"x" * 1000] * 100)
    read_all(opened(path))
    append(path, b"new")
    fresh = opened(path)
    assert fresh.position.offset >= 96 * 1024
    assert [line.strip(b"\0") for line in read_all(fresh)] == [b"new"]


def test_a_file_system_that_cannot_erase_is_read_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(tail_module, "punch", refuse)
    append(path, b"one")
    tail = opened(path)
    assert read_all(tail) == [b"one"] and not tail.erasable
    append(path, b"two")
    assert read_all(tail) == [b"two"]
    assert read_all(opened(path, tail.position)) == []


@pytest.mark.parametrize("erases", [True, False])
@pytest.mark.parametrize("again", [b"new", b"just as long now :-", b"longer than all there was" * 3])
def test_a_truncated_file_is_read_from_its_start(
    path: Path, monkeypatch: pytest.MonkeyPatch, erases: bool, again: bytes
):
    if not erases:
        monkeypatch.setattr(
            tail_module, "punch", lambda *_: (_ for _ in ()).throw(OSError(errno.EOPNOTSUPP, "no"))
        )
    append(path, b"one", b"two two two two")
    tail = opened(path)
    read_all(tail)
    os.truncate(path, 0)
    append(path, again)
    os.utime(path, (9e8, 9e8))  # old kernels stamp in steps of some milliseconds
    chunk = tail.read()
    assert chunk is not None and chunk.gap == "log_truncated" and chunk.position.offset == 0
    tail.advance(chunk.position)
    assert read_all(tail) == [again]
    assert read_all(opened(path, tail.position)) == []


def test_a_truncation_while_nobody_read_is_noticed(path: Path):
    append(path, b"one", b"two")
    tail = opened(path)
    read_all(tail)
    os.truncate(path, 0)
    late = opened(path, tail.position)
    append(path, b"x")
    chunk = late.read()
    assert chunk is not None and chunk.gap == "log_truncated"


def test_a_reused_inode_is_another_file(path: Path):
    append(path, b"old " * 10)
    tail = opened(path)
    read_all(tail)
    old = tail.position
    path.write_bytes(b"new file, same inode, longer than the old one was before it\nsecond\n")
    fresh = opened(path, Position(old.source, path.stat().st_ino, old.offset, old.mark))
    assert fresh.gap == "log_replaced"
    assert len(read_all(fresh)) == 2


def test_an_endless_line_does_not_stop_the_reading(path: Path):
    path.write_bytes(b"a" * 300_000 + b"\nnext\n")
    assert read_all(opened(path))[-1] == b"next"
    endless = path.with_name("endless")
    endless.write_bytes(b"a" * 300_000)
    assert sum(map(len, read_all(opened(endless)))) == 300_000


def log_of(path: Path, *known: Position) -> Log:
    return Log("edge/access.log", path, {position.inode: position for position in known})


def drain(log: Log) -> list[bytes]:
    log.discover()
    return sorted(line for tail in log.tails.values() for line in read_all(tail) if line)


def test_a_renamed_log_is_read_to_its_end_while_the_new_one_fills(path: Path):
    append(path, b"1")
    log = log_of(path)
    assert drain(log) == [b"1"]
    path.rename(path.with_name("access.log.1"))
    append(path.with_name("access.log.1"), b"2")  # a worker that has not reopened yet
    append(path, b"3")
    assert drain(log) == [b"2", b"3"]
    append(path.with_name("access.log.1"), b"4")
    assert drain(log) == [b"4"]


def test_logs_that_were_rotated_while_nobody_read_are_all_read(path: Path):
    append(path, b"1")
    log = log_of(path)
    drain(log)
    known = [tail.position for tail in log.tails.values()]
    append(path, b"2")
    path.rename(path.with_name("access.log.2"))
    append(path, b"3")
    path.rename(path.with_name("access.log.1"))
    append(path, b"4")
    later = log_of(path, *known)
    assert drain(later) == [b"2", b"3", b"4"]
    assert later.lost() == []


def test_a_log_that_vanished_unread_is_named(path: Path):
    append(path, b"1")
    log = log_of(path)
    drain(log)
    (known,) = [tail.position for tail in log.tails.values()]
    path.unlink()
    later = log_of(path, known)
    later.discover()
    assert later.lost() == [known] and later.lost() == []


def test_a_deleted_log_is_released_only_when_its_writer_moved_on(path: Path, monkeypatch: pytest.MonkeyPatch):
    append(path, b"1")
    log = log_of(path)
    drain(log)
    with path.open("ab") as writer:
        path.unlink()
        now = time.monotonic()
        monkeypatch.setattr(tail_module.time, "monotonic", lambda: now + 60)
        assert log.released() == []
        writer.write(b"2\n")
    assert drain(log) == [b"2"]
    append(path, b"3")
    monkeypatch.setattr(tail_module.time, "monotonic", lambda: now + 120)
    (released,) = log.released()
    log.forget(released)
    assert drain(log) == [b"3"]


def test_packed_logs_are_left_alone(path: Path):
    append(path.with_name("access.log.2.gz"), b"packed")
    append(path, b"1")
    assert drain(log_of(path)) == [b"1"]


@pytest.mark.parametrize("make", ["symlink_to", "hardlink_to"])
def test_a_guard_cannot_have_another_file_read_or_erased(path: Path, tmp_path: Path, make: str):
    precious = tmp_path / "ca.key"
    precious.write_bytes(b"precious\n")
    getattr(path, make)(precious)
    log = log_of(path)
    _, (refused,) = log.discover()
    assert isinstance(refused, LogUnreadable) and refused.code.number == "MW4006"
    assert log.tails == {} and precious.read_bytes() == b"precious\n"


def test_a_pipe_or_directory_in_a_logs_place_is_refused_without_waiting(path: Path):
    os.mkfifo(path)
    path.with_name("access.log.1").mkdir()
    _, refused = log_of(path).discover()
    assert len(refused) == 2
