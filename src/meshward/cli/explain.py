"""meshward explain: what the policy says about one request, and why."""

from __future__ import annotations

import json as jsonlib
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import ValidationError

from meshward.apply.sources import read_policy
from meshward.cli.options import DEFAULT_STATE, Json, State
from meshward.cli.output import print_json, run_verb, stdout
from meshward.decide.explain import explain
from meshward.decide.identities import identity_from_claims
from meshward.decide.types import Permit, Request
from meshward.instance.running_policy import require_running_policy
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.grammar import parse_instant
from meshward.policy.schema import ACTIONS, As
from meshward.runtime.place import directories


def command(
    *,
    who: Annotated[
        str, Parameter(name="--as", help="Who asks, as JSON: issuer, groups, subject, claims, workload.")
    ],
    model: Annotated[str, Parameter(help="The model's name or an alias.")],
    action: Annotated[str, Parameter(help="infer, describe, observe or manage.")],
    policy: Annotated[
        Path | None, Parameter(help="A policy; without it, the one that runs, or ran last.")
    ] = None,
    source: Annotated[str | None, Parameter(name="--from", help="The caller's address.")] = None,
    at: Annotated[
        str | None, Parameter(help="When (UTC), e.g. '2026-11-23 10:00'; now if not given.")
    ] = None,
    via: Annotated[str | None, Parameter(help="The model on whose behalf it is called.")] = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Print what the policy decides about one request: the grants that hold, or what is missing.

    Exits 0 for a permit, 10 for a denial.
    """

    def run() -> Exit:
        plan = resolve(
            read_policy(policy).policy if policy else require_running_policy(directories.State(state))
        )
        request = _request(plan, model, action, source, at, via)
        story = explain(plan, identity_from_claims(plan, _as(who), request.at), request)
        if json:
            print_json(story.as_json())
        else:
            stdout().print("\n".join(story.lines()), markup=False)
        return Exit.OK if isinstance(story.decision, Permit) else Exit.DENIED

    run_verb(run, as_json=json)


def _as(text: str) -> As:
    try:
        return As.model_validate(jsonlib.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "it"
        raise _usage_error(f"--as: `{key}`: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise _usage_error(f"--as is not JSON: {error}") from None


def _request(
    plan: Plan, model: str, action: str, source: str | None, at: str | None, via: str | None
) -> Request:
    if action not in ACTIONS:
        raise _usage_error(f"`{action}` is not an action; the actions are {', '.join(ACTIONS)}")
    try:
        return Request(
            model=plan.aliases.get(model, model),
            action=action,
            at=parse_instant(at) if at else int(time.time()),
            source=ip_address(source) if source else None,
            via=via,
        )
    except ValueError as error:
        raise _usage_error(str(error)) from None


def _usage_error(message: str) -> MeshwardError:
    return MeshwardError(
        codes.EXPLAIN_USAGE,
        message,
    )
