"""Who else is in our network: each process there reaches whatever listens on its loopback addresses."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

_PROC = Path("/proc")


def neighbours(proc: Path = _PROC) -> Mapping[int, int]:
    """How many processes of each uid share our network namespace: all but us, what started us, and whom we may not
    look at (root may look at all)."""
    ours, network = _line_of(os.getpid(), proc), (proc / "self" / "ns" / "net").readlink()
    found = Counter[int]()
    for each in proc.iterdir():
        if not each.name.isdigit() or int(each.name) in ours:
            continue
        try:
            if (each / "ns" / "net").readlink() == network:
                found[each.stat().st_uid] += 1
        except OSError:  # it has ended, or is not ours to look at
            continue
    return found


def warn_of_neighbours(found: Mapping[int, int], address: str) -> str:
    """What that means where the edge's sidecar listens at `address`; empty: nobody else is there."""
    if not found:
        return ""
    uids = ", ".join(map(str, sorted(found)[:8])) + (", ..." if len(found) > 8 else "")
    count = sum(found.values())
    return (
        f"{count} other process{'es' if count > 1 else ''} (uid {uids}) share this network: whoever of them reaches "
        f"the sidecar at {address} speaks as the edge. Run edge and sidecar in a network namespace of their own"
    )


def _line_of(pid: int, proc: Path) -> set[int]:
    """A process and those that it comes from."""
    found: set[int] = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            pid = int((proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return found
