"""Who was refused how often in this second: the first few are written down one by one, the others counted. Pure.

Else somebody who is known and may nothing could fill the disk with it. A second is over when the next one has begun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

TOLD = 5
"""Refusals of one author in a second that are written down each."""
MOST = 20
"""The same, after which no more is looked at in that second."""
_ROWS = 1024  # that wait to be written: what is more is lost, on a disk that takes nothing


@dataclass(slots=True)
class Counted:
    """`count` refusals of one author, for one code, in the second of `at`; `facts` are those of the first."""

    author: str
    did: str
    code: str
    at: float
    facts: Mapping[str, str]
    count: int = 1


class Tally:
    """For one thread at a time."""

    def __init__(self) -> None:
        self._second = 0
        self._refused = Counter[str]()
        self._rows: dict[tuple[int, str, str, str], Counted] = {}

    def add(self, author: str, now: float) -> bool:
        """One more. Whether it is beyond those that are written down."""
        self._begin(now)
        self._refused[author] += 1
        return self._refused[author] > TOLD

    def too_often(self, author: str, now: float) -> bool:
        self._begin(now)
        return self._refused[author] >= MOST

    def count(self, author: str, did: str, code: str, facts: Mapping[str, str], now: float) -> None:
        """What was added and is not written down."""
        key = (int(now), author, did, code)
        if key in self._rows:
            self._rows[key].count += 1
        else:
            self._rows[key] = Counted(author, did, code, now, dict(facts))

    def take(self, before: float) -> list[Counted]:
        """What was counted in the seconds that were over at `before`: it is the caller's now.

        A second that is still to come was counted by a clock that has since gone back: it is over as well.
        """
        over = [key for key in self._rows if not key[0] <= before < key[0] + 1]
        return [self._rows.pop(key) for key in over]

    def put_back(self, counted: Counted) -> bool:
        """It could not be written. Whether there is room to keep it."""
        if len(self._rows) >= _ROWS:
            return False
        key = (int(counted.at), counted.author, counted.did, counted.code)
        if key in self._rows:
            counted.count += self._rows[key].count
        self._rows[key] = counted
        return True

    def _begin(self, now: float) -> None:
        if int(now) != self._second:
            self._second, self._refused = int(now), Counter()
