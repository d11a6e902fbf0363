"""traffic: the weights of a model's versions, shown, set, or walked. Nothing else can be changed by it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, TypeAdapter

from meshward.apply.mesh import Mesh
from meshward.apply.traffic.canary import Canary, CanaryState, Observation, shares, weights_at
from meshward.apply.traffic.canary_runner import begin_canary, stop_canary
from meshward.apply.traffic.traffic import Traffic
from meshward.apply.traffic.weights import (
    Weights,
    check_weights,
    drop_zeros,
    shift,
    spell_weights,
    weights_of,
)
from meshward.control.verbs.apply import Applied, outcome_reply
from meshward.control.verbs.request import Asker, Controlled, Fields, Reason, Reply, Text, Verb
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.text import quoted, quoted_list

_CENTURY = 100 * 366 * 86400
EVERY, BOUND, LEAST = 600, 1.0, 20  # of a canary, where nothing else is said


class Asked(Fields):
    """Without `weights`, `version`, `steps`, `stop`: what the weights are. `steps` go with `weights` or `version`.

    A canary's terms: steps in percent, `every` in seconds, `bound` in percent of failed requests, `least` requests.
    """

    model: str
    weights: dict[str, int] | None = None
    version: str | None = None
    steps: Annotated[list[int], Field(min_length=1, max_length=100)] | None = None
    every: Annotated[int, Field(ge=1, le=_CENTURY)] | None = None
    bound: Annotated[float, Field(ge=0, lt=100)] | None = None
    least: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    stop: bool = False
    back: bool = False
    reason: Reason = ""


class ToldWalk(Reply):
    """Steps count from 1; `says` is what it waits for.

    `requests` and `failed` are what its step has seen: None, and not told, before the first look.
    """

    version: str
    author: Text
    before: dict[str, int]
    steps: tuple[int, ...]
    every: int
    bound: float
    least: int
    began: float
    step: int
    state: CanaryState
    why: Text
    share: int
    over: bool
    sentence: Text
    says: Text
    requests: int | None = None
    failed: int | None = None

    @classmethod
    def of(cls, canary: Canary, seen: Observation | None, says: str) -> ToldWalk:
        counts = {"requests": seen.counts.requests, "failed": seen.counts.failed} if seen else {}
        return cls(
            version=canary.version,
            author=canary.author,
            before=dict(canary.before),
            steps=canary.steps,
            every=canary.every,
            bound=canary.bound,
            least=canary.least,
            began=canary.began,
            step=canary.step + 1,
            state=canary.state,
            why=canary.why,
            share=canary.share,
            over=canary.is_over,
            sentence=canary.sentence,
            says=says,
            **counts,
        )


class ToldTraffic(Reply):
    """Weights, shares in percent, who is ejected and why, and the canary that runs, or the last one."""

    model: str
    revision: int
    weights: dict[str, int]
    shares: dict[str, float]
    ejected: dict[str, Text]
    walk: ToldWalk | None


class Shifted(ToldTraffic, Applied):
    """The weights after a change of them, and what that apply came to."""


def _traffic(given: Asked, asker: Asker, instance: Controlled) -> Shifted | ToldTraffic:
    mesh, traffic = instance.mesh, instance.traffic
    if given.stop:
        stop_canary(traffic, given.model, asker.author, back=given.back)
    elif given.steps is not None:
        begin_canary(traffic, _make_canary(given, given.steps, asker, mesh))
    elif given.weights is not None:
        weights = check_weights(given.weights, mesh.live.plan, given.model)
        reason = given.reason or f"traffic of {given.model}: {spell_weights(weights)}"
        outcome = shift(mesh, given.model, weights, asker.author, reason, asker.say)
        return Shifted(**{**dict(outcome_reply(outcome)), **dict(describe_traffic(traffic, given.model))})
    return describe_traffic(traffic, given.model)


def describe_traffic(traffic: Traffic, model: str) -> ToldTraffic:
    """As of now."""
    live, canaries = traffic.mesh.live, traffic.canaries
    weights = weights_of(live.plan, model)
    names = {f"{model}/{version}": version for version in weights}
    canary = canaries.of(model)
    return ToldTraffic(
        model=model,
        revision=live.revision,
        weights=weights,
        shares={version: round(share, 2) for version, share in shares(weights).items()},
        ejected={names[key]: why for key, why in traffic.ill.items() if key in names},
        walk=ToldWalk.of(canary, canaries.seen.get(model), canaries.says.get(model, "")) if canary else None,
    )


def _make_canary(given: Asked, steps: list[int], asker: Asker, mesh: Mesh) -> Canary:
    before = weights_of(mesh.live.plan, given.model)
    version = given.version or _canary(given, before, mesh)
    if version not in before:
        raise _unclear_error(
            f"{given.model} has no version {quoted(version)}", f"It has {quoted_list(before)}."
        )
    _require_way(version, before, steps)
    if given.weights is not None:
        _require_end(given.weights, weights_at(before, version, steps[-1]))
    return Canary(
        given.model,
        version,
        asker.author,
        drop_zeros(before),
        tuple(steps),
        EVERY if given.every is None else given.every,
        BOUND if given.bound is None else given.bound,
        LEAST if given.least is None else given.least,
        began=time.time(),
    )


def _canary(given: Asked, before: Weights, mesh: Mesh) -> str:
    """The one version whose share the wanted weights let grow."""
    wanted = shares(check_weights(given.weights or {}, mesh.live.plan, given.model))
    growing = [version for version, share in shares(before).items() if wanted[version] > share]
    if len(growing) != 1:
        grows = f"{quoted_list(growing)} do" if growing else "none does"
        raise _unclear_error(
            f"a walk is of one version whose share grows, and here {grows}",
            "Name the version alone: `meshward traffic MODEL v2 --step ...`.",
        )
    return growing[0]


def _require_way(version: str, before: Weights, steps: list[int]) -> None:
    share = shares(before)[version]
    if not all(0 < step <= 100 for step in steps) or sorted(set(steps)) != steps:
        raise _unclear_error(
            "steps are whole percent, from 1 to 100, each larger than the last", "Like 5,25,100."
        )
    if share >= steps[0]:
        raise _unclear_error(f"{version} has {share:g}% already", f"Begin with a step above {share:g}.")


def _require_end(wanted: Weights, last: Weights) -> None:
    """The last step leads to the weights that were asked for, or one of them is not meant."""
    ends, asked = (
        {version: round(share, 3) for version, share in shares(drop_zeros(each)).items()}
        for each in (last, wanted)
    )
    if ends != asked:
        raise _unclear_error(
            f"the last step leads to {spell_weights(drop_zeros(last))}, which is not {spell_weights(wanted)}",
            "The other versions keep their proportion: end the steps at the share that is wanted.",
        )


def _unclear_error(message: str, remedy: str) -> MeshwardError:
    return MeshwardError(codes.WALK_UNCLEAR, message, remedy)


def _reads(given: Asked) -> bool:
    changes: Mapping[str, object] = {"weights": given.weights, "steps": given.steps, "stop": given.stop}
    return not any(value not in (None, False) for value in changes.values())


_Told = Annotated[Shifted | ToldTraffic, Field(union_mode="left_to_right")]
TRAFFIC: Verb[Asked, Shifted | ToldTraffic] = Verb(
    "traffic", Asked, TypeAdapter(_Told), _traffic, right="traffic", reads=_reads
)
