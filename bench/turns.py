"""Loads that take turns. Each target has a load generator of its own, and one of them runs at a time, for a moment.

What disturbs a machine (others on it, a clock that changes) lasts longer than a turn, so it meets all targets alike,
and what one costs against another stays steady where microseconds do not.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from bench.figures import Sample
from bench.load import CONNECTIONS, Target
from bench.processes import BenchError, Meter
from bench.report import say

SLICE = 0.1  # seconds of a busy turn
PACED_SLICE = 0.5  # of a paced one: what the first requests of a turn find cold must be few among them
WARM = 0.3
_MIDDLE, _LATE = 50, 99


@dataclass(slots=True)
class Turns:
    """All turns of one load so far: CPU time in nanoseconds by process, latencies in milliseconds."""

    requests: int = 0
    seconds: float = 0.0
    cpu: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def sample(self) -> Sample:
        """Raises BenchError if nothing was served."""
        if not self.requests:
            raise BenchError("not one request was served in all turns of a load")
        cpu = {name: used / 1e3 / self.requests for name, used in self.cpu.items()}
        ordered = sorted(self.latencies)
        if not ordered:
            return Sample(self.requests, self.seconds, cpu)
        p50, p99 = (ordered[len(ordered) * part // 100] for part in (_MIDDLE, _LATE))
        return Sample(self.requests, self.seconds, cpu, p50, p99)


Turn = Callable[[Turns], None]
"""Lets one load run for a moment, and adds what came of it."""
Opening = Callable[[Target], AbstractContextManager[Turn]]


def in_turns(
    targets: Mapping[str, Target],
    opening: Opening,
    seconds: float,
    rounds: int,
    what: str,
    before: Callable[[], None] = lambda: None,
) -> dict[str, list[Sample]]:
    """`rounds` of loads that start anew, in each of which every target is loaded for about `seconds` in all."""
    found: dict[str, list[Sample]] = {name: [] for name in targets}
    for number in range(rounds):
        before()
        for name, sample in _round(targets, opening, seconds).items():
            found[name].append(sample)
        told = ", ".join(f"{name} {samples[-1].total():.0f} us" for name, samples in found.items())
        say(f"{what} {number + 1}/{rounds}: {told}")
    return found


def _round(targets: Mapping[str, Target], opening: Opening, seconds: float) -> dict[str, Sample]:
    with ExitStack() as stack:
        turns = {name: stack.enter_context(opening(target)) for name, target in targets.items()}
        taken = {name: Turns() for name in targets}
        forth = True
        while min(each.seconds for each in taken.values()) < seconds * 0.95:
            for name in list(turns)[:: 1 if forth else -1]:
                turns[name](taken[name])
            forth = not forth
    return {name: each.sample() for name, each in taken.items()}


@contextmanager
def metered(meter: Meter, turns: Turns) -> Iterator[None]:
    """What happens inside, and what is still to be done for it, is added to the CPU time of `turns`."""
    before, began = meter.read(), time.perf_counter()
    yield
    turns.seconds += time.perf_counter() - began
    meter.rest()
    for name, now in meter.read().items():
        turns.cpu[name] += now - before[name]


def busy(connections: int = CONNECTIONS) -> Opening:
    """All that `connections` carry, by a wrk that is stopped (SIGSTOP) between its turns."""
    return partial(_busy, connections=connections)


@contextmanager
def _busy(target: Target, connections: int) -> Iterator[Turn]:
    counter = target.request.with_suffix(f".{target.port}.sent")
    counter.write_bytes(bytes(8))
    environment = {"BENCH_SENT": str(counter)}
    with (
        counter.open("rb") as file,
        mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ) as sent,
        target.wrk(3600, connections, environment) as process,
    ):
        try:
            time.sleep(WARM)
            _stop(process)
            target.meter.rest()
            yield partial(_busy_turn, target.meter, process, sent)
            _end(process)
        finally:
            process.kill()


def _busy_turn(meter: Meter, process: subprocess.Popen[str], sent: mmap.mmap, turns: Turns) -> None:
    before = _number(sent)
    with metered(meter, turns):
        process.send_signal(signal.SIGCONT)
        time.sleep(SLICE)
        _stop(process)
    turns.requests += _number(sent) - before


def _number(counter: mmap.mmap) -> int:
    return int.from_bytes(counter[:8], "little")


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        raise BenchError(f"wrk ended: {process.stdout.read() if process.stdout else ''}")


def _end(process: subprocess.Popen[str]) -> None:
    """Raises BenchError if not everything was answered with 200."""
    process.send_signal(signal.SIGCONT)
    told = _interrupted(process).splitlines()
    if not told or json.loads(told[-1])["errors"]:
        raise BenchError(f"the load was not served: {told}")


def _interrupted(process: subprocess.Popen[str]) -> str:
    """What wrk says at its end. It sleeps in one thread only, and a signal may have gone to another: once more then."""
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=1)[0]
    raise BenchError("wrk does not end")


def paced(rate: int, seconds: float = PACED_SLICE, connections: int = CONNECTIONS) -> Opening:
    """`rate` requests per second over connections that stay open; `seconds` of a turn."""
    return partial(_paced, rate=rate, seconds=seconds, connections=connections)


@contextmanager
def _paced(target: Target, rate: int, seconds: float, connections: int) -> Iterator[Turn]:
    with target.pacer(rate, connections) as client:
        target.meter.rest()

        def turn(turns: Turns) -> None:
            with metered(target.meter, turns):
                result = client.go(seconds)
            if result["errors"]:
                raise BenchError(f"the load was not served: {result['errors']} errors")
            turns.requests += len(result["latencies"])
            turns.latencies += result["latencies"]

        yield turn
