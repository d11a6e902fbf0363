"""STATE/revisions: every policy that was ever applied here, by whom, when and why.

NNNN.policy.json    the policy, canonical
NNNN.site.json      the site that it ran at, canonical; none: on one machine
NNNN.json           the record; written `staged` before any hop is touched, then `accepted` or `refused`

The rename that makes a record `accepted` is the moment at which an instance changes its revision: what a start
finds staged never became true, and the highest accepted revision is the one that runs.

A policy is read only as the one that its record names by digest, and no revision is taken for the highest accepted
one but the one that STATE/counters.json names by number and digest: what a restored backup or an editor left here
(an earlier one, one that was refused, a copy under a higher number) does not run as what was accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from meshward.apply.counters import NO_TWICE, Counters, load_counters
from meshward.kit import codes
from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import StateFile, read_regular, unchanged
from meshward.plan.ir import Plan
from meshward.plan.placement import plan_at
from meshward.policy.parse import from_json, to_json
from meshward.policy.schema import Policy
from meshward.policy.site import Site, site_from_json, site_to_json
from meshward.policy.tree import MOST_BYTES

DIRECTORY = "revisions"
STAGED, ACCEPTED, REFUSED = "staged", "accepted", "refused"
_LONGEST = 4 * MOST_BYTES  # with what a person left to the defaults
INTERRUPTED = "the instance ended while it was applied"
_RECORD = re.compile(r"([0-9]{4,9})\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class Revision:
    """`digest` is the policy's; `parent` the revision that it replaced (0: none); `time` seconds since the epoch.

    `site`: the digest of the site; empty: it ran on one machine.
    """

    number: int
    status: str
    digest: str
    parent: int
    author: str
    time: float
    reason: str
    why: str = ""  # of a refusal
    site: str = ""


RECORD = StateFile(
    "NNNN.json",
    Revision,
    place="STATE/revisions",
    what="one revision: whose, when, why, and whether it was accepted",
    remedy=NO_TWICE,
    may_lack=frozenset({"site"}),
    migrations=(unchanged, unchanged),
)


class Revisions:
    """The revisions of one state. To be changed only by the process that holds STATE/lock."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._directory = state / DIRECTORY

    def all(self) -> list[Revision]:
        """Every record, oldest first. Raises MeshwardError for one that cannot be used."""
        return [self._read(number) for number in sorted(self._numbers())]

    def readable(self) -> tuple[list[Revision], list[MeshwardError]]:
        """Every record that can be used, oldest first, and what is to be said of each other one."""
        found, damaged = list[Revision](), list[MeshwardError]()
        for number in sorted(self._numbers()):
            try:
                found.append(self._read(number))
            except MeshwardError as error:
                damaged.append(error)
        return found, damaged

    def current(self) -> Revision | None:
        """The highest accepted revision."""
        for number in sorted(self._numbers(), reverse=True):
            if (revision := self._read(number)).status == ACCEPTED:
                return revision
        return None

    def record(self, number: int) -> Revision:
        """Raises MeshwardError where there is none of that number (exit 2), or it cannot be used."""
        if number not in self._numbers():
            raise MeshwardError(codes.REVISION_UNKNOWN, f"there is no revision {number}")
        return self._read(number)

    def require_current(self) -> Revision | None:
        """`current`, for whoever runs it or compares with it. Raises MeshwardError where it is not the last one."""
        current, counted = self.current(), load_counters(self._state)
        if fault := _not_the_last(current, counted):
            raise self._altered_error(*fault)
        return current

    def stands(self, revision: Revision) -> bool:
        """Whether it is what was accepted last, as `require_current` has it."""
        return _not_the_last(revision, load_counters(self._state)) is None

    def policy(self, number: int) -> Policy:
        """The policy of a revision. Raises MeshwardError where there is none (exit 2), or another than was recorded."""
        recorded, path = self.record(number), self._policy_file(number)
        try:
            policy = from_json(self._content(number, path))
        except ValueError as error:
            raise self._altered_error(number, f"`{path}` is no policy ({type(error).__name__})") from None
        if (found := policy.digest) != recorded.digest:
            raise self._altered_error(
                number, f"`{path}` is another policy ({found[:12]}, not {recorded.digest[:12]})"
            )
        return policy

    def site(self, number: int) -> Site | None:
        """The site of a revision, as `policy`. None: it ran on one machine."""
        recorded, path = self.record(number), self._site_file(number)
        if not recorded.site:
            return None
        try:
            site = site_from_json(self._content(number, path).decode())
        except ValueError as error:
            raise self._altered_error(number, f"`{path}` is no site ({type(error).__name__})") from None
        if site.digest != recorded.site:
            raise self._altered_error(number, f"`{path}` is another site")
        return site

    def plan(self, number: int) -> Plan:
        """The plan of a revision, as its site named things. Raises MeshwardError as `policy` does."""
        return plan_at(self.policy(number), self.site(number))

    def may_mention(self, number: int, words: Iterable[str]) -> bool:
        """Whether its policy has one of `words` in it: cheaper than `policy`. Raises MeshwardError likewise."""
        path = self._policy_file(number)
        data = read_regular(path, _LONGEST, lambda why: self._altered_error(number, f"`{path}`: {why}"))
        return data is not None and any(word.encode() in data for word in words)

    def restore(self, number: int, policy: Policy, site: Site | None = None) -> None:
        """Write policy and site of a revision anew, where whoever has them gives them once more. Raises OSError."""
        recorded = self._read(number)
        if policy.digest == recorded.digest:
            write_atomic(self._policy_file(number), to_json(policy))
        if site is not None and site.digest == recorded.site:
            write_atomic(self._site_file(number), site_to_json(site))

    def stage(self, policy: Policy, revision: Revision, site: Site | None = None) -> None:
        """Write down what is about to be applied: policy and site, then their record. Raises OSError."""
        private_directory(self._directory)
        write_atomic(self._policy_file(revision.number), to_json(policy))
        if site is not None:
            write_atomic(self._site_file(revision.number), site_to_json(site))
        self._write(revision)

    def accept(self, revision: Revision) -> Revision:
        """From here on it is what runs. Raises OSError; then it is not."""
        return self._write(replace(revision, status=ACCEPTED))

    def refuse(self, revision: Revision, why: str) -> None:
        """Where even that cannot be written, the next start finds it staged and says so."""
        with suppress(OSError):
            self._write(replace(revision, status=REFUSED, why=why))

    def recover(self) -> None:
        """At a start: what was being applied when the last instance ended was not accepted."""
        for revision in self.all():
            if revision.status == STAGED:
                self.refuse(revision, INTERRUPTED)

    def next_number(self, least: int) -> int:
        """One that no revision ever had, above `least`."""
        used = [int(path.name.split(".")[0]) for path in self._directory.glob("[0-9]*.json")]
        return max([least, *used]) + 1

    def _write(self, revision: Revision) -> Revision:
        _record(revision.number).write(self._directory, revision)
        return revision

    def _read(self, number: int) -> Revision:
        record = _record(number)
        revision = record.read(self._directory)
        if revision is None or revision.number != number:
            raise record.damage_error(self._directory / record.name, "it is another revision's, or gone")
        return revision

    def _policy_file(self, number: int) -> Path:
        return self._directory / f"{number:04d}.policy.json"

    def _site_file(self, number: int) -> Path:
        return self._directory / f"{number:04d}.site.json"

    def _content(self, number: int, path: Path) -> bytes:
        data = read_regular(path, _LONGEST, lambda why: self._altered_error(number, f"`{path}`: {why}"))
        if data is None:
            raise self._altered_error(number, f"`{path}` is gone")
        return data

    def _altered_error(self, number: int, why: str) -> MeshwardError:
        return MeshwardError(
            codes.REVISION_ALTERED, f"revision {number} in `{self._directory}` is altered: {why}"
        )

    def _numbers(self) -> Iterator[int]:
        if self._directory.is_dir():
            for path in self._directory.iterdir():
                if match := _RECORD.fullmatch(path.name):
                    yield int(match[1])


def _not_the_last(current: Revision | None, counted: Counters) -> tuple[int, str] | None:
    """Which revision is not as it was accepted, and why. An earlier release counted less (no `may_run`)."""
    number, digest = (current.number, current.digest) if current else (0, "")
    last = max([counted.accepted, *map(int, counted.may_run)])
    if last > number and not _may_run(counted, number, digest):
        return last, "its record is gone, or says no more that it was accepted"
    if last < number and counted.may_run:
        return number, f"it was never accepted here, {last} was the last"
    known = counted.may_run.get(
        str(number), counted.digest if counted.accepted == counted.revision else digest
    )
    if number == last and known != digest:
        return number, "its record names another policy than the one that was accepted"
    return None


def _may_run(counted: Counters, number: int, digest: str) -> bool:
    return number >= counted.accepted and counted.may_run.get(str(number)) == digest


def _record(number: int) -> StateFile[Revision]:
    return replace(RECORD, name=f"{number:04d}.json")
