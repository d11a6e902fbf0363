"""Which names a body's `model` may say on a route, and what a version's server reads there instead."""

from __future__ import annotations

from collections.abc import Iterable

from meshward.plan.ir import Model, Version
from meshward.policy.values import Route

ANY_NAME = ("tgi", "dummy")
"""What clients of servers with one model write where a name must stand."""


def accepted_names(model: Model, versions: Iterable[Version], route: Route) -> tuple[str, ...]:
    """Where any of these `versions` of `model` may answer; none: the body is not looked at.

    A server that looks at names must not get one that means nothing here and something there: it is told its own, or
    the name is refused.
    """
    able = tuple(versions)
    if not any(version.is_named_on(route) for version in able):
        return ()
    harmless = all(version.ignores_names or server_name(version, route) is not None for version in able)
    ignored = ANY_NAME if harmless else ()
    return tuple(dict.fromkeys((model.name, *model.aliases, *ignored)))


def must_change_at_once(before: Version, after: Version) -> bool:
    """Whether edge and guard must not come to `after` one after the other: in between, a server that is new to this
    version would be told what the old one called it, by which it may know another model.
    """
    return before.upstream_model != after.upstream_model and not set(after.urls) <= set(before.urls)


def server_name(version: Version, route: Route) -> str | None:
    """What its server calls the model, where a body says so. None: the body passes as it came."""
    return version.upstream_model if version.is_named_on(route) else None
