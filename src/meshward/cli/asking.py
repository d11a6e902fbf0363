"""How a verb asks the running instance: over the socket in its state directory, or through its edge by a login."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from rich.text import Text

from meshward.apply.revisions import Revisions
from meshward.cli.output import stderr
from meshward.control.replies import decode
from meshward.control.unix import ask
from meshward.control.verbs.history import POLICY
from meshward.control.verbs.request import Reply, Verb
from meshward.login.session import ask_for, choose, fresh_login
from meshward.login.store import own_store
from meshward.policy.schema import Policy
from meshward.policy.site import Site

_R = TypeVar("_R", bound=Reply)


def ask_instance(
    state: Path,
    verb: Verb[Any, _R],
    given: Mapping[str, Any],
    edge: str | None = None,
    *,
    quiet: bool = False,
) -> _R:
    """What `verb` came to at the instance; its progress goes to stderr. Raises MeshwardError as that does.

    With `edge`, the one behind that edge, which knows the asker by the token of their login there; `quiet` where it
    has been said already that this one is asked.
    """
    if edge is None:
        return ask(state, verb, given, _say)
    store = own_store()
    login = fresh_login(store, choose(store, edge, state, os.environ))
    if not quiet:
        _say(f"asking {login.name}")
    return decode(verb, ask_for(login, {"do": verb.name, **given}).body)


def running_policy(state: Path, edge: str | None = None) -> tuple[int, Policy] | None:
    """The revision that runs, or ran last, and its policy. None: nothing was accepted in `state` yet."""
    if edge is not None:
        told = ask_instance(state, POLICY, {}, edge)
        return told.revision, Policy.model_validate_json(told.policy)
    revisions = Revisions(state)
    current = revisions.require_current()
    return None if current is None else (current.number, revisions.policy(current.number))


def running_site(state: Path) -> Site | None:
    """The site of the revision that runs, or ran last; None: it runs on one machine, or nothing was accepted yet."""
    revisions = Revisions(state)
    current = revisions.current()
    return None if current is None or not revisions.stands(current) else revisions.site(current.number)


def _say(line: str) -> None:
    stderr().print(Text(f"... {line}", style="dim"))
