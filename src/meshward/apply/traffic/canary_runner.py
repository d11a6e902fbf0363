"""Canaries, carried out: each step is a change of weights like any other, by whoever began the canary, unless they
are revoked meanwhile.

What is about to be done is written down first (`canary_store`), so a restart goes on with the same step, anew, or
goes on walking back. One thread looks once a second while any canary runs; without one there is no thread.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import structlog

from meshward.apply.changes import INSTANCE
from meshward.apply.live_revision import LiveRevision
from meshward.apply.mesh import conflict_error
from meshward.apply.traffic.canary import (
    Back,
    Canary,
    CanaryState,
    Observation,
    Onward,
    Wait,
    add_reading,
    next_action,
    shares,
)
from meshward.apply.traffic.told import ToldAnswers
from meshward.apply.traffic.traffic import Traffic
from meshward.apply.traffic.weights import drop_zeros, shift, weights_of
from meshward.kit.errors import MeshwardError
from meshward.targets.envoy.counts import Counts

_LOOK = 1.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds after a change that was refused

log = structlog.get_logger(__name__)


def begin_canary(traffic: Traffic, canary: Canary) -> None:
    """Returns at once. Raises MeshwardError (exit 3) where the model's last one is not over, and OSError.

    Nor is one begun while the instance starts or stops.
    """
    with traffic.canaries.lock:
        traffic.mesh.require_running()
        running = traffic.canaries.of(canary.model)
        if running is not None and not running.is_over:
            raise conflict_error(
                f"a walk of {running.model}/{running.version} is not over",
                f"`meshward traffic {running.model} --stop` ends it.",
            )
        _store(traffic, canary)
        traffic.canaries.seen.pop(canary.model, None)
        traffic.mesh.note(canary.author, "walk", model=canary.model, version=canary.version, came="began")
    _ensure_runner(traffic)


def stop_canary(traffic: Traffic, model: str, author: str, *, back: bool) -> Canary:
    """End the model's canary where it is, or with the weights from before it. Raises MeshwardError, OSError."""
    with traffic.canaries.lock:
        canary = traffic.canaries.of(model)
        if canary is None or canary.is_over:
            raise conflict_error(f"no walk of {model} runs", f"`meshward traffic {model}` shows its weights.")
        if not back:
            return _conclude(
                traffic, canary, CanaryState.ENDED, f"stopped at {canary.share}% by {author}", author
            )
        why = f"walked back at {canary.share}%: {author} stopped it"
        canary = _store(traffic, replace(canary, state=CanaryState.BACKING, why=why))
        return _put_back(traffic, canary, author)


def resume_canaries(traffic: Traffic) -> None:
    """At a start: what was under way goes on. What cannot be read does so no more, and says so when it is asked for."""
    try:
        running = traffic.canaries.running()
    except MeshwardError as error:
        log.error("walks_unreadable", why=error.message)
        return
    if running:
        _ensure_runner(traffic)


def _ensure_runner(traffic: Traffic) -> None:
    with traffic.canaries.lock:
        if traffic.canaries.runner is None:
            traffic.canaries.runner = threading.Thread(target=_run_canaries, args=(traffic,), daemon=True)
            traffic.canaries.runner.start()


def _run_canaries(traffic: Traffic) -> None:
    pauses: dict[str, tuple[float, float]] = {}  # by model: until when, and how long the last one was
    while not traffic.mesh.supervisor.stopping:
        with traffic.canaries.lock:
            running = [canary.model for canary in traffic.canaries.running()]
            if not running:
                traffic.canaries.runner = None
                return
        for model in running:
            until, pause = pauses.get(model, (0.0, 0.0))
            if time.monotonic() < until:
                continue
            if _try_look(traffic, model):
                pauses.pop(model, None)
            else:
                pause = min(max(_FIRST_PAUSE, 2 * pause), _LONGEST_PAUSE)
                pauses[model] = (time.monotonic() + pause, pause)
        time.sleep(_LOOK)


def _try_look(traffic: Traffic, model: str) -> bool:
    """Look at one canary, and do what follows. False, and it says why, where that was refused.

    No fault of one look, or of one canary, ends the others.
    """
    with traffic.canaries.lock:
        canary = traffic.canaries.of(model)  # anew: it may have been stopped
        try:
            if canary is not None and not canary.is_over:
                _look(traffic, canary)
        except (MeshwardError, OSError) as error:
            traffic.canaries.says[model] = f"a change of weights was refused: {error}"
            log.warning("walk_waits", model=model, why=str(error))
            return False
        except Exception as error:
            traffic.canaries.says[model] = f"a fault, {type(error).__name__}; see STATE/logs"
            log.exception("walk_fault", model=model)
            return False
    return True


