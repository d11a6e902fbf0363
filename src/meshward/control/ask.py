"""What the running instance can be asked: one module of `verbs` for each."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import structlog
from pydantic import ValidationError

from meshward.control.replies import ToldRefusal
from meshward.control.verbs.apply import APPLY, ROLLBACK
from meshward.control.verbs.history import HISTORY, POLICY
from meshward.control.verbs.request import Asker, Controlled, Fields, Reply, Verb
from meshward.control.verbs.revoke import REVOKE
from meshward.control.verbs.rotate import ROTATE
from meshward.control.verbs.traffic import TRAFFIC
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.kit.statefile import machine_error

log = structlog.get_logger(__name__)

_ALL: tuple[Verb[Any, Any], ...] = (APPLY, ROLLBACK, HISTORY, POLICY, REVOKE, TRAFFIC, ROTATE)
VERBS: Mapping[str, Verb[Any, Any]] = {verb.name: verb for verb in _ALL}


def answer_or_refusal(request: Mapping[str, Any], asker: Asker, instance: Controlled) -> Reply | ToldRefusal:
    """What there is to say of `request` when it has been done, or refused. Never raises."""
    try:
        return answer(request, asker, instance)
    except MeshwardError as error:
        return ToldRefusal.of(error)
    except OSError as error:
        log.exception("machine_refused")
        return ToldRefusal.of(machine_error(error, told=False))
    except Exception as error:
        log.exception("control_fault")
        message = f"{type(error).__name__} while it was done"
        return ToldRefusal(
            code=codes.NOT_UNDERSTOOD.number, message=message, remedy="See STATE/logs.", exit=Exit.FAULT
        )


def answer(request: Mapping[str, Any], asker: Asker, instance: Controlled) -> Reply:
    """Do what `request` asks, if its asker may. Whatever is refused, or would change something, is written down.

    Raises MeshwardError.
    """
    did, changes = str(request.get("do")), instance.mesh.changes
    try:
        verb = _verb(did)
        asker.may(verb.right)
        given = _parse_fields(verb, request)
    except MeshwardError as error:
        changes.note_refusal(asker.author, did if did in VERBS else "ask", error.code, asker.facts)
        raise
    asked, still = {**given.facts(), **asker.facts}, partial(asker.may, verb.right)
    with nullcontext() if verb.reads(given) else changes.change(asker.author, did, asked, still):
        reply: Reply = verb.do(given, asker, instance)
    return reply


def _verb(did: str) -> Verb[Any, Any]:
    verb = VERBS.get(did)
    if verb is None:
        raise unknown_request_error(f"it is none of {', '.join(VERBS)}")
    return verb


def _parse_fields(verb: Verb[Any, Any], request: Mapping[str, Any]) -> Fields:
    try:
        fields = {name: value for name, value in request.items() if name != "do"}
        given: Fields = verb.fields.model_validate(fields)
    except ValidationError as error:
        raise unknown_request_error(_wrong_fields(verb, error)) from None
    return given


def _wrong_fields(verb: Verb[Any, Any], error: ValidationError) -> str:
    """What is wrong with each field that `verb` has; never what was written there."""
    told = [(str(each["loc"][0]), each["msg"].removeprefix("Value error, ")) for each in error.errors()]
    known = [f"`{name}`: {why}" for name, why in told if name in verb.fields.model_fields]
    more = [f"{len(told) - len(known)} fields are not known"] if len(told) > len(known) else []
    return "; ".join([*known, *more])


def unknown_request_error(why: str) -> MeshwardError:
    """A request that no command of this version makes."""
    return MeshwardError(codes.NOT_UNDERSTOOD, f"the instance was asked what it does not know: {why}", "")
