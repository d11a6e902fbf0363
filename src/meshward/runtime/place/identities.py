"""Who each part runs as. Only another uid is kept out by a file's mode: where we may, each part gets its own.

The numbers need no passwd entry. They come from the range that systemd keeps for dynamic users (61184..65519)
and are written down in STATE/identities.json, so that a part keeps its number whatever parts come and go; but where
another instance of this machine has the number by now, it gets another one.
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import re
import subprocess
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from meshward.kit.foreign import directories_in, owner_of
from meshward.kit.statefile import StateFile, put_under
from meshward.runtime.place.directories import ROOT_RUN, Run, State

FIRST, LAST = 61184, 65519
_DYNAMIC = Path("/run/systemd/dynamic-uid")  # a file for each number that systemd gave away
CLEAN_ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
_PROBE_TIMEOUT = 20.0  # seconds
CAPABILITIES: Mapping[str, int] = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
}
"""What it takes to give parts users of their own, to work in their directories, and to end them; their bits."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """What a part runs as; `groups` are further groups (a guard's: the edge's gid)."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def joining(self, *groups: int) -> ProcessIdentity:
        return replace(self, groups=(*self.groups, *groups))


@dataclass(frozen=True, slots=True)
class Numbers:
    """Each part's uid, which is its gid too."""

    numbers: Mapping[str, int]

    def __post_init__(self) -> None:
        """Raises ValueError where two parts would be one user: nothing would keep them from one another."""
        if len({*self.numbers.values()}) < len(self.numbers):
            raise ValueError("two parts with one number")


NUMBERS = StateFile(
    "identities.json",
    Numbers,
    place="STATE",
    what="the user that each part runs as",
    remedy="Remove it: each part's number follows from its name and from the directory's path once more.",
    migrations=(put_under("numbers"),),
)


@dataclass(frozen=True, slots=True)
class Identities:
    """Each part's identity. `separate` says whether uids really keep the parts from one another."""

    separate: bool
    _parts: dict[str, ProcessIdentity]

    def of(self, part: str) -> ProcessIdentity:
        return self._parts[part]

    @property
    def sentence(self) -> str:
        if self.separate:
            return "each part runs as its own user"
        return f"every part runs as you (uid {os.geteuid()}): file modes do not keep them from one another"


def assign_identities(state: State, parts: Sequence[str]) -> Identities:
    """An identity for each name of `parts`: its own uid and gid if we may change them, else the starter's.

    Raises MeshwardError where the file cannot be used.
    """
    if not can_change_uid():
        return Identities(False, dict.fromkeys(parts, starter()))
    kept = NUMBERS.read(state.path)
    known = kept.numbers if kept else {}
    numbers = {part: number for part, number in known.items() if FIRST <= number <= LAST}
    others = _numbers_of_others(state)
    for part in parts:
        if part not in numbers or numbers[part] in others:
            numbers[part] = _free_number(state, part, set(numbers.values()), others)
    if numbers != known:
        NUMBERS.write(state.path, Numbers(dict(sorted(numbers.items()))))
    return Identities(True, {part: ProcessIdentity(numbers[part], numbers[part]) for part in parts})


def load_numbers(state: State) -> frozenset[int]:
    """The uids that were ever given to a part of `state`. Raises MeshwardError where the file cannot be used."""
    kept = NUMBERS.read(state.path)
    return frozenset(each for each in kept.numbers.values() if FIRST <= each <= LAST) if kept else frozenset()


def is_separate(identity: ProcessIdentity) -> bool:
    """Whether the uid is one that we gave to a part."""
    return FIRST <= identity.uid <= LAST


def starter() -> ProcessIdentity:
    return ProcessIdentity(os.geteuid(), os.getegid())


def can_change_uid() -> bool:
    """Whether we are root with the right to do so, and to undo it, in a user namespace that has our numbers at all."""
    return os.geteuid() == 0 and not lacking() and _is_mapped("uid_map") and _is_mapped("gid_map")


def lacking() -> list[str]:
    """Of the capabilities that this takes those that we do not have."""
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    held = int(effective[1], 16) if effective else 0
    return [name for name, bit in CAPABILITIES.items() if not held >> bit & 1]


def popen_user(identity: ProcessIdentity) -> dict[str, Any]:
    """Popen's arguments that make a child run as `identity`; none where that is what we are already."""
    groups = {identity.gid, *identity.groups}
    if identity.uid == os.geteuid() and groups == {os.getegid()}:
        return {}
    # Never an empty list: some Python versions take it for "keep the parent's groups" (CVE-2023-6507).
    return {"user": identity.uid, "group": identity.gid, "extra_groups": sorted(groups)}


def can_execute_as(identity: ProcessIdentity, argv: Sequence[str]) -> bool:
    """Whether `argv`, run as `identity`, exits 0. Tried, not computed: ACLs and mount options count."""
    try:
        result = subprocess.run(
            argv,
            **popen_user(identity),
            cwd="/",
            env=CLEAN_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PROBE_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


def _is_mapped(table: str) -> bool:
    rows = (line.split() for line in Path(f"/proc/self/{table}").read_text().splitlines())
    return any(int(inside) <= FIRST and int(inside) + int(count) > LAST for inside, _, count in rows)


def _numbers_of_others(state: State) -> set[int]:
    """What other instances' parts have, by whose the directories are that they work in while they run."""
    found = set[int]()
    for run in (Run(path) for path in directories_in(ROOT_RUN) if path.name != state.hex):
        inside = [each for name in ("guards", "models") for each in directories_in(run.path / name)]
        found |= {owner_of(each) for each in (run.edge_dir, run.decide_dir, *inside)}
    return found


def _free_number(state: State, part: str, taken: set[int], others: Set[int] = frozenset()) -> int:
    """Of `others` only where there is no other one: what instances that were killed left behind may hold them all."""
    span = LAST - FIRST + 1
    start = int.from_bytes(hashlib.sha256(f"{state.hex}\n{part}".encode()).digest()[:8])
    wanted = [FIRST + (start + step) % span for step in range(span)]
    for avoided in (taken | others, taken):
        for number in wanted:
            if number not in avoided and not is_somebody(number):
                return number
    raise RuntimeError("more parts than uids")


def is_somebody(number: int) -> bool:
    """Whether passwd or group knows `number`, or systemd gave it to a dynamic user, who need not appear in them."""
    if (_DYNAMIC / str(number)).exists():
        return True
    for lookup in (pwd.getpwuid, grp.getgrgid):
        try:
            lookup(number)
        except KeyError:
            continue
        return True
    return False
