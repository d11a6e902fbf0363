"""meshward history: who changed the policy, when and why; and whatever else was changed, or was to be."""

from __future__ import annotations

from dataclasses import asdict
from difflib import unified_diff
from json import dumps, loads
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from meshward.apply.revisions import ACCEPTED, Revisions
from meshward.audit.records import Records
from meshward.cli.asking import ask_instance
from meshward.cli.options import DEFAULT_STATE, Json, RemoteEdge, State
from meshward.cli.output import print_json, run_verb, stderr, stdout
from meshward.compare.change import compare
from meshward.control.verbs.history import (
    CHANGES,
    POLICY,
    REVISIONS,
    ToldChange,
    ToldChanges,
    ToldPolicy,
    ToldRevision,
    ToldRevisions,
    told_changes,
    told_damage,
    told_policy,
    told_revisions,
)
from meshward.kit import codes
from meshward.kit.clock import to_second
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.kit.text import one_line
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy

_MOST = 60  # characters of one fact on a line


def command(
    *revisions: Annotated[
        int, Parameter(help="One: show it. Two: what the second changes against the first.")
    ],
    changes: Annotated[
        bool, Parameter(negative="", help="Every change and every refused attempt, of whatever kind.")
    ] = False,
    edge: RemoteEdge = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """List every revision that was applied here, or refused, newest first; show one; or compare two.

    With --changes, what the audit keeps: who asked for which change, from where, and what became of it.
    Exits 2 where there is no such revision, 1 where it is not what was recorded, 11 where a record of the list is
    damaged.
    """

    def run() -> Exit:
        if len(revisions) > 2 or (revisions and changes):
            raise MeshwardError(
                codes.COMMAND_USAGE, "give no revision, one or two; and --changes without any"
            )
        if revisions:
            asked = [_asked(each, state, edge) for each in revisions]
            _tell_one(asked[0], as_json=json) if len(asked) == 1 else _tell_difference(*asked, as_json=json)
            return Exit.OK
        told = _changes(state, edge) if changes else _revisions(state, edge)
        damaged = told.damaged if isinstance(told, ToldRevisions) else ()
        if json:
            print_json({"ok": not damaged, **told.as_json()})
            return Exit.FINDINGS if damaged else Exit.OK
        lines = _lines(told) or ([] if damaged else ["Nothing was changed here yet."])
        stdout().print("\n".join(lines), markup=False)
        for sentence in damaged:
            stderr().print(sentence, markup=False, soft_wrap=True)
        if told.more:
            stderr().print("Older ones are told on the machine: `meshward history` without --edge.")
        return Exit.FINDINGS if damaged else Exit.OK

    run_verb(run, as_json=json)


def _changes(state: Path, edge: str | None) -> ToldChanges:
    """As the instance says it, or as its records do, which need no running instance."""
    if edge is not None:
        return ask_instance(state, CHANGES, {"changes": True}, edge)
    return ToldChanges(changes=told_changes(Records(state)))


def _revisions(state: Path, edge: str | None) -> ToldRevisions:
    """As the instance says it, or as its files do, which need no running instance."""
    if edge is not None:
        return ask_instance(state, REVISIONS, {}, edge)
    revisions = Revisions(state)
    try:
        current = revisions.require_current()
    except MeshwardError as error:
        told = told_revisions(revisions, 0)
        return told.model_copy(update={"damaged": tuple(dict.fromkeys((*told.damaged, told_damage(error))))})
    return told_revisions(revisions, current.number if current else 0)


def _asked(number: int, state: Path, edge: str | None) -> ToldPolicy:
    if edge is not None:
        return ask_instance(state, POLICY, {"revision": number}, edge)
    return told_policy(Revisions(state), number)


def _tell_one(told: ToldPolicy, *, as_json: bool) -> None:
    if as_json:
        record = told.record.as_json() if told.record else {}
        print_json({"ok": True, "revision": record, "policy": loads(told.policy)})
        return
    if told.record is not None:
        stderr().print(_revision(told.record, 0), markup=False)
    stdout().print(_pretty(told), markup=False, soft_wrap=True)


def _tell_difference(old: ToldPolicy, new: ToldPolicy, *, as_json: bool) -> None:
    """What it means to people first, then how the texts differ."""
    before, after = (Policy.model_validate_json(each.policy) for each in (old, new))
    change = compare(resolve(before), resolve(after))
    names = (f"revision {old.revision}", f"revision {new.revision}")
    texts = (_pretty(old).splitlines(), _pretty(new).splitlines())
    difference = list(unified_diff(*texts, *names, lineterm=""))
    if as_json:
        numbers = {"from": old.revision, "to": new.revision}
        print_json({"ok": True, **numbers, "change": asdict(change), "difference": difference})
        return
    stdout().print("\n".join([*change.lines(), *difference]), markup=False, soft_wrap=True)


def _pretty(told: ToldPolicy) -> str:
    """A policy that `meshward check` takes. ASCII: what turns a line round on a terminal stands there as a number."""
    return dumps(loads(told.policy), indent=2, sort_keys=True)


def _lines(told: ToldRevisions | ToldChanges) -> list[str]:
    if isinstance(told, ToldChanges):
        return [_change(each) for each in told.changes]
    return [_revision(each, told.current) for each in told.revisions]


def _revision(revision: ToldRevision, current: int) -> str:
    mark = "*" if revision.number == current else " "
    line = f"{mark} {revision.number:>4}  {to_second(revision.time)}  {revision.author}"
    line += f"  {revision.digest[:12]}"
    line += f"  {revision.reason}" if revision.reason else ""
    if revision.status != ACCEPTED:
        line += f"  [{revision.status}: {revision.why or 'now'}]"
    return one_line(line)


def _change(change: ToldChange) -> str:
    facts = "  ".join(f"{name}={_short(value)}" for name, value in sorted(change.facts.items()))
    line = f"{to_second(change.at)}  {change.author}  {change.did}  {change.outcome}  {facts}"
    return one_line(line).rstrip()


def _short(value: str) -> str:
    return value if len(value) <= _MOST else f"{value[: _MOST - 3]}..."
