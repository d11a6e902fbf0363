"""rotate: a key or a certificate replaced at every hop, while requests run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from meshward.apply.ages import CA, EDGE_CERTIFICATE, OLD_ROOT, ROOT, SIGNING_KEY, SVIDS
from meshward.apply.mesh import Mesh
from meshward.apply.rotate import OVERLAP, SHORTEST_OVERLAP, Rotation, rotate
from meshward.apply.verbs.request import Asker, Fields, Verb
from meshward.kit.errors import Exit, MeshwardError
from meshward.kit.secret import Secret

_WHAT = {"svids": SVIDS, "ca": CA, "signing-key": SIGNING_KEY, "edge-certificate": EDGE_CERTIFICATE}


class Rotate(Fields):
    """`root`, `finish`, `force` and `overlap` (seconds) are for `ca`; `name` and `value` for `credential`."""

    what: Literal["svids", "ca", "signing-key", "edge-certificate", "credential"]
    root: bool = False
    finish: bool = False
    force: bool = False
    overlap: int | None = None
    name: str | None = None
    value: str | None = Field(default=None, repr=False)
    reason: str = ""


def _rotate(given: Rotate, asker: Asker, mesh: Mesh) -> dict[str, Any]:
    if given.what == "credential":
        return _credential(given, asker, mesh)
    what = _WHAT[given.what]
    if given.root:
        what = OLD_ROOT if given.finish else ROOT
    overlap = OVERLAP if given.overlap is None else timedelta(seconds=given.overlap)
    if overlap < SHORTEST_OVERLAP:
        raise _usage(f"an overlap is {SHORTEST_OVERLAP.total_seconds():.0f} s at least: SVIDs live that long")
    wanted = Rotation(what, asker.author, given.reason, overlap, given.force)
    return {"rotated": what, "seconds": round(rotate(mesh, wanted, asker.say), 3)}


def _credential(given: Rotate, asker: Asker, mesh: Mesh) -> dict[str, Any]:
    from meshward.apply.credentials import rotate_credential

    if given.name is None:
        raise _usage("which credential?")
    value = None if given.value is None else Secret(given.value)
    return {"rotated": "credential", **rotate_credential(mesh, given.name, value, asker.author)}


def _usage(message: str) -> MeshwardError:
    return MeshwardError("MW3045", message, "See `meshward rotate --help`.", exit_code=Exit.USAGE)


ROTATE = Verb(Rotate, _rotate, right="apply")
