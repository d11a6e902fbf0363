"""Processes under measurement: starting and ending them, their CPU time, their memory."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import Sample
from meshward.audit.collector import WINDOW

START_WITHIN = 90.0  # seconds; a peer imports for a while
STOP_WITHIN = 20.0
REST_WITHIN = 2.0
AT_REST = 0.05  # of one CPU


class BenchError(Exception):
    """Nothing was measured, and why."""


def cpu_ns(pid: int) -> int:
    """User and system time of all threads of `pid`, ended ones too, in nanoseconds: clock_getcpuclockid(3)."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def descendants(pid: int) -> list[int]:
    """`pid` and all processes below it, without those that end while we look."""
    found = [pid]
    for each in found:
        with suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{each}/task").iterdir():
                with suppress(FileNotFoundError, ProcessLookupError):
                    found += [int(child) for child in (task / "children").read_text().split()]
    return found


def title(pid: int) -> str:
    """The command line of `pid`, which some processes rewrite to say what they are; nothing where it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def _lasts(pid: int) -> bool:
    """nginx's cache loader ends after a minute, and would take its clock along."""
    return "cache loader" not in title(pid)


class Meter:
    """Reads the CPU time of groups of processes, each group a name and the root of its processes."""

    def __init__(self, roots: Mapping[str, int]) -> None:
        self.roots = roots
        self._pids = {
            name: [each for each in descendants(pid) if _lasts(each)] for name, pid in roots.items()
        }

    def read(self) -> dict[str, int]:
        """Nanoseconds by name. Raises BenchError if one of the processes has ended."""
        try:
            return {name: sum(map(cpu_ns, pids)) for name, pids in self._pids.items()}
        except OSError as error:
            raise BenchError(f"one of the processes {self._pids} has ended while it was measured") from error

    def rest(self) -> None:
        """Wait until these processes have done what they still had to do: at most REST_WITHIN.

        The collector looks at its logs only now and then, so that its silence takes longer to be one.
        """
        window = WINDOW + 0.1 if "collector" in self._pids else 0.004
        deadline = time.monotonic() + REST_WITHIN
        before = sum(self.read().values())
        while time.monotonic() < deadline:
            time.sleep(window)
            now = sum(self.read().values())
            if now - before < window * 1e9 * AT_REST:
                return
            before = now

    def sample(self, before: Mapping[str, int], load: Mapping[str, Any]) -> Sample:
        """What has passed since `before`, divided among the requests of `load` (what a client reported)."""
        requests = int(load["requests"])
        if load["errors"] or requests == 0:
            raise BenchError(f"the load was not served: {dict(load)}")
        cpu = {name: (now - before[name]) / 1e3 / requests for name, now in self.read().items()}
        return Sample(requests, load["seconds"], cpu, load["p50"], load["p99"])


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one or more processes, in megabytes (10^6 bytes). `pss` counts a page shared by n as 1/n of it in each."""

    pss: float
    private: float


def memory(pids: Iterable[int]) -> Memory:
    """The sums over /proc/PID/smaps_rollup."""
    fields = [_rollup(pid) for pid in pids]
    return Memory(sum(f["Pss"] for f in fields), sum(f["Private_Clean"] + f["Private_Dirty"] for f in fields))


def _rollup(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines}


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(
    argv: Sequence[str], ready: Callable[[], object], log: Path, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """`argv`, from when `ready()` is true until the block ends. Raises BenchError with its log if that never comes."""
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options)
    try:
        wait_for(lambda: _alive(process, log) and ready(), f"{argv[0]}\n{log}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(condition: Callable[[], object], what: str, within: float = START_WITHIN) -> None:
    """Wait until `condition()` is true. Raises BenchError naming `what`."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"not there within {within:.0f} s: {what}")
        time.sleep(0.02)


def _alive(process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise BenchError(f"{process.args!r} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
    return True


def widen(pid: int) -> None:
    """Let `pid` and all below it run on every CPU of ours again."""
    cpus = os.sched_getaffinity(0)
    for each in descendants(pid):
        for task in Path(f"/proc/{each}/task").iterdir():
            os.sched_setaffinity(int(task.name), cpus)
