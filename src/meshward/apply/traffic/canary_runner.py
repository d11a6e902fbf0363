"""Walks, carried out: each step is a change of weights like any other, by whoever began the walk, unless they are
revoked meanwhile.

What is about to be done is written down first (`walks`), so a restart goes on with the same step, anew, or goes on
walking back. One thread looks once a second while any walk runs; without one there is no thread.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import structlog

from meshward.apply.changes import INSTANCE
from meshward.apply.live_revision import LiveRevision
from meshward.apply.mesh import conflict
from meshward.apply.revoke import revoked
from meshward.apply.traffic.canary import Back, Onward, Seen, State, Wait, Walk, next_action, observed, shares
from meshward.apply.traffic.traffic import Traffic
from meshward.apply.traffic.weights import receiving, shift, weights_of
from meshward.kit.errors import MeshwardError

_LOOK = 1.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds after a change that was refused

log = structlog.get_logger(__name__)


def begin(traffic: Traffic, walk: Walk) -> None:
    """Returns at once. Raises MeshwardError (exit 3) where the model's last walk is not over, and OSError.

    Nor is one begun while the instance starts or stops.
    """
    with traffic.walks.lock:
        traffic.mesh.require_running()
        running = traffic.walks.of(walk.model)
        if running is not None and not running.is_over:
            raise conflict(
                f"a walk of {running.model}/{running.version} is not over",
                f"`meshward traffic {running.model} --stop` ends it.",
            )
        _keep(traffic, walk)
        traffic.walks.seen.pop(walk.model, None)
        traffic.mesh.note(walk.author, "walk", model=walk.model, version=walk.version, came="began")
    _walk_on(traffic)


def stop(traffic: Traffic, model: str, author: str, *, back: bool) -> Walk:
    """End the model's walk where it is, or with the weights from before it. Raises MeshwardError, OSError."""
    with traffic.walks.lock:
        walk = traffic.walks.of(model)
        if walk is None or walk.is_over:
            raise conflict(f"no walk of {model} runs", f"`meshward traffic {model}` shows its weights.")
        if not back:
            return _over(traffic, walk, State.ENDED, f"stopped at {walk.share}% by {author}", author)
        why = f"walked back at {walk.share}%: {author} stopped it"
        walk = _keep(traffic, replace(walk, state=State.BACKING, why=why))
        return _put_back(traffic, walk, author)


def resume(traffic: Traffic) -> None:
    """At a start: what was walking goes on. What cannot be read walks no more, and says so when it is asked for."""
    try:
        running = traffic.walks.running()
    except MeshwardError as error:
        log.error("walks_unreadable", why=error.message)
        return
    if running:
        _walk_on(traffic)


def _walk_on(traffic: Traffic) -> None:
    with traffic.walks.lock:
        if traffic.walks.walker is None:
            traffic.walks.walker = threading.Thread(target=_walk, args=(traffic,), daemon=True)
            traffic.walks.walker.start()


def _walk(traffic: Traffic) -> None:
    pauses: dict[str, tuple[float, float]] = {}  # by model: until when, and how long the last one was
    while not traffic.mesh.supervisor.stopping:
        with traffic.walks.lock:
            running = [walk.model for walk in traffic.walks.running()]
            if not running:
                traffic.walks.walker = None
                return
        for model in running:
            until, pause = pauses.get(model, (0.0, 0.0))
            if time.monotonic() < until:
                continue
            if _tried(traffic, model):
                pauses.pop(model, None)
            else:
                pause = min(max(_FIRST_PAUSE, 2 * pause), _LONGEST_PAUSE)
                pauses[model] = (time.monotonic() + pause, pause)
        time.sleep(_LOOK)


def _tried(traffic: Traffic, model: str) -> bool:
    """Look at one walk, and do what follows. False, and it says why, where that was refused.

    No fault of one look, or of one walk, ends the others.
    """
    with traffic.walks.lock:
        walk = traffic.walks.of(model)  # anew: it may have been stopped
        try:
            if walk is not None and not walk.is_over:
                _look(traffic, walk)
        except (MeshwardError, OSError) as error:
            traffic.walks.says[model] = f"a change of weights was refused: {error}"
            log.warning("walk_waits", model=model, why=str(error))
            return False
        except Exception as error:
            traffic.walks.says[model] = f"a fault, {type(error).__name__}; see STATE/logs"
            log.exception("walk_fault", model=model)
            return False
    return True


