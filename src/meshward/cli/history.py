"""meshward history: who changed the policy, when and why; and whatever else was changed, or was to be."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from meshward.apply.revisions import ACCEPTED, Revisions
from meshward.audit.store import Records
from meshward.cli.asking import ask_instance
from meshward.cli.options import DEFAULT_STATE, Json, RemoteEdge, State
from meshward.cli.output import print_json, run_verb, stderr, stdout
from meshward.control.verbs.history import (
    CHANGES,
    REVISIONS,
    ToldChange,
    ToldChanges,
    ToldRevision,
    ToldRevisions,
    told_changes,
    told_revisions,
)
from meshward.kit.exits import Exit
from meshward.kit.text import one_line

_MOST = 60  # characters of one fact on a line


def command(
    *,
    changes: Annotated[
        bool, Parameter(negative="", help="Every change and every refused attempt, of whatever kind.")
    ] = False,
    edge: RemoteEdge = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """List every revision that was applied here, or refused, newest first.

    With --changes, what the audit keeps: who asked for which change, from where, and what became of it.
    """

    def run() -> Exit:
        told = _changes(state, edge) if changes else _revisions(state, edge)
        if json:
            print_json({"ok": True, **told.as_json()})
            return Exit.OK
        stdout().print("\n".join(_lines(told)) or "Nothing was changed here yet.", markup=False)
        if told.more:
            stderr().print("Older ones are told on the machine: `meshward history` without --edge.")
        return Exit.OK

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
    current = revisions.current()
    return ToldRevisions(current=current.number if current else 0, revisions=told_revisions(revisions))


def _lines(told: ToldRevisions | ToldChanges) -> list[str]:
    if isinstance(told, ToldChanges):
        return [_change(each) for each in told.changes]
    return [_revision(each, told.current) for each in told.revisions]


def _revision(revision: ToldRevision, current: int) -> str:
    mark = "*" if revision.number == current else " "
    line = f"{mark} {revision.number:>4}  {_when(revision.time)}  {revision.author}"
    line += f"  {revision.digest[:12]}"
    line += f"  {revision.reason}" if revision.reason else ""
    if revision.status != ACCEPTED:
        line += f"  [{revision.status}: {revision.why or 'now'}]"
    return one_line(line)


def _change(change: ToldChange) -> str:
    facts = "  ".join(f"{name}={_short(value)}" for name, value in sorted(change.facts.items()))
    line = f"{_when(change.at)}  {change.author}  {change.did}  {change.outcome}  {facts}"
    return one_line(line).rstrip()


def _short(value: str) -> str:
    return value if len(value) <= _MOST else f"{value[: _MOST - 3]}..."


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
