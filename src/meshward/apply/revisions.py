"""STATE/revisions: every policy that was ever applied here, by whom, when and why.

NNNN.policy.json    the policy, canonical
NNNN.json           the record; written `staged` before any hop is touched, then `accepted` or `refused`

The rename that makes a record `accepted` is the moment at which an instance changes its revision: what a start
finds staged never became true, and the highest accepted revision is the one that runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from meshward.apply.counters import NO_TWICE
from meshward.kit import codes
from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import StateFile
from meshward.policy.parse import from_json, to_json
from meshward.policy.schema import Policy

DIRECTORY = "revisions"
STAGED, ACCEPTED, REFUSED = "staged", "accepted", "refused"
INTERRUPTED = "the instance ended while it was applied"
_RECORD = re.compile(r"([0-9]{4,9})\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class Revision:
    """`digest` is the policy's; `parent` the revision that it replaced (0: none); `time` seconds since the epoch."""

    number: int
    status: str
    digest: str
    parent: int
    author: str
    time: float
    reason: str
    why: str = ""  # of a refusal


RECORD = StateFile(
    "NNNN.json",
    Revision,
    place="STATE/revisions",
    what="one revision: whose, when, why, and whether it was accepted",
    remedy=NO_TWICE,
)


class Revisions:
    """The revisions of one state. To be changed only by the process that holds STATE/lock."""

    def __init__(self, state: Path) -> None:
        self._directory = state / DIRECTORY

    def all(self) -> list[Revision]:
        """Every record, oldest first. Raises MeshwardError for one that cannot be used."""
        return [self._read(number) for number in sorted(self._numbers())]

    def current(self) -> Revision | None:
        """The highest accepted revision."""
        for number in sorted(self._numbers(), reverse=True):
            if (revision := self._read(number)).status == ACCEPTED:
                return revision
        return None

    def policy(self, number: int) -> Policy:
        """The policy of a revision. Raises MeshwardError where there is none (exit 2) or it is damaged."""
        path = self._directory / f"{number:04d}.policy.json"
        try:
            return from_json(path.read_bytes())
        except FileNotFoundError:
            raise MeshwardError(
                codes.REVISION_UNKNOWN,
                f"there is no revision {number}",
            ) from None
        except (OSError, ValueError) as error:
            raise RECORD.damage_error(path, f"it is no policy ({type(error).__name__})") from None

    def stage(self, policy: Policy, revision: Revision) -> None:
        """Write down what is about to be applied: the policy, then its record. Raises OSError."""
        private_directory(self._directory)
        write_atomic(self._directory / f"{revision.number:04d}.policy.json", to_json(policy))
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

    def _numbers(self) -> Iterator[int]:
        if self._directory.is_dir():
            for path in self._directory.iterdir():
                if match := _RECORD.fullmatch(path.name):
                    yield int(match[1])


def _record(number: int) -> StateFile[Revision]:
    return replace(RECORD, name=f"{number:04d}.json")