def _look(traffic: Traffic, walk: Walk) -> None:
    if walk.state is State.BACKING:
        _put_back(traffic, walk, walk.author)
        return
    if walk.author in revoked(traffic.mesh).subjects:
        _over(traffic, walk, State.ENDED, f"ended at {walk.share}%: its author was revoked", INSTANCE)
        return
    live = traffic.mesh.live
    now = _weights(live, walk)
    if now == receiving(walk.weights()):
        _observe(traffic, live, walk if walk.applied else _keep(traffic, replace(walk, applied=True)))
    elif not walk.applied and now == receiving(walk.weights_before()):
        shift(traffic.mesh, walk.model, walk.weights(), walk.author, walk.title, lambda _: None, live)
        traffic.walks.seen.pop(walk.model, None)
        _observe(traffic, traffic.mesh.live, _keep(traffic, replace(walk, applied=True)))
    else:
        _over(traffic, walk, State.ENDED, _elsewhere(traffic, walk, now), walk.author)


def _observe(traffic: Traffic, live: LiveRevision, walk: Walk) -> None:
    """The guard itself is asked how it is: `health` does not look at a version without a rival."""
    key, now = f"{walk.model}/{walk.version}", time.monotonic()
    seen = traffic.walks.seen.get(walk.model) or Seen(now)
    guard = (key, live.slots[key])
    reading, illness = (
        traffic.mesh.guards.counts(guard),
        traffic.ill.get(key) or traffic.mesh.guards.illness(guard),
    )
    if reading is None:
        illness = "its guard does not answer"
    seen = traffic.walks.seen[walk.model] = observed(seen, reading, illness, now)
    match next_action(walk, seen, now):
        case Wait(why):
            traffic.walks.says[walk.model] = why
        case Back(why):
            _put_back(traffic, _keep(traffic, replace(walk, state=State.BACKING, why=why)), walk.author)
        case Onward() if walk.step + 1 < len(walk.steps):
            traffic.walks.seen.pop(walk.model)
            _look(traffic, _keep(traffic, replace(walk, step=walk.step + 1, applied=False)))
        case Onward():
            _over(traffic, walk, State.DONE, f"arrived at {walk.share}%", walk.author)


def _put_back(traffic: Traffic, walk: Walk, author: str) -> Walk:
    """The weights from before the walk; not where somebody else changed them meanwhile."""
    live = traffic.mesh.live
    now = _weights(live, walk)
    if now not in [receiving(each) for each in (walk.before, walk.weights(), walk.weights_before())]:
        return _over(
            traffic, walk, State.ENDED, f"{_elsewhere(traffic, walk, now)}; before, {walk.why}", author
        )
    if now != receiving(walk.before):
        shift(
            traffic.mesh,
            walk.model,
            walk.before,
            author,
            f"walk of {walk.version}: {walk.why}",
            lambda _: None,
            live,
        )
    return _over(traffic, walk, State.BACK, walk.why, author)


def _over(traffic: Traffic, walk: Walk, state: State, why: str, author: str) -> Walk:
    walk = _keep(traffic, replace(walk, state=state, why=why))
    traffic.walks.says.pop(walk.model, None)
    traffic.mesh.note(author, "walk", model=walk.model, version=walk.version, came=str(state), why=why)
    return walk


def _keep(traffic: Traffic, walk: Walk) -> Walk:
    return traffic.walks.put(walk)


def _weights(live: LiveRevision, walk: Walk) -> dict[str, int] | None:
    """What receives traffic; None where the model is gone."""
    try:
        return receiving(weights_of(live.plan, walk.model))
    except MeshwardError:
        return None


def _elsewhere(traffic: Traffic, walk: Walk, now: dict[str, int] | None) -> str:
    """Who ended the walk, as far as the last revision tells."""
    record = traffic.mesh.revisions.current()
    by = f" (revision {record.number}, by {record.author})" if record else ""
    if now is None or f"{walk.model}/{walk.version}" not in traffic.mesh.live.slots:
        return f"{walk.model}/{walk.version} is in the policy no more{by}"
    found = ", ".join(f"{version} {share:g}%" for version, share in shares(now).items())
    return f"somebody else changed the weights, to {found}{by}"
