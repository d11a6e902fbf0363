"""Weights of a model's versions: an apply of the policy that runs, in which nothing but them differs."""

from __future__ import annotations

from collections.abc import Mapping

from meshward.apply.live_revision import LiveRevision
from meshward.apply.mesh import Mesh
from meshward.apply.switching import Say
from meshward.apply.transaction import ApplyRequest, Outcome, apply
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.text import nearest, quoted, quoted_list
from meshward.plan.ir import Plan
from meshward.policy.parse import Source, parse, to_json
from meshward.policy.schema import Policy

MOST = 100_000  # of one weight, as the policy's format has it
Weights = Mapping[str, int]


def weights_of(plan: Plan, model: str) -> dict[str, int]:
    """Of every version of `model`. Raises MeshwardError (MW3050) naming the models that there are."""
    if model not in plan.models:
        meant = nearest(model, plan.models)
        hint = f"Did you mean {quoted(meant)}?" if meant else f"There are {quoted_list(plan.models)}."
        raise weights_error(f"there is no model {quoted(model)}", hint)
    return {version.name: version.weight for version in plan.models[model].versions}


def drop_zeros(weights: Weights) -> dict[str, int]:
    """Those that receive anything: what two spellings of the same weights have in common."""
    return {version: weight for version, weight in weights.items() if weight > 0}


def check_weights(weights: Weights, plan: Plan, model: str) -> dict[str, int]:
    """`weights` of every version, 0 where none was named. Raises MeshwardError (MW3050)."""
    known = weights_of(plan, model)
    for version, weight in weights.items():
        if version not in known:
            raise weights_error(f"{model} has no version {quoted(version)}", f"It has {quoted_list(known)}.")
        if not 0 <= weight <= MOST:
            raise weights_error(f"{version}={weight} is no weight", f"Give a number from 0 to {MOST}.")
    if not drop_zeros(weights):
        raise weights_error(
            "these weights send nothing anywhere", f"Give one of {quoted_list(known)} more than 0."
        )
    return {version: weights.get(version, 0) for version in known}


def with_traffic(policy: Policy, model: str, weights: Weights) -> Policy:
    """`policy` with other weights for `model`, and nothing else."""
    changed = policy.models[model].model_copy(update={"traffic": dict(weights)})
    return policy.model_copy(update={"models": {**policy.models, model: changed}})


def shift(
    mesh: Mesh,
    model: str,
    weights: Weights,
    author: str,
    reason: str,
    say: Say,
    seen: LiveRevision | None = None,
) -> Outcome:
    """Send traffic by `weights` from the next request on, on top of what runs, or of what was `seen` to run.

    Raises MeshwardError as `transaction.apply` does; exit 3 where somebody else was first in between.
    """
    live = seen or mesh.live
    policy = with_traffic(live.policy, model, check_weights(weights, live.plan, model))
    document = parse([Source(f"revision {live.revision}", to_json(policy).encode())])
    return apply(mesh, document, ApplyRequest(author, reason, base=live.revision), say)


def spell_weights(weights: Weights) -> str:
    """`v1=90 v2=10`."""
    return " ".join(f"{version}={weight}" for version, weight in weights.items())


def weights_error(message: str, remedy: str) -> MeshwardError:
    return MeshwardError(codes.WEIGHTS_WRONG, message, remedy)
