"""One child process: what it is started with, how it dies with us, and how nothing of it stays behind.

1. It gets a session of its own, so that one signal reaches its descendants (nginx's workers, a sealed pair).
2. It gets PR_SET_PDEATHSIG, so that it ends when we are killed; set after the change of uid, which clears it.
3. It gets a clean environment, no stdin, its log as stdout and stderr, no core dumps, no new privileges.
4. When it exits, its group is killed *before* it is reaped: until then its number cannot be anybody else's.
   Orphans of the group become ours (PR_SET_CHILD_SUBREAPER), so that we know when the last one is gone.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from meshward.kit.durable import open_regular
from meshward.kit.foreign import Holder, make_own
from meshward.kit.text import one_line
from meshward.runtime.place.identities import CLEAN_ENVIRONMENT, ProcessIdentity, is_separate, popen_user

Ready = Callable[[], Awaitable[bool]]
"""Asked again and again until it says True."""

_MOST_FILES = 65_536  # four for each of the 16,384 connections of an nginx worker
_MOST_PROCESSES = 4096  # a model server has hundreds of threads; who makes more must not take the machine's
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True)
_GROUP_POLL = 0.005
_GROUP_DEADLINE = 5.0  # seconds; a process in an uninterruptible wait outlives SIGKILL


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """How to run one part.

    `handed` are binaries that the part's uid may not reach by path: they are opened here, and every argument
    equal to one becomes `/proc/self/fd/N`. `death_signal` is what it gets when we are killed: SIGTERM for
    what must end its own workers (nginx), else SIGKILL. `signal_group` sends the stop signal to the whole
    group (unshare ignores SIGTERM). `ready` must not raise. Two parts never share a log.
    """

    name: str
    argv: tuple[str, ...]
    identity: ProcessIdentity
    log: Path
    ready: Ready
    cwd: Path = Path("/")
    env: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o077
    log_limit: int = 8_000_000  # bytes; then the older half goes
    stop_signal: signal.Signals = signal.SIGTERM
    signal_group: bool = False
    death_signal: signal.Signals = signal.SIGKILL
    takes_hup: bool = False
    depends_on: tuple[str, ...] = ()
    handed: tuple[Path, ...] = ()
    says_why: bool = False  # it is ours: where it cannot start, the last line of its log says why
    own: tuple[Path, Holder] | None = (
        None  # the directory that is its own; cleared but for logs before each start
    )


class Process:
    """A running child. Made by `spawn`, in the main thread of an event loop that outlives it."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.pid = popen.pid
        self._popen = popen
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(popen.pid)
        self._loop.add_reader(self._pidfd, self._on_exit)

    async def exit(self) -> int:
        """Wait for the end. A negative number is the signal that killed it, as in `subprocess`."""
        return await asyncio.shield(self._exit)

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal; nothing happens once the child has been reaped."""
        if self._exit.done():
            return
        with suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            else:
                signal.pidfd_send_signal(self._pidfd, number)

    async def group_gone(self) -> bool:
        """Wait until no descendant in the child's group is left; False if some are stuck in the kernel."""
        await self.exit()
        deadline = self._loop.time() + _GROUP_DEADLINE
        while _reap(self.pid):
            if self._loop.time() > deadline:
                return False
            await asyncio.sleep(_GROUP_POLL)
        return True

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # step 4: the dead leader still holds the number
        code = self._popen.wait()
        os.close(self._pidfd)
        self._exit.set_result(code)


def spawn(spec: ProcessSpec) -> Process:
    """Start `spec`. Raises OSError if it cannot be started at all."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "parts start in the main thread: a death signal comes when the thread that forked ends"
        )
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if spec.own is not None:
        make_own(*spec.own)
    with ExitStack() as opened:
        output = opened.enter_context(open(open_log(spec.log), "ab"))
        numbers = {str(path): _open_handed(path, opened) for path in spec.handed}
        popen = subprocess.Popen(
            [spec.argv[0], *(_by_number(argument, numbers) for argument in spec.argv[1:])],
            executable=_by_number(spec.argv[0], numbers),
            **popen_user(spec.identity),
            cwd=spec.cwd,
            env={**CLEAN_ENVIRONMENT, **spec.env},
            umask=spec.umask,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(numbers.values()),
            preexec_fn=_bound_to(os.getpid(), spec.death_signal, spec.identity),
        )
    return Process(popen)


def open_log(path: Path) -> int:
    """Descriptor that appends to the log at `path`, 0600. Raises OSError if it is a link or no plain file."""
    descriptor = open_regular(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    os.fchmod(descriptor, 0o600)
    return descriptor


def bound_log(path: Path, limit: int) -> None:
    """Keep the log within `limit` bytes: move its newer half to `<path>.1`, start it anew.

    The part keeps its descriptor (so that it never depends on us to write): what it writes during these few
    microseconds may be lost. Nothing that must last goes to these logs.
    """
    with open(open_log(path), "rb+") as current:
        size = os.fstat(current.fileno()).st_size
        if size <= limit:
            return
        current.seek(size - limit // 2)
        newer = current.read(limit // 2)
        current.truncate(0)
    with open(open_log(path.with_name(f"{path.name}.1")), "rb+") as old:
        old.truncate(0)
        old.write(newer)


def log_size(path: Path) -> int:
    """0 where there is none."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def tail(path: Path, lines: int = 15) -> list[str]:
    """The last lines of a log, without what a terminal would obey."""
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as written:
            written.seek(-min(os.fstat(written.fileno()).st_size, 16_384), os.SEEK_END)
            text = written.read(16_384).decode(errors="replace")
    except OSError:
        return []
    return [one_line(line, " ") for line in text.splitlines()[-lines:]]


def _bound_to(parent: int, death_signal: signal.Signals, identity: ProcessIdentity) -> Callable[[], None]:
    """What the child does between the change of uid and exec."""
    files, processes = _files(), _processes(identity)

    def bind() -> None:
        _prctl(_PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:  # it died before we asked to be told
            os.kill(os.getpid(), signal.SIGKILL)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
        resource.setrlimit(resource.RLIMIT_NPROC, processes)

    return bind


def _files() -> tuple[int, int]:
    """Soft and hard limit of a part's open files. A shell's usual 1024 would be few clients of an edge."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    return most, hard


def _processes(identity: ProcessIdentity) -> tuple[int, int]:
    """Soft and hard limit of a user's processes and threads, where the user is the part's alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if not is_separate(identity):
        return soft, hard
    most = _MOST_PROCESSES if hard == resource.RLIM_INFINITY else min(hard, _MOST_PROCESSES)
    return most, most


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _open_handed(path: Path, opened: ExitStack) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    opened.callback(os.close, descriptor)
    return descriptor


def _by_number(argument: str, numbers: Mapping[str, int]) -> str:
    return f"/proc/self/fd/{numbers[argument]}" if argument in numbers else argument


def _reap(group: int) -> bool:
    """Reap the dead of `group`. Whether any of it still live."""
    try:
        while os.waitpid(-group, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return False
    return True
