"""meshward history: who changed the policy, when and why."""

from __future__ import annotations

from datetime import UTC, datetime

from meshward.apply.revisions import ACCEPTED, Revision, Revisions
from meshward.cli.options import DEFAULT_STATE, Json, State
from meshward.cli.output import guarded, print_json, stdout
from meshward.kit.errors import Exit


def command(*, state: State = DEFAULT_STATE, json: Json = False) -> None:
    """List every revision that was applied here, or refused, newest first."""

    def run() -> Exit:
        revisions = Revisions(state)
        found, current = revisions.all()[::-1], revisions.current()
        number = current.number if current else 0
        if json:
            print_json({"ok": True, "current": number, "revisions": [each.as_json() for each in found]})
        elif found:
            stdout().print("\n".join(_line(each, number) for each in found), markup=False)
        else:
            stdout().print("No policy was applied here yet.")
        return Exit.OK

    guarded(run, as_json=json)


def _line(revision: Revision, current: int) -> str:
    mark = "*" if revision.number == current else " "
    when = datetime.fromtimestamp(revision.time, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    line = f"{mark} {revision.number:>4}  {when}  {revision.author}  {revision.digest[:12]}"
    line += f"  {revision.reason}" if revision.reason else ""
    return line if revision.status == ACCEPTED else f"{line}  [{revision.status}: {revision.why or 'now'}]"
