"""rotate: a key or a certificate replaced at every hop, while requests run."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from meshward.apply.keys.credentials import rotate_credential
from meshward.apply.keys.inventory import (
    CA,
    EDGE_CERTIFICATE,
    OLD_ROOT,
    ROOT,
    SIGNING_KEY,
    SVIDS,
    known_failures,
)
from meshward.apply.keys.rotate import OVERLAP, SHORTEST_OVERLAP, Rotation, rotate
from meshward.apply.mesh import Mesh, conflict_error
from meshward.apply.remote_guardrails import remote_value_error
from meshward.control.verbs.request import Asker, Controlled, Fields, Reason, Reply, Verb
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.spiffe.ca_store import CaStore

_WHAT = {"svids": SVIDS, "ca": CA, "signing-key": SIGNING_KEY, "edge-certificate": EDGE_CERTIFICATE}
_LONGEST_OVERLAP = 10 * 365 * 86400  # seconds: as long as a root lives


class Rotate(Fields):
    """`root`, `finish`, `force` and `overlap` (seconds) are for `ca`; `name` and `value` for `credential`."""

    what: Literal["svids", "ca", "signing-key", "edge-certificate", "credential"]
    root: bool = False
    finish: bool = False
    force: bool = False
    overlap: Annotated[int, Field(le=_LONGEST_OVERLAP)] | None = None
    name: str | None = None
    value: str | None = Field(default=None, repr=False)
    given: Annotated[str, Field(max_length=100)] = ""
    reason: Reason = ""


class Rotated(Reply):
    """What every hop was seen to run anew."""

    rotated: str
    seconds: float


class CredentialRotated(Reply):
    """`guards` send what its source holds now, which may be what they sent before."""

    rotated: Literal["credential"]
    credential: str
    changed: bool
    guards: tuple[str, ...]


def _rotate(given: Rotate, asker: Asker, instance: Controlled) -> Rotated | CredentialRotated:
    mesh = instance.mesh
    if given.what == "credential":
        return _credential(given, asker, mesh)
    what = _WHAT[given.what]
    if given.root:
        what = OLD_ROOT if given.finish else ROOT
    overlap = OVERLAP if given.overlap is None else timedelta(seconds=given.overlap)
    if overlap < SHORTEST_OVERLAP:
        minutes = SHORTEST_OVERLAP.total_seconds() / 60
        raise _usage_error(f"an overlap is {minutes:.0f} min at least: SVIDs live that long")
    if what == OLD_ROOT:
        _require_old_root(mesh)
    wanted = Rotation(what, asker.author, given.reason, overlap, given.force, given.given)
    return Rotated(rotated=what, seconds=round(rotate(mesh, wanted, asker.say), 3))


def _require_old_root(mesh: Mesh) -> None:
    """Raises MeshwardError (exit 3) where no root is being replaced, and none was left behind."""
    state = mesh.machine.state.path
    overlap = CaStore(state / "ca", mesh.live.plan.trust_domain).names().overlap
    if overlap is None and OLD_ROOT not in known_failures(state):
        raise conflict_error("no root is being replaced", "`meshward rotate ca --root` begins with it.")


def _credential(given: Rotate, asker: Asker, mesh: Mesh) -> CredentialRotated:
    if given.name is None:
        raise _usage_error("which credential?")
    kept = mesh.live.policy.credentials.get(given.name)
    if not asker.here and (given.value is not None or (kept is not None and kept.source == "env")):
        raise remote_value_error(given.name)
    value = None if given.value is None else Secret(given.value)
    done = rotate_credential(mesh, given.name, value, asker.author)
    return CredentialRotated(
        rotated="credential", credential=done.name, changed=done.changed, guards=done.guards
    )


def _usage_error(message: str) -> MeshwardError:
    return MeshwardError(codes.ROTATION_UNKNOWN, message)


ROTATE: Verb[Rotate, Rotated | CredentialRotated] = Verb(
    "rotate", Rotate, TypeAdapter(Rotated | CredentialRotated), _rotate, right="apply"
)