def _look(traffic: Traffic, canary: Canary) -> None:
    if canary.state is CanaryState.BACKING:
        _put_back(traffic, canary, canary.author)
        return
    if canary.author in traffic.mesh.revoked.subjects:
        _conclude(
            traffic, canary, CanaryState.ENDED, f"ended at {canary.share}%: its author was revoked", INSTANCE
        )
        return
    live = traffic.mesh.live
    now = _weights(live, canary)
    if now == drop_zeros(canary.weights()):
        _observe(traffic, live, canary if canary.applied else _store(traffic, replace(canary, applied=True)))
    elif not canary.applied and now == drop_zeros(canary.weights_before()):
        shift(traffic.mesh, canary.model, canary.weights(), canary.author, canary.title, lambda _: None, live)
        traffic.canaries.seen.pop(canary.model, None)
        _observe(traffic, traffic.mesh.live, _store(traffic, replace(canary, applied=True)))
    else:
        _conclude(traffic, canary, CanaryState.ENDED, _who_ended_it(traffic, canary, now), canary.author)


def _observe(traffic: Traffic, live: LiveRevision, canary: Canary) -> None:
    """The guard itself is asked how it is: `health` does not look at a version without a rival."""
    key, now = f"{canary.model}/{canary.version}", time.monotonic()
    seen = traffic.canaries.seen.get(canary.model) or Observation(now)
    reading, illness = _look_at(traffic, live, key)
    seen = traffic.canaries.seen[canary.model] = add_reading(seen, reading, illness, now)
    match next_action(canary, seen, now):
        case Wait(why):
            traffic.canaries.says[canary.model] = why
        case Back(why):
            _put_back(
                traffic, _store(traffic, replace(canary, state=CanaryState.BACKING, why=why)), canary.author
            )
        case Onward() if canary.step + 1 < len(canary.steps):
            traffic.canaries.seen.pop(canary.model)
            _look(traffic, _store(traffic, replace(canary, step=canary.step + 1, applied=False)))
        case Onward():
            _conclude(traffic, canary, CanaryState.DONE, f"arrived at {canary.share}%", canary.author)


def _look_at(traffic: Traffic, live: LiveRevision, key: str) -> tuple[Counts | None, str | None]:
    """What became of its requests so far, and why nobody should be sent to it, in a sentence; None: it is well."""
    if key in live.elsewhere:
        name = live.plan.version(*key.split("/")).dns_name
        told = traffic.canaries.told.setdefault(key, ToldAnswers(traffic.mesh.machine.state.path, name))
        reading = told.read()
        return (
            reading,
            None if reading is not None else "the records, which tell of its answers, cannot be read",
        )
    guard = (key, live.slots[key])
    reading = traffic.mesh.guards.counts(guard)
    if reading is None:
        return None, "its guard does not answer"
    return reading, traffic.ill.get(key) or traffic.mesh.guards.illness(guard)


def _put_back(traffic: Traffic, canary: Canary, author: str) -> Canary:
    """The weights from before the canary; not where somebody else changed them meanwhile."""
    live = traffic.mesh.live
    now = _weights(live, canary)
    if now not in [drop_zeros(each) for each in (canary.before, canary.weights(), canary.weights_before())]:
        return _conclude(
            traffic,
            canary,
            CanaryState.ENDED,
            f"{_who_ended_it(traffic, canary, now)}; before, {canary.why}",
            author,
        )
    if now != drop_zeros(canary.before):
        shift(
            traffic.mesh,
            canary.model,
            canary.before,
            author,
            f"walk of {canary.version}: {canary.why}",
            lambda _: None,
            live,
        )
    return _conclude(traffic, canary, CanaryState.BACK, canary.why, author)


def _conclude(traffic: Traffic, canary: Canary, state: CanaryState, why: str, author: str) -> Canary:
    canary = _store(traffic, replace(canary, state=state, why=why))
    traffic.canaries.says.pop(canary.model, None)
    traffic.mesh.note(author, "walk", model=canary.model, version=canary.version, came=str(state), why=why)
    return canary


def _store(traffic: Traffic, canary: Canary) -> Canary:
    return traffic.canaries.put(canary)


def _weights(live: LiveRevision, canary: Canary) -> dict[str, int] | None:
    """What receives traffic; None where the model is gone."""
    try:
        return drop_zeros(weights_of(live.plan, canary.model))
    except MeshwardError:
        return None


def _who_ended_it(traffic: Traffic, canary: Canary, now: dict[str, int] | None) -> str:
    """Who ended it, as far as the last revision tells."""
    record = traffic.mesh.revisions.current()
    by = f" (revision {record.number}, by {record.author})" if record else ""
    if now is None or f"{canary.model}/{canary.version}" not in {
        **traffic.mesh.live.slots,
        **traffic.mesh.live.elsewhere,
    }:
        return f"{canary.model}/{canary.version} is in the policy no more{by}"
    found = ", ".join(f"{version} {share:g}%" for version, share in shares(now).items())
    return f"somebody else changed the weights, to {found}{by}"
