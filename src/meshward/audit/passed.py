"""How much time has passed, whatever the machine's clock says: what records age by. Pure: moments are parameters.

A clock can be set, by a year, forward or back, and none of that time passed. So records have a clock of their own. It
begins as the machine's, and goes on by the one that counts since the machine was started. While it is off nobody
counts: of what its clock then says, a day is believed.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshward.kit.boot import Moment

BELIEVED = 86_400.0
"""Seconds between the last commit and the next boot that the machine's clock is believed, at the most."""
_SET = 3_600.0  # seconds apart from which a clock was set, rather than put right


@dataclass(frozen=True, slots=True)
class Passed:
    """`clock`: what the records' own clock showed at the moment `at`."""

    clock: float
    at: Moment

    def to(self, now: Moment) -> Passed:
        return Passed(self.clock + _seconds(self.at, now), now)

    def set_sentence(self, now: Moment) -> str:
        """For people, where the machine's clock is far from what passed; empty: it is not."""
        apart = now.wall - self.to(now).clock
        if abs(apart) < _SET:
            return ""
        way = "ahead" if apart > 0 else "back"
        return (
            f"the machine's clock was set {way} by {_spelled(abs(apart))} since records are kept here, or the machine "
            "was off: records end by the time that passed"
        )


def _seconds(since: Moment, now: Moment) -> float:
    """From `since` to `now`: exact within one boot; over another, no more than there can have been, and a day."""
    if since.same_boot(now):
        return max(now.uptime - since.uptime, 0.0)
    counted = now.uptime if since.boot and now.boot else 0.0
    return counted + min(max(now.wall - since.wall - counted, 0.0), BELIEVED)


def _spelled(seconds: float) -> str:
    return f"{seconds / 86_400:.0f} days" if seconds >= 2 * 86_400 else f"{seconds / 3_600:.0f} h"
