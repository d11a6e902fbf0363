"""Whether records are kept, by the collector's heartbeat, and whether some were lost: as `status` tells it."""

from __future__ import annotations

import json
import time
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

from meshward.audit.records import Records
from meshward.audit.told import alarms, lost_before, room_alarms
from meshward.instance.running_policy import load_running_policy
from meshward.kit.boot import Moment
from meshward.kit.clock import Clock, system_clock
from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import read_plain
from meshward.policy.schema import Audit
from meshward.runtime.place.directories import Run, State, run_path
from meshward.trace.skew import skew_sentence

_MOST_LOG = 64_000_000  # bytes; more than a part's log may have
_NEWEST = 200  # records that are looked at for clocks that differ
_LAST = 64 * 1024  # bytes of the collector's log that are looked at


@dataclass(frozen=True, slots=True)
class Proof:
    """`age`: seconds since the last proof, None: there is none; `lag`: bytes of logs that it had not read then.

    `bound`: seconds without proof after which requests are refused. `why` and `remedy`: the collector's own words.
    """

    age: float | None
    lag: int | None
    bound: int
    why: str
    remedy: str
    lost: tuple[str, ...] = ()
    """What was kept, or should have been, and is not there: noticed not long ago; or what soon cannot be kept."""
    lost_before: tuple[str, ...] = ()
    clocks: tuple[str, ...] = ()
    """Where the machine's clock was set far since records are kept, and where hops' clocks differ."""

    @property
    def fresh(self) -> bool:
        # One from the future says as little about now as one from the past.
        return self.age is not None and abs(self.age) <= self.bound

    @property
    def well(self) -> bool:
        """Whether records are kept, and none were lost not long ago."""
        return self.fresh and not self.lost

    def lines(self) -> list[str]:
        """For people."""
        return [*self._kept(), *self.lost, *self.lost_before, *self.clocks]

    def _kept(self) -> list[str]:
        if self.fresh:
            behind = f"; {self.lag} bytes of logs wait to be read" if self.lag else ""
            kept = "new records are written" if self.lost else "records are kept"
            return [f"{kept}, last proof {max(self.age or 0.0, 0.0):.1f} s ago{behind}"]
        since = "there is no proof" if self.age is None else f"the last proof is {self.age:.0f} s old"
        cause = f": {self.why}" if self.why else ""
        lines = [f"RECORDS ARE NOT KEPT ({since}, at most {self.bound} s are allowed){cause}"]
        return [*lines, f"    {self.remedy}"] if self.remedy else lines


def proof(state: State, clock: Clock = system_clock) -> Proof:
    """What the heartbeat of the instance in `state` says now, and what its records lack."""
    audit = _audit(state)
    lost, before = _losses(state, audit, clock())
    return replace(_proof(state, audit), lost=tuple(lost), lost_before=tuple(before), clocks=_clocks(state))


def _clocks(state: State) -> tuple[str, ...]:
    with suppress(MeshwardError), closing(Records(state.path)) as store:
        passed = store.passed()
        was_set = passed.set_sentence(Moment.now()) if passed else ""
        return tuple(filter(None, (was_set, skew_sentence(store.newest(_NEWEST)))))
    return ()


def _losses(state: State, audit: Audit, now: float) -> tuple[list[str], list[str]]:
    room = audit.max_disk.value if audit.max_disk else None
    try:
        with closing(Records(state.path)) as store:
            return alarms(store, now) + room_alarms(store.size(), room), lost_before(store, now)
    except MeshwardError as error:
        return [f"RECORDS CANNOT BE READ: {error.message}. {error.remedy}"], []


def _proof(state: State, audit: Audit) -> Proof:
    beat = Run(run_path(state)).heartbeat
    try:
        age: float | None = time.time() - beat.stat().st_mtime
        lag = json.loads(beat.read_text())["lag"]
    except (OSError, ValueError, KeyError):
        age, lag = None, None
    found = Proof(age, lag, audit.max_blind.value, "", "")
    if found.fresh:
        return found
    said = _last_complaint(state)
    remedy = said.get("remedy") or f"See {state.log('collector')}."
    return Proof(age, lag, found.bound, str(said.get("event", "")), str(remedy))


def _audit(state: State) -> Audit:
    """`audit` of the policy that runs."""
    policy = None
    with suppress(MeshwardError):
        policy = load_running_policy(state)
    return policy.audit if policy else Audit()


def _last_complaint(state: State) -> dict[str, Any]:
    """The collector's last complaint."""
    try:
        lines = read_plain(state.log("collector"), _MOST_LOG)[-_LAST:].splitlines()
    except (OSError, ValueError, MeshwardError):
        return {}
    for line in reversed(lines):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and value.get("level") == "error":
            return value
    return {}
