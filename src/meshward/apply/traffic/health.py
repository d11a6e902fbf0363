"""Versions whose servers are all ill get no requests from the edge while another version can answer.

What a guard thinks of its servers (its health checks, and outlier detection on real requests) is looked at once a
second, where a model has two versions with a weight or more. The policy does not change by it, so there is no
revision: the decision service is told (`InstanceView.ejected`), and the epoch raised.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import structlog

from meshward.apply.changes import INSTANCE
from meshward.apply.decision_hop import DecisionHop
from meshward.apply.live_revision import LiveRevision
from meshward.apply.mesh import Mesh
from meshward.apply.traffic.traffic import Traffic
from meshward.kit.errors import MeshwardError

LOOK = 1.0  # seconds
BAD, GOOD = 2, 3  # looks in a row
LONGEST = 60.0  # seconds that a version which keeps falling ill stays out at least
FORGIVEN = 120.0  # seconds in health after which it counts as one that does not
_FIRST = 3.0
_AT_A_TIME = 32

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """Of one version. `bad`, `good`: looks in a row; `out_since`, `back_at`: monotonic seconds; `times`: ejections."""

    bad: int = 0
    good: int = 0
    out_since: float | None = None
    times: int = 0
    back_at: float = 0.0

    @property
    def is_out(self) -> bool:
        return self.out_since is not None


def judge_health(known: Mapping[str, Health], looks: Mapping[str, bool], now: float) -> dict[str, Health]:
    """The versions of one model after another look at each. Pure.

    Out after two bad looks, but only while another one is in that has none; in after three good ones, and not
    before 3, 6, 12, ... 60 s, the longer the more often it went out.
    """
    after = {key: _after_look(known.get(key, Health()), well, now) for key, well in looks.items()}
    for key, health in after.items():
        rest = [other for name, other in after.items() if name != key and not other.is_out]
        if not health.is_out and health.bad >= BAD and any(other.bad == 0 for other in rest):
            after[key] = replace(health, out_since=now, times=health.times + 1, good=0)
    return after


def _after_look(health: Health, well: bool, now: float) -> Health:
    if not well:
        return replace(health, bad=health.bad + 1, good=0)
    health = replace(health, bad=0, good=health.good + 1)
    if health.out_since is not None:
        stays = min(_FIRST * 2.0 ** min(health.times - 1, 16), LONGEST)
        returns = health.good >= GOOD and now - health.out_since >= stays
        return replace(health, out_since=None, back_at=now) if returns else health
    forgiven = health.times > 0 and now - health.back_at >= FORGIVEN
    return replace(health, times=0) if forgiven else health


async def watch_health(traffic: Traffic) -> None:
    """Until it is cancelled. An instance starts with every version in."""
    mesh, known = traffic.mesh, dict[str, Health]()
    traffic.keep_ill({})
    while True:
        await asyncio.sleep(LOOK)
        if rivals(mesh.live) or mesh.live.ejected:
            try:
                known = await asyncio.to_thread(_look, traffic, known)
            except (MeshwardError, OSError) as error:  # a hop that does not answer now is asked again
                log.error("health_not_enforced", why=str(error))
            except Exception:
                log.exception("health_fault")


def rivals(live: LiveRevision) -> dict[str, tuple[str, ...]]:
    """`<model>/<version>` of each model that has several versions with a weight, behind guards of this machine: of
    others nobody here knows how they are."""
    weighted = {
        model.name: tuple(
            key
            for key, weight in ((f"{model.name}/{each.name}", each.weight) for each in model.versions)
            if weight > 0 and key in live.slots
        )
        for model in live.plan.models.values()
    }
    return {name: keys for name, keys in weighted.items() if len(keys) > 1}


def _look(traffic: Traffic, known: dict[str, Health]) -> dict[str, Health]:
    live = traffic.mesh.live
    models = rivals(live)
    ill = _illnesses(traffic.mesh, live, (key for keys in models.values() for key in keys))
    after: dict[str, Health] = {}
    for keys in models.values():
        after |= judge_health(known, {key: ill[key] is None for key in keys}, time.monotonic())
    out = {key: ill[key] or traffic.ill.get(key, "it is getting well") for key in after if after[key].is_out}
    if out.keys() != live.ejected:
        _enforce(traffic, live, {key: traffic.ill.get(key, why) for key, why in out.items()})
    return after


def _illnesses(mesh: Mesh, live: LiveRevision, keys: Iterable[str]) -> dict[str, str | None]:
    guards = [(key, live.slots[key]) for key in keys]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return {
            guard[0]: why for guard, why in zip(guards, pool.map(mesh.guards.illness, guards), strict=True)
        }


def _enforce(traffic: Traffic, seen: LiveRevision, out: Mapping[str, str]) -> None:
    """Nothing happens where another revision stands by now: the next look is at that one."""
    mesh = traffic.mesh
    with mesh.turn():
        running = mesh.running
        before = running.live
        if before.revision != seen.revision or before.slots != seen.slots:
            return
        DecisionHop(mesh.machine).eject(frozenset(out), mesh.supervisor)
        mesh.swap(replace(running, live=replace(before, ejected=frozenset(out))))
        for key in sorted(out.keys() - before.ejected):
            mesh.note(INSTANCE, "eject", version=key, why=out[key])
        for key in sorted(before.ejected - out.keys()):
            mesh.note(INSTANCE, "readmit", version=key)
        traffic.keep_ill(out)
