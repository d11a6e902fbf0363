"""What was measured on."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meshward.runtime.place.components import find_components


def description() -> str:
    """CPU, cores, kernel, versions, in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in find_components().versions.items())
    cores = len(os.sched_getaffinity(0))
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    python = platform.python_version()
    return (
        f"{_cpu()}, {cores} CPUs, {gigabytes:.0f} GB, Linux {platform.release()}; {versions}, Python {python}"
    )


def moment() -> str:
    """When, and how busy the machine was with everything, ourselves included."""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}; load average {load}"


@contextmanager
def served_first() -> Iterator[str]:
    """What is started here runs before everything else on this machine, if that is allowed; how it runs, in words.

    Where others compute too, a preempted process finds its caches cold, and at the 99th percentile a client waits
    for a CPU rather than for us: that would be measured instead.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        yield "with no more than its share of the CPUs"
        return
    try:
        yield "with real-time priority"
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _cpu() -> str:
    text = Path("/proc/cpuinfo").read_text()
    fields: dict[str, str] = dict(re.findall(r"^(model name|cpu family|model)\s*: (.+)$", text, re.MULTILINE))
    family = f" (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else ""
    return fields.get("model name", platform.machine()) + family
