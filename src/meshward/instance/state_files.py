"""Whether each file of STATE can be used: a start refuses what it cannot do without, `status` names the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from meshward.apply.counters import COUNTERS
from meshward.apply.credentials.ages import CREDENTIALS
from meshward.apply.edge_hop import FACTS
from meshward.apply.keys.inventory import FAILURES
from meshward.apply.revisions import Revisions
from meshward.apply.revocation_store import REVOCATIONS, is_lost, load_revocations
from meshward.apply.traffic.canary_store import CANARIES
from meshward.apply.traffic.ejected import EJECTED
from meshward.apply.unsettled import UNSETTLED
from meshward.audit.anchor import ANCHOR
from meshward.instance.running_policy import load_running_plan
from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import StateFile, StateFileDamaged
from meshward.oidc.kept_keys import KEPT
from meshward.runtime.place.directories import State
from meshward.runtime.place.identities import NUMBERS
from meshward.runtime.place.instance_file import INSTANCE
from meshward.runtime.supervise.part import Progress
from meshward.runtime.supervise.report import REPORT
from meshward.spiffe.ca_store import ENDS, NAMES
from meshward.tokens.key_store import NAMED

FILES: tuple[StateFile[Any], ...] = (
    *(COUNTERS, REVOCATIONS, NUMBERS, CANARIES, NAMES, ENDS, NAMED),
    *(INSTANCE, FACTS, REPORT, EJECTED, CREDENTIALS, FAILURES, UNSETTLED, ANCHOR, KEPT),
)


def directory_of(file: StateFile[Any], state: Path) -> Path:
    """Where the kind of `file` that lies in STATE or below lies in `state`."""
    return state / file.place.removeprefix("STATE").lstrip("/")


def find_unusable(state: Path) -> Iterator[MeshwardError]:
    """What is wrong with each file that cannot be used, or is gone, and with the revision that is to run."""
    reads: list[Callable[[], object]] = [lambda: load_running_plan(State(state))]
    for read in (*reads, *(_reader_of(file, state) for file in FILES)):
        try:
            read()
        except MeshwardError as error:
            yield error
    yield from _find_gone(state)
    try:
        load_revocations(state)
    except MeshwardError as error:
        if is_lost(error):  # all else was told
            yield error


def require_usable(state: Path, progress: Progress) -> None:
    """At a start: what it writes anew is said and removed. Raises MeshwardError for what it cannot do without."""
    for gone in _find_gone(state):
        raise gone
    for file in FILES:
        try:
            _reader_of(file, state)()
        except StateFileDamaged as error:
            if not file.renewed:
                raise
            with suppress(OSError):
                (directory_of(file, state) / file.name).unlink()
                progress(f"warning: {error.message}; it is written anew")
                continue
            raise


def _find_gone(state: Path) -> Iterator[MeshwardError]:
    """The counters are there before a revision is accepted; what else names keys looks for them beside itself."""
    with suppress(MeshwardError):  # told by whoever reads them
        if Revisions(state).current() is not None and COUNTERS.read(state) is None:
            yield COUNTERS.damage_error(state / COUNTERS.name, "it is gone")


def _reader_of(file: StateFile[Any], state: Path) -> Callable[[], object]:
    return lambda: file.read(directory_of(file, state))
